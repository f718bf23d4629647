"""Compute how each figure of a file changed between two results, with a 95 % interval and the method used.

Accuracy is paired item by item if both results record which of the same items were right, else compared as two
independent proportions. Macro F1 and mean average precision are paired by resample of the same items. Latency is
compared by round within one run; between runs relative to the common baseline file, with an allowance for drift. Sizes
are exact.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from edgepress.toolkit.measurement.comparison.latency import BY_ROUND, Side, allow, latency_ratio, ratio_interval
from edgepress.toolkit.results.file import RESAMPLED, correct_items, items_of, means_on_resamples
from edgepress.toolkit.stats.intervals import Interval, paired_drop
from edgepress.toolkit.stats.resampled import interval_of_mean, paired_fall
from edgepress.toolkit.stats.samples import difference_interval
from edgepress.toolkit.text import duration, size, with_sign

SHARES = ("accuracy", "agreement", "accepted_share", "accepted_error", "missed_share", *RESAMPLED)
"""Figures from 0 to 1, whose change is in percentage points."""
ACCEPTED = {"accepted_share": "accepted", "accepted_error": "accepted_wrong"}
"""Figures of calibrated files, and the fields with the counts of which they are shares."""
UNITS = {"alarms_per_hour": "/h", "delay_s": " s"}
"""Units of figures of recordings, and of their differences."""
COUNTED = {"accepted_share": "test items", "accepted_error": "accepted answers"}
"""What these are shares of."""
MEMORY = 1.05
"""Factor by which a process's peak memory may vary; `benchmarks/proof/gate_power.py --runs` prints those seen."""


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One figure of a file in two results.

    Attributes:
        name: Its field in a measurement.
        old, new: Its values; null if not measured.
        own: NEW's value with its interval.
        change: NEW / OLD; for accuracy, macro_f1 and mean_average_precision OLD - NEW, for accepted_share,
            accepted_error and missed_share NEW - OLD, in percentage points; for alarms_per_hour and delay_s NEW - OLD.
            Null if unknown.
        how: The method by which the change was computed, or why it is unknown.
        drift: Factor by which the interval was widened for drift between two runs; null if it was not.
        count, counted: Sample size, and its unit: items, accepted answers, rounds, calls or events.
    """

    name: str
    old: float | None
    new: float | None
    own: Interval | None = None
    change: Interval | None = None
    how: str = ""
    drift: float | None = None
    count: int | None = None
    counted: str = ""

    def show(self, *, of_change: bool) -> str:
        """NEW's own value or the change, with its interval, as text; empty if unknown."""
        interval = self.change if of_change else self.own
        if interval is None:
            return ""
        unit = _unit(self.name, of_change)
        values = interval.estimate, interval.low, interval.high
        texts = ["" if value is None else _words(self.name, value, of_change) for value in values]
        if interval.low == interval.high == interval.estimate:
            return f"{texts[0]}{unit}"
        return f"{texts[0]} [{texts[1]}, {texts[2]}]{unit}" if texts[1] else f"{texts[0]}{unit} (no interval)"


def figures_of(old: Side | None, new: Side, *, same_run: bool) -> tuple[Figure, ...]:
    """All figures that were measured in NEW or OLD.

    Args:
        old: The measurement in OLD; None if there is none.
        new: The measurement in NEW.
        same_run: Whether both were measured in the same rounds.
    """
    figures = [_accuracy(old, new), _agreement(old, new)]
    figures += [_fall_of_mean(old, new, name) for name in RESAMPLED]
    figures += [_figure_of_acceptance(old, new, name) for name in ACCEPTED]
    figures += [_latency(old, new, name, same_run) for name in BY_ROUND]
    figures += [_exact(old, new, name) for name in ("size_bytes", "compressed_bytes")]
    figures.append(_memory(old, new))
    return tuple(f for f in figures if f.old is not None or f.new is not None)


def share_interval(right: int, count: int) -> Interval:
    """A proportion with its exact 95 % interval (Clopper and Pearson), which is conservative.

    Args:
        right: Number of successes, 0 to `count`.
        count: Number of trials, at least 1.
    """
    from scipy.stats import binomtest

    ends = binomtest(right, count).proportion_ci(method="exact")
    return Interval(right / count, float(ends.low), float(ends.high))


def _unit(name: str, of_change: bool) -> str:
    if name in SHARES:
        return " pp" if of_change else " %"
    return UNITS.get(name) or ("" if not of_change else " x" if name.endswith("_us") else " %")


