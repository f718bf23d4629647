"""What runs in child processes; imports the standard library, NumPy, the runtime and `converters.worker` only."""
