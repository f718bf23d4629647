"""Describe boards over ssh, and measure model files on them."""
