"""What models come in: every kind opened behind one interface, `base.Source`. Runs in child processes."""
