"""Files measured side by side: planned, answered, timed, explained, and which to ship."""
