"""How many items tell two files apart, and the statistics of that."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from remarking import facts, matrix

from edgepress.toolkit.results.remarks.checks import CHECKS
from edgepress.toolkit.results.remarks.facts import FloatPair
from edgepress.toolkit.stats.intervals import score_interval
from edgepress.toolkit.stats.samples import (
    difference_interval,
    items_to_rule_out,
    items_without_labels,
    least_items,
    share_interval,
)

# items


def test_a_pair_that_the_items_settle_is_no_remark() -> None:
    alike = FloatPair(reference="float", candidate="int8", lost=0, gained=0, differing=0)
    assert CHECKS["few test items"](facts(confusion=matrix([80] * 5, [0.9] * 5), pair=alike)) is None
    few = CHECKS["few test items"](facts(confusion=matrix([70] * 5, [0.9] * 5), pair=alike))
    assert few is not None, "no lost item of 350 does not rule out 1 pp"


def test_it_says_how_many_items_tell_two_files_apart() -> None:
    pair = FloatPair(reference="tflite-float32", candidate="tflite-int8", lost=4, gained=3, differing=9)
    found = CHECKS["few test items"](facts(pair=pair))
    assert found is not None
    assert "360 test items can't tell tflite-int8 from tflite-float32" in found.text
    assert found.figures["items_needed"] == items_to_rule_out(4, 3, 360, drop=0.01)
    assert "without any label" not in found.text  # 2.6 % differ, so agreement can't prove 1 pp
    loose = CHECKS["few test items"](facts(pair=dataclasses.replace(pair, lost=1, gained=1, differing=2)))
    assert loose is not None
    assert "without any label" in loose.text
    assert loose.figures["items_without_labels"] == items_without_labels(2, 360, drop=0.01)


def test_the_example_of_the_guide_is_what_is_said() -> None:
    page = " ".join((Path(__file__).parents[2] / "docs" / "advice.md").read_text(encoding="utf-8").split())
    pair = FloatPair(reference="tflite-float32", candidate="tflite-int8", lost=2, gained=2, differing=6)
    found = CHECKS["few test items"](facts(labels=("a", "b"), confusion=np.array([[180, 6], [6, 180]]), pair=pair))
    assert found is not None
    assert found.text in page.replace("> ", "")


def test_what_is_said_of_few_items_is_true_of_any_file() -> None:
    """One that gains may be proven by fewer: "whatever the files" stood beside files that were."""
    few = CHECKS["few test items"](facts(confusion=matrix([8] * 5, [0.9] * 5)))
    assert few is not None
    n = least_items(0.01)
    assert f"fewer than {n} can't prove that a file with the same accuracy loses less than a percent." in few.text
    assert min(float(score_interval(k, k, n - 1)[1]) for k in range(20)) > 0.01
    assert float(score_interval(0, 4, n - 1)[1]) < 0.01


def test_a_file_that_is_worse_needs_no_more_items() -> None:
    worse = FloatPair(reference="float", candidate="int8", lost=9, gained=1, differing=12)
    assert CHECKS["few test items"](facts(pair=worse)) is None


def test_the_accuracy_of_few_items_is_an_interval() -> None:
    few = CHECKS["few test items"](facts(confusion=matrix([8] * 5, [0.9] * 5)))
    assert few is not None
    assert "40 test items" in few.text
    assert CHECKS["few test items"](facts(confusion=matrix([40] * 5, [0.9] * 5))) is None


# the statistics


@pytest.mark.parametrize("drop", [0.001, 0.005, 0.01, 0.03, 0.2])
def test_fewer_items_than_the_least_rule_nothing_out(drop: float) -> None:
    n = least_items(drop)
    assert float(score_interval(0, 0, n)[1]) <= drop
    assert n == 1 or float(score_interval(0, 0, n - 1)[1]) > drop
    assert n == pytest.approx(3.84 / drop, rel=0.1, abs=3)


@pytest.mark.parametrize(
    ("lost", "gained"), [(0.01, 0.01), (0.02, 0.02), (0.006, 0.004), (0.003, 0.003), (0.03, 0.025)]
)
def test_the_planned_number_of_items_settles_four_of_five_cases(lost: float, gained: float) -> None:
    """Simulated with the interval that the verdict uses; fewer items, a third, settle clearly fewer."""
    n = items_to_rule_out(round(lost * 1e6), round(gained * 1e6), 1_000_000, drop=0.01)
    assert n is not None
    rng = np.random.default_rng(1)

    def settled(items: int) -> float:
        counts = rng.multinomial(items, [lost, gained, 1 - lost - gained], 500)
        return float(np.mean(score_interval(counts[:, 0], counts[:, 1], np.full(500, items))[1] <= 0.01))

    assert 0.76 < settled(n) < 0.92
    assert settled(n // 3) < 0.6


@pytest.mark.parametrize("differing", [0.001, 0.003, 0.005])
def test_the_planned_number_of_items_without_labels_settles_four_of_five_cases(differing: float) -> None:
    n = items_without_labels(round(differing * 1e6), 1_000_000, drop=0.01)
    assert n is not None
    rng = np.random.default_rng(1)
    settled = [(share_interval(int(k), n).high or 1) <= 0.01 for k in rng.binomial(n, differing, 1500)]
    assert 0.7 < np.mean(settled) < 0.95
    assert items_without_labels(round(0.02 * n), n, drop=0.01) is None


def test_intervals_are_those_of_the_literature() -> None:
    wilson = share_interval(81, 263)  # Newcombe 1998a, table 1
    assert (wilson.low, wilson.high) == (pytest.approx(0.2553, abs=1e-4), pytest.approx(0.3662, abs=1e-4))
    newcombe = difference_interval((56, 70), (48, 80))  # Newcombe 1998b, table II, example a, method 10
    assert (newcombe.low, newcombe.high) == (pytest.approx(0.0524, abs=1e-4), pytest.approx(0.3339, abs=1e-4))
