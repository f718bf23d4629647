"""What files say of themselves: our contract written into them, others' metadata read, and guesses in words."""
