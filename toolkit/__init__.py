"""The workstation: command line, data, training, evaluation, benchmark."""
