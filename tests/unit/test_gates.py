"""Verdicts of a comparison: gates, and what would settle them."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
import pytest
from comparing import failing, judged, outcomes, right
from hypothesis import given
from hypothesis import strategies as st
from records import float_row, result, row

from edgepress.toolkit.errors import InputError
from edgepress.toolkit.measurement.comparison.figures import share_interval
from edgepress.toolkit.measurement.comparison.gates import FAILED, METRICS, OF_STREAMS, OPEN, PASSED, Gate, parse_gate
from edgepress.toolkit.measurement.comparison.judging import Comparison
from edgepress.toolkit.stats.intervals import Interval

# What would settle a gate.


def items_named(text: str) -> int:
    match = re.search(r"([\d,]*\d) test items", text)
    assert match, text
    return int(match[1].replace(",", ""))


@pytest.mark.parametrize("limit", ["drop>1.2", "drop>0.5", "accuracy<98.6%", "agreement<98.6%"])
def test_about_as_many_items_as_named_settle_a_gate_and_a_half_of_them_do_not(limit: str) -> None:
    def run(count: int) -> Comparison:
        old, new = right(count, round(0.01 * count)), right(count, round(0.018 * count))
        share = float(np.mean(new))
        return judged(result(row(right=old), count=count), result(row(right=new, agreement=share), count=count), limit)

    first = run(500)
    assert outcomes(first) == [OPEN]
    needed = items_named(first.verdicts[0].fix)
    assert needed > 500
    assert outcomes(run(3 * needed // 2)) != [OPEN]
    assert outcomes(run(needed // 2)) == [OPEN]


def test_the_count_grows_with_the_square_of_the_interval() -> None:
    gate = parse_gate("drop>1")
    assert gate.factor(Interval(0.5, -0.5, 1.5)) == pytest.approx(4)
    assert gate.factor(Interval(1.2, 0.8, 1.6)) == pytest.approx(4)
    assert gate.factor(Interval(0.5, 0.0, 5.4)) == pytest.approx(96.04)
    assert gate.factor(Interval(0.5, 0.0, 5.487)) == pytest.approx(99.48, abs=0.01)
    assert gate.factor(Interval(0.5, 0.0, 5.5)) is None, "a hundred times as many are not bearable"
    assert gate.factor(Interval(1.0, 0.5, 1.5)) is None, "no amount settles what is at its limit"
    assert gate.factor(Interval(0.5, None, None)) is None


def test_a_tenth_is_added_and_counts_are_rounded_up_to_tens() -> None:
    old, new = result(row(accuracy=0.95)), result(row(accuracy=0.95, agreement=0.9))
    verdict = judged(old, new, "agreement<0.91").verdicts[0]
    own = share_interval(900, 1000)
    factor = parse_gate("agreement<0.91").factor(own)
    assert factor is not None
    assert items_named(verdict.fix) == math.ceil(factor * 1000 * 1.1 / 10) * 10


def test_latencies_of_two_runs_are_settled_side_by_side_and_not_by_more_rounds() -> None:
    old, new = result(row()), result(row(rounds=(60.0,) * 20))
    (verdict,) = judged(old, new, "latency>1.1x").verdicts
    assert verdict.outcome == OPEN
    assert not re.search(r"\d", verdict.fix)
    own = np.random.default_rng(0).normal(60, 3, 20)
    (verdict,) = judged(old, result(row(rounds=own)), f"latency>{np.median(own) + 0.5}us").verdicts
    assert verdict.outcome == OPEN
    assert "rounds" in verdict.fix
    assert judged(old, new, "latency>1.9x").verdicts[0].fix == ""


# Gates.


@given(st.floats(-2, 2), st.floats(-3, 3), st.floats(-3, 3), st.sampled_from([">", ">=", "<", "<="]))
def test_a_gate_is_open_exactly_if_the_limit_divides_the_interval(limit: float, a: float, b: float, op: str) -> None:
    gate = parse_gate(f"drop{op}{limit!r}")
    low, high = sorted((a, b))
    beyond = {"<": float.__lt__, "<=": float.__le__, ">": float.__gt__, ">=": float.__ge__}[op]
    truths = [beyond(low, limit), beyond(high, limit)]
    expected = OPEN if truths[0] != truths[1] else FAILED if truths[0] else PASSED
    assert gate.outcome(Interval((low + high) / 2, low, high)) == expected


def test_what_is_not_known_is_open_or_failed_if_strict() -> None:
    gate = parse_gate("drop>1")
    for found in (None, Interval(5.0, None, None), Interval(5.0, None, 6.0), Interval(5.0, 4.0, None)):
        assert gate.outcome(found) == OPEN
        assert gate.outcome(found, strict=True) == FAILED
    assert gate.outcome(Interval(0.5, None, None), strict=True) == PASSED


@pytest.mark.parametrize(
    ("text", "metric", "op", "limit", "of_change"),
    [
        ("drop>0.5", "drop", ">", 0.5, True),
        ("DROP >= -1PP", "drop", ">=", -1.0, True),
        ("drop<-100", "drop", "<", -100.0, True),
        ("drop>100", "drop", ">", 100.0, True),
        ("accuracy<97%", "accuracy", "<", 0.97, False),
        ("accuracy<1", "accuracy", "<", 1.0, False),
        ("agreement<=0", "agreement", "<=", 0.0, False),
        ("latency>1.1x", "latency", ">", 1.1, True),
        ("latency>10%", "latency", ">", 1.1, True),
        ("latency<-50%", "latency", "<", 0.5, True),
        ("p90>2us", "p90", ">", 2.0, False),
        ("p99>5ms", "p99", ">", 5000.0, False),
        ("p50>.5s", "p50", ">", 5e5, False),
        ("latency>3.µs", "latency", ">", 3.0, False),
        ("size>2kB", "size", ">", 2000.0, False),
        ("size>2KIB", "size", ">", 2048.0, False),
        ("compressed>1e1MB", "compressed", ">", 1e7, False),
        ("memory>+1MiB", "memory", ">", 2.0**20, False),
        ("memory>1GiB", "memory", ">", 2.0**30, False),
        ("memory>1GB", "memory", ">", 1e9, False),
        ("size>7B", "size", ">", 7.0, False),
    ],
)
def test_limits_and_their_units(text: str, metric: str, op: str, limit: float, of_change: bool) -> None:
    assert parse_gate(text) == Gate(text, metric, op, pytest.approx(limit, rel=1e-12), of_change)


@pytest.mark.parametrize(
    "text",
    [
        "drop>100.1",
        "drop<-100.1",
        "drop>1x",
        "accuracy<1.01",
        "accuracy<101%",
        "accuracy<-0.1",
        "accuracy>1x",
        "size>0",
        "size>-1B",
        "size>0B",
        "size>5",
        "size>5us",
        "size>1e999B",
        "size>1e999x",
        "latency>-100%",
        "latency>0x",
        "latency>-1x",
        "latency>0us",
        "speed>5",
        ">5",
        "drop",
        "drop>",
        "drop>>1",
        "drop==1",
        "drop>nan",
        "drop>1|2",
    ],
)
def test_limits_that_no_figure_reaches_or_no_unit_fits_are_refused(text: str) -> None:
    with pytest.raises(InputError):
        parse_gate(text)


@pytest.mark.parametrize("name", METRICS)
def test_a_refusal_names_the_units_that_fit(name: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_gate(f"{name}>1furlong")
    for unit in METRICS[name].units:
        assert unit in str(caught.value) or unit == "μs"
    shares = ("drop", "accuracy", "agreement", "f1", "f1_drop", "map", "map_drop")
    assert ("x or %" in str(caught.value)) == (name not in (*shares, *OF_STREAMS))


@pytest.mark.parametrize(
    ("old", "new", "strict", "outcome"),
    [
        (row(), None, False, FAILED),
        (row(), None, True, FAILED),
        (failing(), None, False, OPEN),
        (failing(), None, True, FAILED),
        (row(), failing(), False, FAILED),
        (failing(), failing(), False, OPEN),
        (failing(), failing(), True, FAILED),
    ],
)
def test_a_row_that_can_not_be_compared_gets_one_verdict(old: Any, new: Any, strict: bool, outcome: str) -> None:
    sides = result(old, float_row()), result(*([new] if new else []), float_row())
    found = judged(*sides, "size>1%", "latency>9x", strict=strict)
    assert [(v.gate, v.outcome) for v in found.verdicts] == [("all", outcome)]
    assert found.failed == (outcome == FAILED)
    assert judged(*sides).verdicts == (), "without a limit there is nothing to judge"


def test_a_new_row_has_only_limits_of_its_own() -> None:
    old, new = result(float_row()), result(float_row(), row(accuracy=0.9))
    found = judged(old, new, "size>1%", "size>2kB", "accuracy<95%", "drop>0")
    assert [(v.gate, v.outcome) for v in found.verdicts] == [("size>2kB", PASSED), ("accuracy<95%", FAILED)]
    again = judged(result(failing()), result(row(accuracy=0.9)), "drop>0", "accuracy<95%")
    assert outcomes(again) == [OPEN, FAILED], "what failed before has no change"


def test_notes_name_what_changed_beside_the_files() -> None:
    old, new = result(row()), result(row())
    assert judged(old, new).notes == ()
    (note,) = judged(old, result(row(), data="other", count=7)).notes
    assert "1000" in note
    assert "7" in note
    (note,) = judged(old, result(row(), noisy=True)).notes
    assert "NEW" in note
    assert "load" in note
    (note,) = judged(old, result(row(), engines={"litert": "2.4.0", "onnxruntime": "1.20", "openvino": "1"})).notes
    assert "litert 2.3.0 -> 2.4.0" in note
    assert "onnxruntime" not in note
    for engines in (None, "litert", 3):
        assert judged(old, result(row(), engines=engines)).notes == ()
        assert judged(result(row(), engines=engines), new).notes == ()
