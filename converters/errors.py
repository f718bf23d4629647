"""The error of a conversion; `edgepress.runtime.errors` shows the whole tree of errors."""

from __future__ import annotations

from edgepress.runtime.errors import EdgepressError


class ConversionError(EdgepressError):
    """A scheme that could not be made."""

    kind = "conversion"
