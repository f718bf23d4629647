"""The method of each tensor's range that makes the quantized file nearest to the float graph.

The methods of `statistics` minimise errors of single tensors, and none of them is best for every net. So files are made
and judged (`judge`): one for each method, and from the best of these others that differ in one tensor, those first
about whose range the methods disagree most. The number of trials follows from the net's size, not from the clock, so
that the result is the same on every machine.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgepress.converters.calibration import Batches, no_items
from edgepress.converters.errors import ConversionError
from edgepress.converters.statistics import METHODS, Choice, Method, Statistics
from edgepress.converters.tuning.judge import Score, macs

Validation = Callable[[int], tuple[npt.NDArray[Any], npt.NDArray[Any] | None]]
"""Returns up to a number of items (n, *item shape) and their labels, or None if these are unknown; picklable."""
TRIALS = 40
"""Files that are judged at most."""
WORK, OPERATION, BYTE = 1.5e11, 2e7, 100
"""Multiply-accumulates that all trials may take, about five seconds, and what quantizing costs, counted as such, for
each operation and each byte of a graph."""
DIFFERENT = 1.05
"""Ratio of a wider range to a narrower one from which a trial is worth it."""
GAIN_DB = 0.1
"""Decibels by which another method for one tensor must lower the noise."""


@dataclass(frozen=True)
class Chosen:
    """What was chosen, and what it brought.

    Attributes:
        choice: The methods.
        score: The score with them.
        before: The score if all values are kept (`minmax`).
        trials: Number of files that were judged.
    """

    choice: Choice
    score: Score
    before: Score
    trials: int

    def summary(self) -> dict[str, Any]:
        """The same for JSON and contracts, with the fields of a repair."""
        choice = self.choice
        others = f", of {len(choice.tensors)} tensors by others" if choice.tensors else ""
        return {
            "method": choice.default,
            "others": dict(Counter(choice.tensors.values())),
            "trials": self.trials,
            "before": self.before.facts(),
            "after": self.score.facts(),
            "what": f"ranges by {choice.default}{others}",
        }


def trials(model: bytes, items: int, tensors: int) -> int:
    """Number of files of a float TFLite graph with some tensors that may be judged on some items, at least one."""
    work = macs(model) * items + OPERATION * tensors + BYTE * len(model)
    return max(1, int(min(TRIALS, WORK / work)))


def first_items(batches: Batches, count: int) -> npt.NDArray[Any]:
    """The first items, up to a number of them, shape (n, *item shape).

    Raises:
        ConversionError: There are none.
    """
    found: list[npt.NDArray[Any]] = []
    for batch in batches():
        found.append(batch)
        if sum(map(len, found)) >= count:
            break
    if not found:
        raise no_items()
    return np.concatenate(found)[:count]


def chosen_methods(statistics: Statistics, score: Callable[[Choice], Score], trials: int) -> Chosen:
    """Choose the method of every tensor by the score of files.

    Args:
        statistics: Those of the graph that is quantized.
        score: Makes a file by a choice and judges it.
        trials: Number of files to judge, at least one.

    Returns:
        A choice whose score is never worse than that of `minmax`.
    """
    first = score(Choice())
    best, held, done = Choice(), first, 1

    def judged(choice: Choice) -> Score | None:
        nonlocal done
        done += 1
        try:
            return score(choice)
        except (ConversionError, RuntimeError):  # also what LiteRT says of a file that it refuses
            return None

    for method in METHODS[1:trials]:
        found = judged(Choice(method))
        if found and (found.better_than(held) or (found.noise_db > held.noise_db and not held.better_than(found))):
            best, held = Choice(method), found
    for name, method in _disputed(statistics, best.default)[: trials - done]:
        found = judged(changed := best.with_tensors([name], method))
        if found and found.gained(held) >= 0 and found.noise_db >= held.noise_db + GAIN_DB:
            best, held = changed, found
    if first.better_than(held):  # small steps that each seemed better
        best, held = Choice(), first
    return Chosen(best, held, first, done)


def _disputed(statistics: Statistics, default: Method) -> list[tuple[str, Method]]:
    """Other methods for single tensors, those first that change the range most."""
    found = []
    for name in statistics.names:
        low, high = statistics.range(name, default)
        for method in METHODS:
            other = statistics.range(name, method)
            if (ratio := (other[1] - other[0]) / (high - low)) and max(ratio, 1 / ratio) >= DIFFERENT:
                found.append((max(ratio, 1 / ratio), name, method))
    found.sort(key=lambda entry: -entry[0])
    return [(name, method) for _, name, method in found]
