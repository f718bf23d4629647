"""From which certainty on an answer is accepted, so that a promise holds: on the error, or on how much is rejected.

*Error.* Thresholds are tested in a fixed order, from strict to lax: does the number of wrong answers among the accepted
ones rule out an error above the limit? The last threshold before the first failure is taken. Other items say with which
threshold to begin, so the promise is broken with at most the probability 1 - confidence, for any number of thresholds.
Source: A. N. Angelopoulos et al., "Learn then Test: calibrating predictive algorithms to achieve risk control",
arXiv:2110.01052 (2021), fixed-sequence testing; the test of each threshold is the exact binomial one.

*Rejection.* The threshold is an order statistic of the certainties, which needs no labels. The share of the population
below the k-th smallest of n values has the distribution Beta(k, n - k + 1) at most. Source: H. A. David and
H. N. Nagaraja, Order Statistics, 3rd ed. (2003), section 2.3.

Both promises are for items that come from where the calibration items came from.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

STEPS = 40
"""Number of thresholds that are tested for a promise on the error."""
UNSEEN = 0.5
"""Errors that are added to those expected, because few items tell little."""

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Accepted:
    """What a threshold accepts of calibration items.

    Attributes:
        at_least: The least certainty of an accepted answer.
        items: Number of items.
        accepted: How many of them it accepts.
        errors: How many of these are wrong.
        upper: The upper confidence bound of the promised share: of errors among accepted answers, or of rejected items.
    """

    at_least: float
    items: int
    accepted: int
    errors: int
    upper: float


def upper_bound(count: int, total: int, confidence: float) -> float:
    """The one-sided upper bound of a share, 0-1, exact.

    Source: C. J. Clopper and E. S. Pearson, Biometrika 26 (1934), 404-413.

    Args:
        count: Number of items that have a property, 0 to `total`.
        total: Number of items, at least 0.
        confidence: Probability that the bound holds, 0-1.
    """
    from scipy.special import betaincinv

    return 1.0 if count >= total else float(betaincinv(count + 1, total - count, confidence))


def least_items_to_promise(limit: float, confidence: float) -> int:
    """Number of items below which no share above a limit is ruled out, even if it is 0 among them.

    The share is that of errors, for a number of accepted items, or of rejected items, for a number of all.

    Args:
        limit: The promised share, above 0 and below 1.
        confidence: Probability that the promise holds, 0-1.
    """
    return math.ceil(math.log(1 - confidence) / math.log1p(-limit))


def sequence(certainty: Floats, doubt: Floats, *, items: int, limit: float, confidence: float) -> Floats:
    """The thresholds to test in turn, from strict to lax, shape (steps,).

    The first one is that which most probably passes. So the tests neither begin where too few answers are accepted, nor
    where too many are wrong.

    Args:
        certainty: Certainty of other items than those of the tests, shape (N,); minus infinity as in `bound_error`.
        doubt: How probable it is that each of their answers is wrong, 0-1, shape (N,); it decides only the order.
        items: Number of items of the tests.
        limit: The promised error, 0-1.
        confidence: Probability that the promise holds, 0-1.
    """
    thresholds, accepted = _steps(certainty)
    if not len(thresholds):
        return thresholds
    counts = accepted.sum(axis=1)
    rates = ((accepted * doubt).sum(axis=1) + UNSEEN) / (counts + 1)
    expected = np.rint(counts / len(certainty) * items).astype(np.int64)
    return np.asarray(thresholds[int(np.argmax(pass_probabilities(expected, rates, limit, confidence))) :])


def pass_probabilities(items: Ints, rates: Floats, limit: float, confidence: float) -> Floats:
    """The probabilities that so many accepted items with these rates of errors rule out an error above the limit.

    Args:
        items: Numbers of accepted items, shape (N,).
        rates: True rates of errors among them, 0-1, shape (N,).
        limit: The promised error, 0-1.
        confidence: Probability that the promise holds, 0-1.
    """
    from scipy.special import betaincinv
    from scipy.stats import binom

    most = binom.ppf(1 - confidence, np.maximum(items, 1), limit).astype(np.int64)
    largest = np.full(len(items), -1)
    for errors in (most - 1, most, most + 1):  # the largest number of errors that passes is near `most`
        possible = (errors >= 0) & (errors < items)
        known = np.where(possible, errors, 0)
        bounds = betaincinv(known + 1, np.where(possible, items - known, 1), confidence)
        largest = np.where(possible & (bounds <= limit), errors, largest)
    return np.where(largest >= 0, binom.cdf(largest, items, rates), 0.0)


def bound_error(
    certainty: Floats, wrong: Flags, thresholds: Floats, *, limit: float, confidence: float
) -> Accepted | None:
    """The laxest threshold whose error is bounded; None if not even the first one's is.

    Args:
        certainty: Certainty of the answers, shape (N,); minus infinity for those that no threshold accepts.
        wrong: Whether they are wrong, shape (N,).
        thresholds: What `sequence` returns for other items.
        limit: The promised error, 0-1.
        confidence: Probability that the promise holds, 0-1.
    """
    passed = None
    for threshold in thresholds.tolist():
        outcome = outcome_at(threshold, certainty, wrong, confidence)
        if outcome.upper > limit:
            break
        passed = outcome
    return passed


def risk_coverage(certainty: Floats, wrong: Flags) -> tuple[Floats, Floats]:
    """The risk-coverage curve: which share of answers thresholds accept, and which share of these is wrong.

    Source: R. El-Yaniv and Y. Wiener, "On the foundations of noise-free selective classification", Journal of Machine
    Learning Research 11 (2010), 1605-1641.

    Args:
        certainty: Certainty of the answers, shape (N,), N > 0; minus infinity for those that no threshold accepts.
        wrong: Whether they are wrong, shape (N,).

    Returns:
        Coverage and risk, both 0-1, from the strictest threshold to the laxest, of the same shape, (steps,): at most
        40 thresholds, which are certainties of answers, so that equally certain ones are accepted together.
    """
    _, accepted = _steps(certainty)
    counts = accepted.sum(axis=1)
    return counts / len(certainty), (accepted & wrong).sum(axis=1) / counts


def _steps(certainty: Floats) -> tuple[Floats, Flags]:
    """Thresholds from strict to lax, shape (steps,), and which answers each accepts, shape (steps, N)."""
    finite = certainty[np.isfinite(certainty)]
    if not len(finite):
        return np.empty(0), np.empty((0, len(certainty)), np.bool_)
    shares = np.linspace(1 / STEPS, 1.0, STEPS)
    thresholds = np.unique(np.quantile(finite, 1 - shares, method="higher"))[::-1]
    return thresholds, certainty >= thresholds[:, np.newaxis]


def outcome_at(threshold: float, certainty: Floats, wrong: Flags, confidence: float) -> Accepted:
    """What a threshold accepts, with the upper bound of the error among accepted answers."""
    accepted = certainty >= threshold
    count = int(accepted.sum())
    errors = int((accepted & wrong).sum())
    return Accepted(threshold, len(certainty), count, errors, upper_bound(errors, count, confidence))


def bound_rejection(certainty: Floats, *, limit: float, confidence: float) -> float | None:
    """The highest threshold that rejects at most a share of items; None if there are too few items to promise it.

    Args:
        certainty: Certainty of items, shape (N,).
        limit: The promised share of rejected items, 0-1.
        confidence: Probability that the promise holds, 0-1.
    """
    from scipy.special import betainc

    items = len(certainty)
    ranks = np.arange(1, items + 1)
    beyond = 1 - betainc(ranks, items - ranks + 1, limit)
    kept = ranks[beyond <= 1 - confidence]
    return float(np.sort(certainty)[kept[-1] - 1]) if len(kept) else None
