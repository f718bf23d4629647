"""Verification: whether a converted file answers like its source model."""
