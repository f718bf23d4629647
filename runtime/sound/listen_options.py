"""The options of `listen`, apart so that other commands need not load what listens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgepress.runtime.errors import InputError

IGNORED = ("background", "silence", "unknown")
"""Labels that are no events."""
MOST_AVERAGED = 1000
MOST_PAUSE_S = 86_400


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
        counts = (self.average, *([] if self.step is None else [self.step]))
        numbers = (self.threshold, self.pause_s)
        if not all(isinstance(number, (int, float)) for number in numbers):  # a contract may hold anything
            raise TypeError(f"{numbers} are not all numbers")
        if not all(type(count) is int for count in counts):
            raise TypeError(f"{counts} are not all whole numbers")
        object.__setattr__(self, "ignore", tuple(map(str, self.ignore)))
        if not 0 < self.threshold <= 1:
            raise InputError(f"The threshold is {self.threshold:g}; accepted: above 0 to 1.")
        if not 1 <= self.average <= MOST_AVERAGED:
            raise InputError(f"The mean is over {self.average} answers; accepted: 1 to {MOST_AVERAGED}.")
        if not 0 <= self.pause_s <= MOST_PAUSE_S:
            raise InputError(f"The pause is {self.pause_s:g} s; accepted: 0 to {MOST_PAUSE_S}.")
        if self.step is not None and self.step < 1:
            raise InputError(f"An answer every {self.step} frames; accepted: 1 or more.")

    def events_of(self, labels: Sequence[str]) -> tuple[str, ...]:
        """The labels that are events."""
        return tuple(label for label in labels if label not in self.ignore)
