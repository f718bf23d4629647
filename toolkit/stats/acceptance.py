"""From which certainty on an answer is accepted, so that a promise holds: on the error, or on how much is rejected.

*Error.* Thresholds are tested in a fixed order, from strict to lax: does the number of wrong answers among the accepted
ones rule out an error above the limit? The last threshold before the first failure is taken, so the promise is broken
with at most the probability 1 - confidence, for any number of thresholds. Where to begin must not depend on the answers
that are tested: it is a rank of their certainties (`by_rank`).
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
ALLOWED = 1
"""Wrong answers with which the first threshold passes."""
FIRST = 0.1
"""Share of the answers that the first threshold accepts at least."""

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


def least_items_to_promise(limit: float, confidence: float, errors: int = 0) -> int:
    """Number of items below which no share above a limit is ruled out, even with so few errors among them.

    The share is that of errors, for a number of accepted items, or of rejected items, for a number of all.

    Args:
        limit: The promised share, above 0 and below 1.
        confidence: Probability that the promise holds, 0-1.
        errors: Number of errors, at least 0.
    """
    if not errors:
        return math.ceil(math.log(1 - confidence) / math.log1p(-limit))
    from scipy.stats import nbinom

    # The trials up to error number `errors` + 1 are more than n as often as n items have at most `errors` errors.
    return int(nbinom.ppf(confidence, errors + 1, limit)) + errors + 1


def by_rank(certainty: Floats, *, limit: float, confidence: float) -> Floats:
    """The thresholds to test in turn, from strict to lax, shape (steps,), by how many answers each accepts.

    The first one accepts as few answers as pass with `ALLOWED` wrong ones, and `FIRST` of all at least, so that few
    wrong answers of high certainty do not end the tests; of fewer items, as few as pass if all are right. The
    certainties of the tested items may say so: whatever the k-th largest certainty is, the answers above it are wrong
    independently of each other.

    Args:
        certainty: Certainty of the answers that are tested, shape (N,); minus infinity as in `bound_error`.
        limit: The promised error, 0-1.
        confidence: Probability that the promise holds, 0-1.
    """
    ordered = np.sort(certainty[np.isfinite(certainty)])[::-1]
    least = [least_items_to_promise(limit, confidence, errors) for errors in (ALLOWED, 0)]
    first = next((count for count in least if count <= len(ordered)), None)
    if first is None:
        return np.empty(0)
    first = max(first, math.ceil(FIRST * len(ordered)))
    counts = np.rint(np.linspace(first, len(ordered), STEPS)).astype(np.int64)
    return np.unique(ordered[counts - 1])[::-1]


def bound_error(
    certainty: Floats, wrong: Flags, thresholds: Floats, *, limit: float, confidence: float
) -> Accepted | None:
    """The laxest threshold whose error is bounded; None if not even the first one's is.

    Args:
        certainty: Certainty of the answers, shape (N,); minus infinity for those that no threshold accepts.
        wrong: Whether they are wrong, shape (N,).
        thresholds: What `by_rank` returns for them.
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
