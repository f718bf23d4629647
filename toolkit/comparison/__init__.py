"""Two results beside each other, and the limits that a change must keep."""
