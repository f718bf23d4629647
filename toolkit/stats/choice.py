"""Which of several files to choose, by one rule: those that are sure enough, of these the front, of it one.

A file is sure enough if its accuracy drop is within the limit with the wanted probability. Of the files that are, only
the front of size and latency counts: no other is at least as small and as fast, and better in one. Of the front, the
preference chooses one. `benchmark`, `board bench`, `demo`, `compress`, `compare` and `sweep` choose by this module, and
reports show what they chose.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

from edgepress.toolkit.errors import InputError, unknown
from edgepress.toolkit.quantities import SHARE, parse

Prefer = Literal["balanced", "size", "latency"]
PREFERENCES: tuple[Prefer, ...] = get_args(Prefer)
CONFIDENCE = 0.9
"""The probability from which a file is sure enough, unless another is wanted."""
LEAST_CONFIDENCE = 0.5
"""The least probability that can be wanted: below, a file would more probably be bad than good."""
MOST_CONFIDENCE = 0.9999
"""The largest probability that can be wanted, because no number of items makes a file certain."""


class Costs(NamedTuple):
    """What a file takes, and how sure it is.

    Attributes:
        size: Size of the file, in any unit, above 0.
        latency: Its latency, in any unit, above 0; None if it was not measured.
        probability: Of a drop within the limit, 0-1; None if it is not known.
        slower: Whether it is slower than the file that it was made to replace; such a file is only chosen for its size.
    """

    size: float
    latency: float | None
    probability: float | None
    slower: bool = False


@dataclass(frozen=True)
class Rule:
    """How to choose.

    Attributes:
        confidence: The probability from which a file is sure enough, 0-1.
        prefer: "size" and "latency" choose the end of the front, "balanced" the least product of both, which is that of
            both ratios to any other file. Only "size" chooses a file that is slower than the float file.
    """

    confidence: float = CONFIDENCE
    prefer: Prefer = "balanced"

    @classmethod
    def of(cls, confidence: str | float = CONFIDENCE, prefer: str = "balanced") -> Rule:
        """A rule as a user gives it: "95%" or 0.95, and one of `PREFERENCES`.

        Raises:
            InputError: One of them is not accepted.
        """
        share = parse("--confidence", confidence, SHARE)
        if share is None or not LEAST_CONFIDENCE <= share <= MOST_CONFIDENCE:
            accepted = f"{100 * LEAST_CONFIDENCE:g}% to {100 * MOST_CONFIDENCE:g}%"
            raise InputError(f"--confidence is {confidence!r}; accepted: {accepted}, such as 90%.")
        for each in PREFERENCES:
            if each == prefer:
                return cls(share, each)
        raise unknown("preference", prefer, PREFERENCES)

    def qualified(self, costs: Sequence[Costs]) -> list[int]:
        """The files that are sure enough, by their number; of these those with a latency, if one has it."""
        sure = [n for n, c in enumerate(costs) if c.probability is not None and c.probability >= self.confidence]
        timed = [n for n in sure if costs[n].latency is not None]
        return timed or sure

    def front(self, costs: Sequence[Costs]) -> list[int]:
        """The files that are sure enough and that no other such file beats in both size and latency."""
        sure = self.qualified(costs)
        return [n for n in sure if not any(_beats(costs[m], costs[n]) for m in sure)]

    def choose(self, costs: Sequence[Costs]) -> int | None:
        """The number of the file to choose; of equals the surest, then the first. None if no file is sure enough."""
        return min(
            self.qualified(costs),
            key=lambda n: (*self._price(costs[n]), -(costs[n].probability or 0.0), n),
            default=None,
        )

    def _price(self, costs: Costs) -> tuple[bool, float, float]:
        """What is to be low, and what decides between equals; its minimum is on the front, but for slower files."""
        latency = 1.0 if costs.latency is None else costs.latency
        prices = {"balanced": (costs.size * latency, costs.size), "size": (costs.size, latency)}
        return (costs.slower and self.prefer != "size", *prices.get(self.prefer, (latency, costs.size)))


def _beats(one: Costs, other: Costs) -> bool:
    """Whether a file is at least as small and as fast as another, and better in one."""
    first = (one.size, one.latency or 0.0)
    second = (other.size, other.latency or 0.0)
    return first != second and all(a <= b for a, b in zip(first, second, strict=True))
