"""Processes of edgepress: a worker with limits on time and memory, temporary folders, and cheap imports.

Nothing here knows models.
"""
