"""How probable it is that a file's accuracy drop is within a limit, from the items on which it and another file differ.

An item is lost (only the first file is right), gained (only the second is), another difference (both are wrong, with
different classes), or answered alike. The shares of these have beta posteriors: that of items that differ, by Jeffreys'
prior; that of lost and gained ones among them; and the split of those into lost and gained, for which there are two
hypotheses. The probability is the mean of theirs, weighted by how well each explains the counts:

    the file answers worse     prior weights lost 1/2 and gained 0, so that nothing is assumed in the file's favour
    the file rounds            prior weights lost 10 and gained 10: small errors of the scores change the answers of
                               items near a tie, and such an item is lost about as often as it is gained

The second has the prior probability `ROUNDING`. Most files of a converter are of that kind; it is set so low that of
files of both kinds, as `benchmarks/proof/recommendation.py` draws them, the chosen one is beyond the limit in at most
one draw of ten.
Sources: A. Gelman et al., Bayesian Data Analysis, 3rd ed. (2013), sections 3.4 (multinomial model, conjugate prior) and
7.4 (Bayes factors); L. D. Brown, T. T. Cai, A. DasGupta, "Interval estimation for a binomial proportion", Statistical
Science 16 (2001), 101-133 (Jeffreys' prior gives tails of the right size).

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
ROUNDING = 0.38
"""Prior probability that the items that differ are lost about as often as they are gained."""
ROUNDING_WEIGHT = 10.0
"""Prior weight of lost items then, and of gained ones: the split of the two has a standard deviation of 0.11."""
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
    rounds = _within(evidence, (lost + ROUNDING_WEIGHT, gained + ROUNDING_WEIGHT), limit)
    share = _share_of_rounding(lost, gained)
    return share * rounds + (1 - share) * worse


def _share_of_rounding(lost: int, gained: int) -> float:
    """The posterior probability that the file rounds, by the ratio of how probable both hypotheses make the counts.

    For the ratio, a file that answers worse has any split of lost and gained items with the same density.
    """
    from scipy.special import betaln

    rounds = betaln(lost + ROUNDING_WEIGHT, gained + ROUNDING_WEIGHT) - betaln(ROUNDING_WEIGHT, ROUNDING_WEIGHT)
    worse = betaln(lost + 1, gained + 1)
    return float(ROUNDING / (ROUNDING + (1 - ROUNDING) * np.exp(worse - rounds)))


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
