"""The error of a conversion. How errors of other libraries become errors about a file: `edgepress.runtime.errors`."""

from __future__ import annotations

from edgepress.runtime.contract import Verification
from edgepress.runtime.errors import EdgepressError


class ConversionError(EdgepressError):
    """A scheme that could not be made."""

    kind = "conversion"


class UnlikeError(ConversionError):
    """A file whose answers are not near enough to its source model's; what to do depends on the other files.

    Args:
        message: What was found.
        measured: The comparison; None of answers that are no numbers.
    """

    def __init__(self, message: str, measured: Verification | None = None) -> None:
        super().__init__(message)
        self.measured = measured


class ScaleError(ConversionError):
    """Channels whose scales are too far apart for integer kernels, as they may be without repairs."""


class CollapseError(ConversionError):
    """A training whose result hardly answers better than a constant answer; its run is not to be resumed."""


def not_at_end(end: str) -> ConversionError:
    """The error of a graph that doesn't end in the operation that was to be left off, a softmax or sigmoid."""
    return ConversionError(
        f"Its graph does not end in a {end}, so its logits are not known.", "Leave out --output logits."
    )
