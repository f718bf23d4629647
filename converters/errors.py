"""The error of a scheme that could not be made; the whole tree is drawn in `edgepress.runtime.errors`."""

from __future__ import annotations

from edgepress.runtime.errors import EdgepressError


class ConversionError(EdgepressError):
    """A scheme that could not be made."""

    kind = "conversion"
