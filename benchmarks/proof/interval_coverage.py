"""How often 95 % intervals of an accuracy drop hold the true drop: 10,000 synthetic outcomes of known truth a setting.

    python benchmarks/proof/interval_coverage.py

A setting is a number of test items, how many of them are expected to be right in one file and wrong in the other, and
the share of these that are losses: one half if both files are equally good, all if one is never better. The other
items are right in both files, but for a twentieth. Each method's interval is compared with the true drop. "Overall" is
the mixture of all settings alike. The command fails if there the coverage of the method that edgepress uses
(`edgepress.toolkit.stats.intervals.score_interval`) is below 95 %, or if the true drop lies above it in more than 3 %
of the outcomes of any setting: 2.5 %, and three standard errors of the simulation.

Where few items are expected to differ, no method is near 95 % in all settings: there are too few outcomes to tell
apart. An interval had better be too wide there, above all not end below the true drop, because the choice of a file
rests on its upper end ("above" in the summary).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from itertools import product

import numpy as np
import numpy.typing as npt
from scipy import stats

from edgepress.toolkit.stats.intervals import Z95, score_interval

OUTCOMES = 10_000
RESAMPLES = 1000
LEAST_COVERAGE = 0.95
MOST_ABOVE = 0.03
ITEMS = (100, 360, 1000, 10000)
DISCORDANT: tuple[tuple[str, Callable[[int], float]], ...] = (
    ("1", lambda n: 1),
    ("2", lambda n: 2),
    ("3", lambda n: 3),
    ("4", lambda n: 4),
    ("5", lambda n: 5),
    ("7", lambda n: 7),
    ("10", lambda n: 10),
    ("10 %", lambda n: n / 10),
    ("30 %", lambda n: n * 0.3),
)
LOSSES = (0.5, 0.75, 1.0)

Floats = npt.NDArray[np.float64]
Ends = tuple[Floats, Floats]


def adjusted_wald(both: Floats, lost: Floats, gained: Floats, n: float) -> Ends:
    """Agresti and Min 2005: half an item added to each of the four counts."""
    b, c, total = lost + 0.5, gained + 0.5, n + 2
    centre, half = (b - c) / total, Z95 * np.sqrt(b + c - (b - c) ** 2 / total) / total
    return centre - half, centre + half


def tango(both: Floats, lost: Floats, gained: Floats, n: float) -> Ends:
    """Tango 1998: the score interval without the term for skewness."""
    return _score_interval(lost, gained, n, skewed=0.0)


def skewness_corrected(both: Floats, lost: Floats, gained: Floats, n: float) -> Ends:
    """Laud 2017: the score interval with the term for skewness, and with the variance of n - 1."""
    return _score_interval(lost, gained, n, skewed=1.0)


def _score_interval(lost: Floats, gained: Floats, n: float, *, skewed: float) -> Ends:
    ends = []
    for far in (-1.0, 1.0):
        inside, outside = (lost - gained) / n, np.full(lost.shape, far)
        for _ in range(50):
            d = (inside + outside) / 2
            linear = (2 * n - lost + gained) * d - lost - gained
            q = (np.sqrt(np.maximum(linear**2 + 8 * n * gained * d * (1 - d), 0)) - linear) / (4 * n)
            scale = np.sqrt(np.maximum(n * (2 * q + d * (1 - d)), 1e-100) * (n / (n - 1)) ** skewed)
            third = n * ((q + d) * (1 - d) ** 3 - q * (1 + d) ** 3 - (1 - 2 * q - d) * d**3)
            correction = third / scale**3 * (Z95**2 - 1) / 6
            kept = np.abs((lost - gained - n * d) / scale - skewed * correction) < Z95
            inside, outside = np.where(kept, d, inside), np.where(kept, outside, d)
        ends.append(inside)
    return ends[0], ends[1]


def newcombe(both: Floats, lost: Floats, gained: Floats, n: float) -> Ends:
    """Newcombe 1998, method 10: two Wilson intervals joined by the correlation of the files."""
    neither = n - both - lost - gained
    first, second = both + lost, both + gained
    excess = both * neither - lost * gained
    excess = np.where(excess > n / 2, excess - n / 2, np.where(excess < 0, excess, 0))
    root = np.sqrt(first * (n - first) * second * (n - second))
    phi = np.where(root > 0, excess / np.maximum(root, 1e-100), 0)

    def wilson(count: Floats) -> Ends:
        centre, half = count + Z95**2 / 2, Z95 * np.sqrt(Z95**2 / 4 + count * (n - count) / n)
        return (centre - half) / (n + Z95**2), (centre + half) / (n + Z95**2)

    (l1, u1), (l2, u2), p1, p2 = wilson(first), wilson(second), first / n, second / n
    low = np.sqrt(np.maximum((p1 - l1) ** 2 - 2 * phi * (p1 - l1) * (u2 - p2) + (u2 - p2) ** 2, 0))
    high = np.sqrt(np.maximum((u1 - p1) ** 2 - 2 * phi * (u1 - p1) * (p2 - l2) + (p2 - l2) ** 2, 0))
    return p1 - p2 - low, p1 - p2 + high


def exact_conditional(both: Floats, lost: Floats, gained: Floats, n: float) -> Ends:
    """Clopper and Pearson 1934 of the share of losses, the number of items that differ taken for known."""
    differ = lost + gained
    with np.errstate(invalid="ignore"):
        low = np.where(lost > 0, stats.beta.ppf(0.025, lost, gained + 1), 0)
        high = np.where(gained > 0, stats.beta.ppf(0.975, lost + 1, gained), 1)
    return (2 * low - 1) * differ / n, (2 * high - 1) * differ / n


def bootstrap(both: Floats, lost: Floats, gained: Floats, n: float) -> Ends:
    """Percentiles of the drop over resampled items."""
    rng, ends = np.random.default_rng(0), []
    for b, c in zip(lost, gained, strict=True):
        draws = rng.multinomial(int(n), (b / n, c / n, 1 - (b + c) / n), RESAMPLES)
        ends.append(np.quantile((draws[:, 0] - draws[:, 1]) / n, (0.025, 0.975)))
    low, high = np.array(ends).T
    return low, high


METHODS: dict[str, Callable[[Floats, Floats, Floats, float], Ends]] = {
    "union of scores": lambda both, lost, gained, n: score_interval(lost, gained, n),
    "score, skewness": skewness_corrected,
    "score (Tango)": tango,
    "adjusted Wald": adjusted_wald,
    "Newcombe 10": newcombe,
    "exact cond.": exact_conditional,
    "bootstrap": bootstrap,
}
OURS = next(iter(METHODS))


def outcomes(n: int, differ: float, losses: float, count: int, rng: np.random.Generator) -> Floats:
    """Counts of items that are right in both files, lost, gained, and right in neither: shape (count, 4)."""
    share = differ / n
    same = 1 - share
    return rng.multinomial(n, (0.95 * same, share * losses, share * (1 - losses), 0.05 * same), count).astype(float)


def misses(method: str, tables: Floats, n: int, truth: float) -> tuple[Floats, Floats, Floats]:
    """Of each outcome: whether the truth lies below the interval, above it, and the interval's width, pp."""
    distinct, where = np.unique(tables, axis=0, return_inverse=True)
    low, high = METHODS[method](distinct[:, 0], distinct[:, 1], distinct[:, 2], float(n))
    rounding = 1e-12
    columns = (truth < low - rounding, truth > high + rounding, 100 * (high - low))
    below, above, width = (np.asarray(column, np.float64)[where.ravel()] for column in columns)
    return below, above, width


