"""What shows that a converted file answers like its source model."""
