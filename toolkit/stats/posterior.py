"""How probable it is that a file's accuracy drop is within a limit, from the items on which it and another file differ.

An item is lost (only the first file is right), gained (only the second is), another difference (both are wrong, with
different classes), or answered alike. The shares of these four have a Dirichlet posterior, with the prior weights

    lost 1/2, gained 0, other differences 0, answered alike 1/2:

Jeffreys' prior of the share of lost items, and nothing for what was not seen in the file's favour. The probability is
then also a one-sided bound: of files whose drop is exactly at the limit, about one in ten reaches 90 % by chance, as
`benchmarks/proof/recommendation.py` counts for 200 to 500 items. With a half for gained items, too, it is one in eight.
Sources: A. Gelman et al., Bayesian Data Analysis, 3rd ed. (2013), section 3.4 (multinomial model, conjugate prior);
L. D. Brown, T. T. Cai, A. DasGupta, "Interval estimation for a binomial proportion", Statistical Science 16 (2001),
101-133 (Jeffreys' prior gives tails of the right size).

Items without labels tell how often the files differ, and a drop cannot exceed that. They change the posterior of the
share of items that differ; what differing items are (lost, gained, others) is known from those with labels. Where none
has one, all are taken for lost.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

LOST, ALIKE = 0.5, 0.5
"""Prior weights of lost items, and of items that both files answer alike."""
NODES, FINE_NODES = 200, 1000
"""Quantiles over which a distribution is averaged: of each of two variables, and of one alone."""

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


def probability_within(evidence: Evidence, limit: float) -> float:
    """The probability that the first file's accuracy minus the second's is below a limit, 0-1.

    Both integrals, over the share of differing items and over that of gained ones among them, are averages over
    quantiles in the middle of equal shares; `tests/unit/test_posterior.py` compares them with random draws.

    Args:
        evidence: On how many items the files differ.
        limit: The limit, 0 to 1.
    """
    return _probability(evidence, float(limit))


@functools.lru_cache(maxsize=1 << 16)
def _probability(evidence: Evidence, limit: float) -> float:
    from scipy.special import betaincinv

    labelled = evidence.lost + evidence.gained + evidence.others
    differing = labelled + evidence.more_differing + LOST
    alike = evidence.items - labelled + evidence.more_items - evidence.more_differing + ALIKE
    lost = evidence.lost + evidence.more_lost + LOST
    gained = evidence.gained + evidence.more_gained
    others = evidence.others + evidence.more_others
    shares = betaincinv(differing, alike, _middles(NODES if gained and others else FINE_NODES))
    below = _excess_below(limit / np.maximum(shares, np.finfo(np.float64).tiny), lost, gained, others)
    return float(below.mean())


def _excess_below(bounds: Floats, lost: float, gained: float, others: float) -> Floats:
    """The probability that the share of lost items minus that of gained ones, of differing items, is below bounds."""
    from scipy.special import betainc, betaincinv

    if not gained and not others:  # all are lost
        return np.asarray(bounds > 1, np.float64)
    if not others:  # who is not lost is gained
        return np.asarray(1 - betainc(gained, lost, np.clip((1 - bounds) / 2, 0, 1)), np.float64)
    found = betaincinv(gained, lost + others, _middles(NODES)) if gained else np.zeros(1)
    of_rest = (bounds[:, None] + found) / (1 - found)
    return np.asarray(betainc(lost, others, np.clip(of_rest, 0, 1)).mean(axis=1), np.float64)


def _middles(count: int) -> Floats:
    return np.asarray((np.arange(count) + 0.5) / count, np.float64)


def least_items_for(limit: float, confidence: float) -> int:
    """Number of items with labels below which no file is probable enough, even if it answers all as the other does.

    Args:
        limit: The limit of the drop, above 0 and below 1.
        confidence: The wanted probability, 0-1.
    """
    low, high = 1, 1
    while probability_within(Evidence(high, 0, 0), limit) < confidence:
        low, high = high + 1, 2 * high
    while low < high:
        middle = (low + high) // 2
        if probability_within(Evidence(middle, 0, 0), limit) >= confidence:
            high = middle
        else:
            low = middle + 1
    return low
