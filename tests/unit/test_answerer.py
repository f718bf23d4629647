"""When a slow file stops: bounds on its items, on its time beside the fastest file, and on the time that is left."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgepress.runtime import InputSpec
from edgepress.toolkit.data.types import DataSet, Split
from edgepress.toolkit.errors import InputError
from edgepress.toolkit.measurement.benchmarking.answers import ENOUGH_ITEMS, LONG_S, SLOW_RATIO, Answerer, Answers
from edgepress.toolkit.measurement.benchmarking.cache import Shelf
from edgepress.toolkit.workers.answer import Part
from edgepress.toolkit.workers.opening import Candidate

COUNT = 10 * ENOUGH_ITEMS
CANDIDATE = Candidate(Path("x.tflite"), "litert")


def answerer(*, may_stop: bool = True, cap_s: float = 1e9) -> Answerer:
    split = Split(None, np.arange(COUNT), np.zeros(COUNT, np.int64))  # type: ignore[arg-type]
    data = DataSet("", ("a", "b"), InputSpec(shape=(2,)), split, split, split, "")
    return Answerer(CANDIDATE, data, cap_s, Shelf(None, CANDIDATE, data), may_stop=may_stop)


def take(one: Answerer, items: int, seconds: float) -> None:
    """Answer the first items, each of which gets its row as its class."""
    rows = slice(one.done, one.done + items)
    numbers = np.arange(COUNT)[rows]
    floats = np.zeros(items, np.float32)
    one._take(rows, Part((numbers, floats, np.zeros(items, np.int8), floats), seconds))


@pytest.mark.parametrize(
    ("items", "ratio", "rest", "stops"),
    [
        (ENOUGH_ITEMS, 1.01, 1.01, True),
        (ENOUGH_ITEMS - 1, 1.01, 1.01, False),
        (ENOUGH_ITEMS, 0.99, 1.01, False),
        (ENOUGH_ITEMS, 1.01, 0.99, False),
    ],
)
def test_it_stops_after_enough_items_if_it_is_slow_and_much_is_left(
    items: int, ratio: float, rest: float, stops: bool
) -> None:
    item_s = rest * LONG_S / (COUNT - items)
    for may_stop in (True, False):
        one = answerer(may_stop=may_stop)
        take(one, items, items * item_s)
        one.stop_if_slow(item_s / (ratio * SLOW_RATIO))
        assert one.stopped is one.ended is (stops and may_stop)


@pytest.mark.parametrize("may_stop", [True, False])
@pytest.mark.parametrize("items", [ENOUGH_ITEMS, ENOUGH_ITEMS - 1])
def test_the_end_of_the_time_is_a_failure_unless_enough_items_are_answered(may_stop: bool, items: int) -> None:
    one = answerer(may_stop=may_stop, cap_s=5.0)
    take(one, items, 5.0)
    assert not one.ended, "the time is not over"
    take(one, 1, 0.1)
    stops = may_stop and items + 1 >= ENOUGH_ITEMS
    assert isinstance(one.outcome, Answers if stops else InputError)


@given(st.lists(st.integers(1, 400), min_size=2, max_size=12))
def test_the_estimate_is_of_the_rows_that_were_answered(sizes: list[int]) -> None:
    one = answerer()
    shards = [slice(first, COUNT, len(sizes)) for first in range(len(sizes))]
    for rows, size in zip(reversed(shards), sizes, strict=True):  # in any order, each perhaps cut short
        numbers = np.arange(COUNT)[rows][:size]
        floats = np.zeros(len(numbers), np.float32)
        one._take(rows, Part((numbers, floats, np.zeros(len(numbers), np.int8), floats), 1.0))
    one.stopped = True
    outcome = one.outcome
    assert isinstance(outcome, Answers)
    assert outcome.rows is not None
    np.testing.assert_array_equal(outcome.predicted, outcome.rows)
    assert len(outcome.rows) == one.done == sum(min(size, -(-COUNT // len(sizes))) for size in sizes)
    assert outcome.seconds == len(sizes)
