"""Which of several files to choose, by one rule, and how probable it is that a file's drop is within a limit.

A file is sure enough if its accuracy drop is within the limit with the wanted probability. Of the files that are, only
the front of size and latency counts: no other is at least as small and as fast, and better in one. Of the front, the
preference chooses one. `benchmark`, `board bench`, `demo`, `compress`, `compare` and `sweep` choose by this module, and
reports show what they chose.

How probable it is that a file's accuracy drop is within a limit, from the items on which it and another file differ.

An item is lost (only the first file is right), gained (only the second is), another difference (both are wrong, with
different classes), or answered alike. The shares of these have beta posteriors: that of items that differ, by Jeffreys'
prior; that of lost and gained ones among them; and the split of those into lost and gained, for which there are two
hypotheses. The probability is the mean of theirs, weighted by how well each explains the counts:

    the file answers worse     prior weights lost 1/2 and gained 0, so that nothing is assumed in the file's favour
    the file rounds            prior weights 20 in all: small errors of the scores change the answers of items near a
                               tie, and such an item is lost about as often as it is gained
    the first file knows       in place of the second, if the first file's probabilities are known: prior weights 40 in
                               all, of which those probabilities give the lost ones (`expected_lost`)

The second has the prior probability `ROUNDING`, the third `KNOWING`, which is much larger: a file that answers worse
changes answers of which the first file is sure, so its `expected_lost` is high. Both are set so that of sound and
damaged files, as `benchmarks/proof/recommendation.py` draws them, the chosen one is beyond the limit in at most one
draw of ten.
Sources: A. Gelman et al., Bayesian Data Analysis, 3rd ed. (2013), sections 3.4 (multinomial model, conjugate prior) and
7.4 (Bayes factors); L. D. Brown, T. T. Cai, A. DasGupta, "Interval estimation for a binomial proportion", Statistical
Science 16 (2001), 101-133 (Jeffreys' prior gives tails of the right size).

Items without labels tell how often the files differ, and a drop cannot exceed that. They change the posterior of the
share of items that differ; what differing items are (lost, gained, others) is known from those with labels, and by
`expected_lost`.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

import numpy as np
import numpy.typing as npt

from edgepress.toolkit.errors import InputError, unknown
from edgepress.toolkit.text import SHARE, parse

Prefer = Literal["balanced", "size", "latency"]
PREFERENCES: tuple[Prefer, ...] = get_args(Prefer)
CONFIDENCE = 0.9
"""The probability from which a file is sure enough, unless another is wanted."""
SLOWER = 0.95
"""A speed-up surely below it makes a file slower than float; what is nearer to 1 counts as equal."""
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


LOST = 0.5
"""Prior weight of lost items."""
ALIKE = 0.5
"""Prior weight of items that both files answer alike."""
ROUNDING = 0.38
"""Prior probability that the items that differ are lost about as often as they are gained."""
ROUNDING_WEIGHT = 20.0
"""Prior weight of lost and gained items then: the split of the two has a standard deviation of 0.11."""
KNOWING = 0.9
"""Prior probability that items are lost and gained as the first file's probabilities say."""
KNOWING_WEIGHT = 40.0
"""Prior weight of lost and gained items then."""
MOST_EXPECTED = 0.98
"""Bound of `expected_lost`, and 1 minus that of the other side: both weights are above 0."""
LEAST_KNOWING = 100
"""Number of items with labels below which the first file's probabilities are not used."""
NODES = 200
"""Quantiles of each of two variables over which a distribution is averaged."""
FINE_NODES = 1000
"""Quantiles of one variable alone over which a distribution is averaged."""

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Evidence:
    """On how many items two files differ.

    Attributes:
        items: Number of items with labels.
        lost: How many of them only the first file classifies correctly.
        gained: How many only the second does.
        others: On how many both are wrong, with different classes.
        more_items: Number of further items.
        more_differing: How many of those the files put in different classes.
        more_lost, more_gained, more_others: Of a sample of these, which was chosen by chance and got labels: as above.
        expected_lost: Share of lost items among lost and gained ones that the first file's probabilities predict for
            the items that differ (`edgepress.toolkit.measurement.benchmarking.expected`), 0-1; None if they are not
            known.
    """

    items: int
    lost: int
    gained: int
    others: int = 0
    more_items: int = 0
    more_differing: int = 0
    more_lost: int = 0
    more_gained: int = 0
    more_others: int = 0
    expected_lost: float | None = None


