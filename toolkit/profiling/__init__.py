"""Where the time of one inference goes."""
