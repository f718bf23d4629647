"""The error of a conversion. How errors of other libraries become errors about a file: `edgepress.runtime.errors`."""

from __future__ import annotations

from edgepress.runtime.errors import EdgepressError


class ConversionError(EdgepressError):
    """A scheme that could not be made."""

    kind = "conversion"
