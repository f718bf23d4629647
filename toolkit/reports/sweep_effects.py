"""What each dimension of a sweep brings: the mean difference between two of its values, all others being equal."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from edgepress.toolkit.sweeping.result import Row, Sweep

CONFIDENCE = 0.95
"""Confidence of the intervals of effects, 0-1."""
SEEDS = 3
"""Number of seeds from which on there is an interval: that of two is wider than anything that could be found."""
MOST_PP = 100.0
"""The largest difference of two accuracies."""


@dataclass(frozen=True)
class Effect:
    """A value of a dimension beside the dimension's first one.

    Attributes:
        dimension: Name of the dimension.
        value: The value.
        reference: The value that it is compared with.
        pairs: Number of pairs of files that differ in this dimension only.
        accuracy_pp: Mean difference of validation accuracy, percentage points.
        low_pp, high_pp: Its 95 % interval over the seeds; None for fewer than `SEEDS`.
        latency: Geometric mean of the ratios of latency; None if nothing was timed.
        size: The same of the sizes.
    """

    dimension: str
    value: Any
    reference: Any
    pairs: int
    accuracy_pp: float
    low_pp: float | None
    high_pp: float | None
    latency: float | None
    size: float


def effects_of(sweep: Sweep) -> list[Effect]:
    """The effects of all dimensions with several values, but the seed, whose values are the repetitions.

    A dimension that some architectures do not have, such as the width, is no condition of the comparison of others:
    there, means over its values are compared.
    """
    rows = [row for row in sweep.rows if row.status == "ok" and row.val_accuracy is not None and row.size_bytes]
    names = [name for name in sweep.plan.get("dimensions", {}) if name != "seed"]
    partial = {name for name in names if any(row.point.get(name) is None for row in rows)}
    effects = []
    for name in names:
        values = _values(name, rows)
        others = [other for other in names if other != name and (other not in partial or name in partial)]
        for value in values[1:]:
            if (effect := _effect(rows, name, values[0], value, others=others)) is not None:
                effects.append(effect)
    return effects


def _values(name: str, rows: Sequence[Row]) -> list[Any]:
    known = {json.dumps(row.point.get(name)): row.point.get(name) for row in rows}
    return [value for value in known.values() if value is not None]


def _effect(rows: Sequence[Row], name: str, reference: Any, value: Any, *, others: Sequence[str]) -> Effect | None:
    groups: dict[tuple[str, str], dict[str, list[Row]]] = {}
    for row in rows:
        place = json.dumps([row.point.get(other) for other in others]), str(row.point.get("seed"))
        groups.setdefault(place, {}).setdefault(json.dumps(row.point.get(name)), []).append(row)
    by_seed: dict[str, list[float]] = {}
    latency = list[float]()
    size = list[float]()
    for (_, seed), group in groups.items():
        one, other = (group.get(json.dumps(each), []) for each in (reference, value))
        if one and other:
            by_seed.setdefault(seed, []).append(100 * (_mean(other, "val_accuracy") - _mean(one, "val_accuracy")))
            size += [_log(b, "size_bytes") - _log(a, "size_bytes") for a, b in product(one, other)]
            timed = [(a, b) for a, b in product(one, other) if a.latency_us and b.latency_us]
            latency += [_log(b, "latency_us") - _log(a, "latency_us") for a, b in timed]
    if not by_seed:
        return None
    means = np.array([np.mean(each) for each in by_seed.values()])
    half = _half_width(means)
    middle = float(means.mean())
    low, high = (None, None) if half is None else (max(middle - half, -MOST_PP), min(middle + half, MOST_PP))
    ratio = float(np.exp(np.mean(latency))) if latency else None
    pairs = sum(map(len, by_seed.values()))
    return Effect(name, value, reference, pairs, middle, low, high, ratio, float(np.exp(np.mean(size))))


def _mean(rows: Sequence[Row], name: str) -> float:
    return float(np.mean([getattr(row, name) for row in rows]))


def _log(row: Row, name: str) -> float:
    return float(np.log(getattr(row, name)))


def _half_width(means: Any) -> float | None:
    """Half of Student's interval of a mean; None for too few values."""
    from scipy import stats

    if len(means) < SEEDS:
        return None
    return float(stats.t.ppf((1 + CONFIDENCE) / 2, len(means) - 1) * np.std(means, ddof=1) / np.sqrt(len(means)))


def seed_spread_pp(sweep: Sweep) -> float | None:
    """Standard deviation of validation accuracy between seeds, pooled over configurations, percentage points."""
    known = [c.val_accuracy_std for c in sweep.configurations if c.val_accuracy_std is not None]
    return 100 * float(np.sqrt(np.mean(np.square(known)))) if known else None
