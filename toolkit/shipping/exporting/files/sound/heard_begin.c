    sound->rows = @FIRST_ROW@; /* so that the first answer that counts is that of the first window */
