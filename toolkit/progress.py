"""How long-running functions report progress: one callback type for all of them."""

from collections.abc import Callable

OnProgress = Callable[[str, float], None]
"""Called with the name of a phase ("accuracy", "latency", ...) and the share of it that is done, 0-1."""
