"""What more training items would bring, from the accuracy with fewer of them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from edgepress.toolkit.stats.intervals import Interval

DRAWS = 4000
"""Number of resamples of the items."""
LEAST_POINTS = 3
"""Points of a curve from which one is drawn on: two fit any power law."""
WIDER = 1.25
"""Factor on the spread of the draws: resampling the tested items leaves out that other items would be learned from."""
LEAST_ERROR = 1e-3
"""What takes the place of an error of 0, whose logarithm is none."""

Floats = npt.NDArray[np.float64]


def forecast(sizes: npt.ArrayLike, rates: npt.ArrayLike, groups: npt.ArrayLike, *, at: float) -> Interval | None:
    """The accuracy with more items, with its 95 % interval, by an inverse power law.

    The error is `a + b n^-c` for n items of a class. How much of it no number of items removes, `a`, is hardly to be
    seen in few points. So items are resampled (whole groups), and in each sample `a` is drawn between 0 and the least
    error, `b` and `c` are fitted to the logarithms, and the result counts by how well it fits. The estimate is the
    weighted median; the ends of the interval are the weighted quantiles, moved outwards by `WIDER`.
    Sources: C. Cortes et al., "Learning curves: asymptotic values and rate of convergence", NIPS 6 (1993), 327-334
    (inverse power law with an asymptote); B. Efron and R. Tibshirani, An Introduction to the Bootstrap (1993), chapter
    6. `benchmarks/proof/few_items_coverage.py` prints how often it holds.

    Args:
        sizes: Items of a class at each point of the curve, ascending, shape (P,).
        rates: How often each item was right at each point, 0-1, shape (P, N).
        groups: Number of the group of each item, shape (N,).
        at: Number of items of a class to estimate the accuracy for, above the last of `sizes`.

    Returns:
        The estimate (deterministic); None with fewer than three points or two groups.
    """
    n = np.asarray(sizes, np.float64)
    _, group, count = np.unique(np.asarray(groups), return_inverse=True, return_counts=True)
    if len(n) < LEAST_POINTS or len(count) < 2:
        return None
    wrong = np.stack([np.bincount(group, 1 - row) for row in np.asarray(rates, np.float64)])
    rng = np.random.default_rng(0)
    weights = rng.multinomial(len(count), np.full(len(count), 1 / len(count)), DRAWS)
    errors = np.maximum((weights @ wrong.T) / (weights @ count)[:, None], LEAST_ERROR)
    rest = errors.min(axis=1) * rng.uniform(0, 1, DRAWS)
    steps = np.log(n) - np.log(n).mean()
    logs = np.log(np.maximum(errors - rest[:, None], LEAST_ERROR / 10))
    slopes = np.minimum(logs @ steps / (steps @ steps), 0)  # more items do no harm
    level = logs.mean(axis=1)
    fitted = rest[:, None] + np.exp(level[:, None] + slopes[:, None] * steps)
    noise = np.std(errors - errors.mean(axis=1, keepdims=True), axis=0) + LEAST_ERROR
    fit = np.exp(-0.5 * np.mean(((fitted - errors) / noise) ** 2, axis=1)) + 1e-12
    expected = 1 - (rest + np.exp(level + slopes * (np.log(at) - np.log(n).mean())))
    order = np.argsort(expected)
    shares = np.cumsum(fit[order]) / np.sum(fit)
    low, middle, high = (float(expected[order][np.searchsorted(shares, q)]) for q in (0.025, 0.5, 0.975))
    return Interval(middle, max(0.0, middle - WIDER * (middle - low)), min(1.0, middle + WIDER * (high - middle)))