def _words(name: str, value: float, of_change: bool) -> str:
    if name.startswith("accepted") and of_change:
        return with_sign(value, "+.2f")
    if name in SHARES or name in UNITS:
        return with_sign(value if of_change or name in UNITS else 100 * value)
    if of_change:
        return f"{value:.3f}" if name.endswith("_us") else with_sign(100 * (value - 1), "+.2f")
    return duration(value, 4) if name.endswith("_us") else size(round(value))


def _accuracy(old: Side | None, new: Side) -> Figure:
    counts = [items_of(*side) for side in (old, new) if side]
    values = old.row.accuracy if old else None, new.row.accuracy
    own = None if values[1] is None or not counts[-1] else share_interval(round(values[1] * counts[-1]), counts[-1])
    figure = Figure(name="accuracy", old=values[0], new=values[1], own=own, count=counts[-1], counted="test items")
    if old is None or None in values or not all(counts):
        return figure
    return _replace(figure, *_drop(old, new, counts))


def _drop(old: Side, new: Side, counts: list[int]) -> tuple[Interval, str]:
    if _answers_alike(old, new):
        return Interval(0.0, 0.0, 0.0), "the same file on the same engine"
    same_data = old.run.data["sha256"] == new.run.data["sha256"] and counts[0] == counts[1]
    before = correct_items(old.row, counts[0])
    after = correct_items(new.row, counts[1])
    if same_data and before is not None and after is not None:
        return paired_drop(before, after), f"paired over the same {counts[1]} items"
    a, b = (
        share_interval(round((side.row.accuracy or 0.0) * count), count)
        for side, count in zip((old, new), counts, strict=True)
    )
    # Newcombe 1998, "Interval estimation for the difference between independent proportions".
    drop = a.estimate - b.estimate
    low = drop - math.hypot(a.estimate - a.low, b.high - b.estimate)  # type: ignore[operator]
    high = drop + math.hypot(a.high - a.estimate, b.estimate - b.low)  # type: ignore[operator]
    why = "which items were right is not recorded in both" if same_data else "on different data"
    return Interval(100 * drop, 100 * low, 100 * high), f"not paired, {why}"


def _answers_alike(old: Side, new: Side) -> bool:
    """Whether both are the same file on the same engine of a like machine, so that answers are the same."""
    known = bool(old.row.sha256) and old.row.sha256 == new.row.sha256
    return known and old.engine == new.engine and old.like(new)


def _agreement(old: Side | None, new: Side) -> Figure:
    value = new.row.agreement
    count = items_of(*new)
    own = None if value is None or not count else share_interval(round(value * count), count)
    before = old.row.agreement if old else None
    return Figure(name="agreement", old=before, new=value, own=own, count=count, counted="test items")


def _fall_of_mean(old: Side | None, new: Side, name: str) -> Figure:
    """A mean over the classes or labels: paired by resample of the same items, else as if the items were others.

    Of the same items, the second interval is too wide rather than too narrow. Source: G. Y. Zou, A. Donner,
    "Construction of confidence limits about effect measures: a general approach", Statistics in Medicine 27 (2008),
    1693-1702.
    """
    before, after = (None if side is None else _mean_of(side, name) for side in (old, new))
    values = [None if mean is None else mean.estimate for mean in (before, after)]
    own = None if after is None else after.interval
    figure = Figure(name=name, old=values[0], new=values[1], own=own, count=items_of(*new), counted="test items")
    if old is None or before is None or after is None:
        return figure
    if _answers_alike(old, new):
        return _replace(figure, Interval(0.0, 0.0, 0.0), "the same file on the same engine")
    same_items = old.run.data["sha256"] == new.run.data["sha256"] and items_of(*old) == items_of(*new)
    if before.resampled is not None and after.resampled is not None:
        if same_items and len(before.resampled) == len(after.resampled):
            pair = (before.estimate, before.resampled), (after.estimate, after.resampled)
            fall = paired_fall(*pair, _accuracy(old, new).change)
            return _replace(figure, fall, f"paired over the same {items_of(*new)} items, resampled")
        why = "on different data"
    else:
        why = "its values on resamples are not recorded in both"
    one, other = before.interval, after.interval
    if one is None or one.low is None or one.high is None or other is None or other.low is None or other.high is None:
        return _replace(figure, None, why)
    drop = before.estimate - after.estimate
    low = drop - math.hypot(before.estimate - one.low, other.high - after.estimate)
    high = drop + math.hypot(one.high - before.estimate, after.estimate - other.low)
    return _replace(figure, Interval(100 * drop, 100 * low, 100 * high), f"not paired, {why}")


