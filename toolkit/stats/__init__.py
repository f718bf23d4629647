"""Statistics on arrays: intervals and metrics. Pure functions of NumPy and SciPy; no files, no engines."""