def main() -> None:
    """Print the table, the summary and one JSON document."""
    rng = np.random.default_rng(0)
    print(f"{'items':>6} {'differ':>6} {'losses':>6}  " + " ".join(f"{name:>16}" for name in METHODS), file=sys.stderr)
    settings, kept = [], {name: [] for name in METHODS}
    for n, (words, expected), losses in product(ITEMS, DISCORDANT, LOSSES):
        differ = expected(n)
        tables, truth = outcomes(n, differ, losses, OUTCOMES, rng), differ / n * (2 * losses - 1)
        row = {name: misses(name, tables, n, truth) for name in METHODS}
        for name, columns in row.items():
            kept[name].append(columns)
        figures = {name: (1 - float(np.mean(b + a)), float(np.mean(w))) for name, (b, a, w) in row.items()}
        text = " ".join(f"{100 * c:7.1f} % {w:6.2f}" for c, w in figures.values())
        print(f"{n:6} {words:>6} {losses:6.2f}  {text}", file=sys.stderr)
        settings.append({"items": n, "differ": differ, "losses": losses, "coverage_and_width_pp": figures})
    print("Each cell: coverage, mean width in percentage points.", file=sys.stderr)
    outside = [s for s in settings if not 0.93 <= s["coverage_and_width_pp"][OURS][0] <= 0.97]
    print(f"Ours is outside of 93 to 97 % in {len(outside)} of {len(settings)} settings:", file=sys.stderr)
    for s in outside:
        where = f"{s['items']} items, {s['differ']:g} expected to differ, {100 * s['losses']:g} % of them losses"
        print(f"  {where}: {100 * s['coverage_and_width_pp'][OURS][0]:.2f} %", file=sys.stderr)

    summary = {}
    for name, columns in kept.items():
        below, above, width = (np.array(column) for column in zip(*columns, strict=True))
        coverage = 1 - (below + above).mean(axis=1)
        summary[name] = {
            "overall": float(coverage.mean()),
            "lowest": float(coverage.min()),
            "highest": float(coverage.max()),
            "within_93_97": float(np.mean((coverage >= 0.93) & (coverage <= 0.97))),
            "below_at_most": float(below.mean(axis=1).max()),
            "above_at_most": float(above.mean(axis=1).max()),
            "width_of_ours": float(np.mean(width.mean(axis=1) / np.mean([w for _, _, w in kept[OURS]], axis=1))),
        }
        values = " ".join(f"{key} {value:.3f}" for key, value in summary[name].items())
        print(f"{name:>16}  {values}", file=sys.stderr)
    print(json.dumps({"outcomes": OUTCOMES, "settings": settings, "summary": summary}))
    sys.exit(summary[OURS]["overall"] < LEAST_COVERAGE or summary[OURS]["above_at_most"] > MOST_ABOVE)


if __name__ == "__main__":
    main()
