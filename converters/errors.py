"""The error of a conversion. How errors of other libraries become errors about a file: `edgepress.runtime.errors`."""

from __future__ import annotations

from edgepress.runtime.errors import EdgepressError


class ConversionError(EdgepressError):
    """A scheme that could not be made."""

    kind = "conversion"


class CollapseError(ConversionError):
    """A training whose result hardly answers better than a constant answer; its run is not to be resumed."""


def not_at_end(end: str) -> ConversionError:
    """The error of a graph that doesn't end in the operation that was to be left off, a softmax or sigmoid."""
    return ConversionError(
        f"Its graph does not end in a {end}, so its logits are not known.", "Leave out --output logits."
    )
