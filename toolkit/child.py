"""Moved to `edgepress.converters.child`."""

from edgepress.converters.child import ChildDied, Emit, Worker, run_in_child

__all__ = ["ChildDied", "Emit", "Worker", "run_in_child"]
