"""The options of `listen`, apart so that other commands need not load what listens."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from edgepress.runtime.errors import InputError
from edgepress.runtime.streams import read_seconds

IGNORED = ("background", "silence", "unknown")
"""Labels that are no events."""
MOST_AVERAGED = 1000


@dataclass(frozen=True, kw_only=True)
class ListenOptions:
    """When a label is heard.

    Attributes:
        threshold: Mean probability from which on it is, above 0 to 1.
        average: Number of answers in the mean.
        pause_s: Seconds from one event of a label to its next one at least.
        ignore: Labels that are no events.
        step: Frames from one answer to the next; None is a quarter of a window.
    """

    threshold: float = 0.7
    average: int = 2
    pause_s: float = 1.0
    ignore: tuple[str, ...] = IGNORED
    step: int | None = None

    def __post_init__(self) -> None:
        if not 0 < self.threshold <= 1:
            raise InputError(f"The threshold is {self.threshold:g}; accepted: above 0 to 1.")
        if not 1 <= self.average <= MOST_AVERAGED:
            raise InputError(f"The mean is over {self.average} answers; accepted: 1 to {MOST_AVERAGED}.")
        if self.step is not None and self.step < 1:
            raise InputError(f"An answer every {self.step} frames; accepted: 1 or more.")


def add_listen_options(option: Callable[..., Any]) -> None:
    """Add the options to a parser, by its `add_argument`."""
    usual = ListenOptions()
    option("source", help="a WAV file, a file or pipe of raw samples (16 bits, mono), or - for standard input")
    what = f"mean probability from which on a label is heard; default: {usual.threshold}"
    option("--threshold", type=float, default=usual.threshold, metavar="P", help=what)
    option(
        "--step", type=int, metavar="FRAMES", help="frames from one answer to the next; default: a quarter of a window"
    )
    what = f"number of answers in the mean; default: {usual.average}"
    option("--average", type=int, default=usual.average, metavar="N", help=what)
    what = f"time from one event of a label to its next one at least; default: {usual.pause_s:g}s"
    option("--pause", type=read_seconds, default=usual.pause_s, metavar="TIME", help=what)
    what = f"a label that is no event; repeatable; default: {', '.join(IGNORED)}"
    option("--ignore", action="append", metavar="LABEL", help=what)
