"""Compare two benchmark results or two model files, and check the changes against limits."""
