"""Boards by ssh: what they are, and how files do there."""
