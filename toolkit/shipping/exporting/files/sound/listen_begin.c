    sound->silent = @CALLS_BEFORE_ANSWERS@;