class _Mean(NamedTuple):
    """A mean over the classes or labels, its interval, and its values on resamples; None where they are not known."""

    estimate: float
    interval: Interval | None
    resampled: npt.NDArray[np.float64] | None


def _mean_of(side: Side, name: str) -> _Mean | None:
    """A mean of a row; None if it has none. Results of earlier versions have an interval without the resamples."""
    mean = getattr(side.row, name)
    if mean is None:
        return None
    resampled = means_on_resamples(side.row, name)
    if resampled is not None:
        return _Mean(mean, interval_of_mean(mean, resampled, items_of(*side)), resampled)
    low, high = (getattr(side.row, f"{name}_{end}", None) for end in ("low", "high"))
    return _Mean(mean, None if low is None or high is None else Interval(mean, low, high), None)


def _figure_of_acceptance(old: Side | None, new: Side, name: str) -> Figure:
    """What a calibrated file accepts, or the error of that, compared as if the items of OLD and NEW were others.

    Of the same items, that interval is too wide rather than too narrow: answers to an item are alike in both.
    """
    counts = [None if side is None else _counts(side, name) for side in (old, new)]
    values = [None if count is None or not count[1] else count[0] / count[1] for count in counts]
    before, after = counts
    figure = Figure(name=name, old=values[0], new=values[1], counted=COUNTED[name])
    if after is None or not after[1]:
        return figure
    figure = _replace(figure, None, "", own=share_interval(*after), count=after[1])
    if old is None or before is None or not before[1]:
        return figure
    if _answers_alike(old, new):
        return _replace(figure, Interval(0.0, 0.0, 0.0), "the same file on the same engine")
    change = difference_interval(after, before)
    ends = (100 * end for end in (change.estimate, change.low, change.high) if end is not None)
    return _replace(figure, Interval(*ends), "not paired")


def _counts(side: Side, name: str) -> tuple[int, int] | None:
    """A number of items and of how many it is a share; None of a file that is not calibrated."""
    count = getattr(side.row, ACCEPTED[name])
    total = items_of(*side) if name == "accepted_share" else side.row.accepted
    return None if count is None or total is None else (count, total)


def _latency(old: Side | None, new: Side, name: str, same_run: bool) -> Figure:
    rounds = new.rounds(name)
    value = getattr(new.row, name)
    own = None
    if value is not None:
        spread = ratio_interval(rounds, np.ones(1)) if len(rounds) else Interval(value, None, None)
        own = Interval(value, *_around(value, spread))
    before = getattr(old.row, name) if old else None
    figure = Figure(name=name, old=before, new=value, own=own, count=len(rounds) or None, counted="rounds")
    if old is None or figure.old is None or figure.new is None:
        return figure
    return _replace(figure, *latency_ratio(old, new, name, same_run=same_run))


def _exact(old: Side | None, new: Side, name: str) -> Figure:
    before = getattr(old.row, name) if old else None
    after = getattr(new.row, name)
    change = Interval(*[after / before] * 3) if before and after is not None else None
    own = None if after is None else Interval(after, after, after)
    return Figure(name=name, old=before, new=after, own=own, change=change, how="exact" if change else "")


def _memory(old: Side | None, new: Side) -> Figure:
    exact = _exact(old, new, "memory_bytes")
    own = allow(exact.own, MEMORY) if exact.own else None
    if old is None or exact.change is None or not old.like(new):
        return _replace(exact, None, "" if old is None else "measured on another machine", own=own)
    return _replace(exact, allow(exact.change, MEMORY), "one process each", own=own)


def _replace(
    figure: Figure,
    change: Interval | None,
    how: str,
    drift: float | None = None,
    *,
    own: Interval | None = None,
    count: int | None = None,
) -> Figure:
    if drift == math.inf:
        how = f"{how}; one was noisy, or they were timed in two ways"
        drift = None
    fields = {"own": own or figure.own, "count": count or figure.count}
    return Figure(**vars(figure) | fields | {"change": change, "how": how, "drift": drift})


def _around(value: float, spread: Interval) -> tuple[float | None, float | None]:
    """Ends of an interval, extended to include a value (which may be another kind of median)."""
    if spread.low is None or spread.high is None:
        return None, None
    return min(spread.low, value), max(spread.high, value)