def probability_within(evidence: Evidence, limit: float) -> float:
    """The probability that the first file's accuracy minus the second's is below a limit, 0-1.

    The integrals over shares are averages over quantiles in the middle of equal parts; `tests/unit/test_posterior.py`
    compares them with random draws.

    Args:
        evidence: On how many items the files differ.
        limit: The limit, 0 to 1.
    """
    return _probability(evidence, float(limit))


@functools.lru_cache(maxsize=1 << 16)
def _probability(evidence: Evidence, limit: float) -> float:
    lost = evidence.lost + evidence.more_lost
    gained = evidence.gained + evidence.more_gained
    worse = _within(evidence, (lost + LOST, gained), limit)
    prior, weights = _hypothesis(evidence.expected_lost)
    as_expected = _within(evidence, (lost + weights[0], gained + weights[1]), limit)
    share = _share_explained(lost, gained, prior, weights)
    return share * as_expected + (1 - share) * worse


def _hypothesis(expected_lost: float | None) -> tuple[float, tuple[float, float]]:
    """The prior probability of the second or third hypothesis, and its weights of lost and of gained items."""
    if expected_lost is None:
        return ROUNDING, (ROUNDING_WEIGHT / 2, ROUNDING_WEIGHT / 2)
    lost = min(max(expected_lost, 1 - MOST_EXPECTED), MOST_EXPECTED)
    return KNOWING, (KNOWING_WEIGHT * lost, KNOWING_WEIGHT * (1 - lost))


def _share_explained(lost: int, gained: int, prior: float, weights: tuple[float, float]) -> float:
    """The posterior probability of a hypothesis against that of a worse file, by how probable both make the counts.

    For the ratio, a file that answers worse has any split of lost and gained items with the same density.
    """
    from scipy.special import betaln

    as_expected = betaln(lost + weights[0], gained + weights[1]) - betaln(*weights)
    worse = betaln(lost + 1, gained + 1)
    return float(prior / (prior + (1 - prior) * np.exp(worse - as_expected)))


def _within(evidence: Evidence, split: tuple[float, float], limit: float) -> float:
    """The probability under one hypothesis, which gives the posterior weights of lost and of gained items."""
    from scipy.special import betainc, betaincinv

    labelled = evidence.lost + evidence.gained + evidence.others
    differing = labelled + evidence.more_differing + LOST
    alike = evidence.items - labelled + evidence.more_items - evidence.more_differing + ALIKE
    others = evidence.others + evidence.more_others
    shares = betaincinv(differing, alike, _middles(NODES if others else FINE_NODES))
    if others:
        changed = labelled - evidence.others + evidence.more_lost + evidence.more_gained + LOST
        shares = shares[:, None] * betaincinv(changed, others, _middles(NODES))
    bounds = np.minimum(limit / np.maximum(shares, np.finfo(np.float64).tiny), 1)
    lost, gained = split
    below = betainc(lost, gained, (1 + bounds) / 2) if gained else bounds == 1
    return float(below.mean())


def _middles(count: int) -> Floats:
    return np.asarray((np.arange(count) + 0.5) / count, np.float64)


def least_items_for(limit: float, confidence: float) -> int:
    """Number of items with labels below which no file is probable enough, even if it answers all as the other does.

    From `LEAST_KNOWING` on, the first file's probabilities are taken to be known.

    Args:
        limit: The limit of the drop, above 0 and below 1.
        confidence: The wanted probability, 0-1.
    """

    def enough(items: int) -> bool:
        expected = 0.5 if items >= LEAST_KNOWING else None
        return probability_within(Evidence(items, 0, 0, expected_lost=expected), limit) >= confidence

    low = 1
    high = 1
    while not enough(high):
        low = high + 1
        high = 2 * high
    while low < high:
        middle = (low + high) // 2
        if enough(middle):
            high = middle
        else:
            low = middle + 1
    return low
