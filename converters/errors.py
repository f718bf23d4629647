"""The error of a conversion; beside it, how errors of other libraries become errors about a file."""

from __future__ import annotations

from edgepress.runtime.errors import EdgepressError, first_line, parsing

__all__ = ["ConversionError", "first_line", "parsing"]


class ConversionError(EdgepressError):
    """A scheme that could not be made."""

    kind = "conversion"
