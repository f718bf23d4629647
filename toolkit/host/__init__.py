"""What this machine is: its description, its CPUs, and what is missing on it."""
