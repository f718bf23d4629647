"""Choose the calibration method of each tensor that makes the quantized file nearest to the float graph.

The methods of `statistics` minimise errors of single tensors, and none of them is best for every net. So files are made
and scored (`score`): one for each method, and from the best of these others that differ in one tensor, those first
about whose range the methods disagree most. The number of trials follows from the net's size, not from the clock, so
that the result is the same on every machine.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgepress.converters.arrays import Array
from edgepress.converters.calibration import Batches, no_items
from edgepress.converters.errors import ConversionError
from edgepress.converters.numeric.statistics import METHODS, CalibrationMethods, Method, Statistics
from edgepress.converters.ptq.score import Score, macs

Validation = Callable[[int], tuple[Array, Array | None]]
"""Returns up to a number of items (n, *item shape) and their labels, or None if these are unknown; picklable."""
TRIALS = 40
"""Most files that are scored."""
WORK = 2e11
"""Multiply-accumulates that all trials may take, about seven seconds."""
OPERATION = 2e7
"""What quantizing an operation costs, counted as multiply-accumulates."""
BYTE = 100
"""The same of a byte of the graph."""
DIFFERENT = 1.05
"""Ratio of a wider range to a narrower one from which a trial is worth it."""
GAIN_DB = 0.1
"""Decibels by which another method must raise the ratio of answers to noise to be a step."""


@dataclass(frozen=True)
class ChosenMethods:
    """What was chosen, and what it brought.

    Attributes:
        methods: The methods.
        score: The score with them.
        before: The score if all values are kept (`minmax`).
        trials: Number of files that were scored.
    """

    methods: CalibrationMethods
    score: Score
    before: Score
    trials: int

    def summary(self) -> dict[str, Any]:
        """The same for JSON and contracts, with the fields of a repair."""
        methods = self.methods
        count = len(methods.tensors)
        others = f", of {count} {'tensor' if count == 1 else 'tensors'} by others" if count else ""
        return {
            "method": methods.default,
            "others": dict(Counter(methods.tensors.values())),
            "trials": self.trials,
            "before": self.before.facts(),
            "after": self.score.facts(),
            "what": f"ranges by {methods.default}{others}",
        }


def trials(model: bytes, items: int, tensors: int) -> int:
    """Number of files of a float TFLite graph with some tensors that may be scored on some items, at least one."""
    work = macs(model) * items + OPERATION * tensors + BYTE * len(model)
    return max(1, int(min(TRIALS, WORK / work)))


def first_items(batches: Batches, count: int) -> Array:
    """The first items, up to a number of them, shape (n, *item shape).

    Raises:
        ConversionError: There are none.
    """
    chosen: list[Array] = []
    for batch in batches():
        chosen.append(batch)
        if sum(map(len, chosen)) >= count:
            break
    if not chosen:
        raise no_items()
    return np.concatenate(chosen)[:count]


def choose_methods(statistics: Statistics, score: Callable[[CalibrationMethods], Score], trials: int) -> ChosenMethods:
    """Choose the method of every tensor by the score of files.

    Args:
        statistics: Those of the graph that is quantized.
        score: Makes a file with ranges by some methods and scores it.
        trials: Number of files to score, at least one.

    Returns:
        Methods whose score is better than that of `minmax` by the rule of repairs (`Score.better_than`), or `minmax`.
    """
    best = CalibrationMethods()
    first = score(best)
    best_score = first
    scored = 1

    def try_methods(methods: CalibrationMethods) -> Score | None:
        nonlocal scored
        scored += 1
        try:
            return score(methods)
        except (ConversionError, RuntimeError):  # also what LiteRT says of a file that it refuses
            return None

    for method in METHODS[1:trials]:
        score_of_all = try_methods(CalibrationMethods(method))
        if score_of_all and (score_of_all.better_than(best_score) or score_of_all.is_step_from(best_score, GAIN_DB)):
            best = CalibrationMethods(method)
            best_score = score_of_all
    for name, method in _other_methods(statistics, best.default)[: trials - scored]:
        changed = best.with_tensors([name], method)
        score_of_one = try_methods(changed)
        if score_of_one and score_of_one.is_step_from(best_score, GAIN_DB):
            best = changed
            best_score = score_of_one
    if not best_score.better_than(first):  # steps alone are no improvement
        return ChosenMethods(CalibrationMethods(), first, first, scored)
    return ChosenMethods(best, best_score, first, scored)


def _other_methods(statistics: Statistics, default: Method) -> list[tuple[str, Method]]:
    """Other methods for single tensors, those first that change the range most."""
    changes = []
    for name in statistics.names:
        low, high = statistics.range(name, default)
        for method in METHODS:
            other = statistics.range(name, method)
            if (ratio := (other[1] - other[0]) / (high - low)) and max(ratio, 1 / ratio) >= DIFFERENT:
                changes.append((max(ratio, 1 / ratio), name, method))
    changes.sort(key=lambda entry: -entry[0])
    return [(name, method) for _, name, method in changes]
