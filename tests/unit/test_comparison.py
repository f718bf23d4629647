"""Figures of a comparison: latency, accuracy, size and memory, with their intervals and the drift allowed for."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from comparing import ends, figure, judged, outcomes, right
from records import assert_frozen, float_row, result, row
from scipy.stats import beta

from edgepress.toolkit.measurement.comparison import compare as compare_module
from edgepress.toolkit.measurement.comparison import figures, gates, match
from edgepress.toolkit.measurement.comparison.figures import Figure, share_interval
from edgepress.toolkit.measurement.comparison.gates import FAILED, PASSED, parse_gate
from edgepress.toolkit.measurement.comparison.latency import ratio_interval
from edgepress.toolkit.results.figures import ClassChange
from edgepress.toolkit.results.records import Measurement
from edgepress.toolkit.stats.intervals import Interval, paired_drop


def test_records_are_frozen() -> None:
    for module, by_position in ((gates, {"Gate"}), (compare_module, ()), (figures, ()), (match, ())):
        assert_frozen(module, by_position=frozenset(by_position))


# Drift between two runs. Rounds that are all alike leave the allowance alone in the interval.


@pytest.mark.parametrize(
    ("old", "new", "drift"),
    [
        pytest.param((float_row(),), (float_row(),), 1.03, id="baseline on the same engine"),
        pytest.param(
            (float_row(), float_row(engine="onnxruntime")),
            (float_row(), float_row(engine="onnxruntime")),
            1.03,
            id="baseline on both engines",
        ),
        pytest.param((float_row(engine="openvino"),), (float_row(engine="openvino"),), 1.1, id="on another engine"),
        pytest.param((), (), 1.5, id="no baseline"),
        pytest.param((float_row(),), (), 1.5, id="a baseline in one result alone"),
        pytest.param((float_row(sha256=""),), (float_row(sha256=""),), 1.5, id="a baseline whose bytes are not known"),
        pytest.param((float_row(),), (float_row(sha256="other"),), 1.5, id="another baseline"),
        pytest.param((float_row(engine="litert"),), (float_row(engine="openvino"),), 1.5, id="on different engines"),
        pytest.param((float_row(threads=4),), (float_row(threads=4),), 1.5, id="with other threads"),
        pytest.param((float_row(batch=8),), (float_row(batch=8),), 1.5, id="with another batch"),
        pytest.param(
            (float_row(round_medians_us=()),), (float_row(round_medians_us=()),), 1.5, id="without its rounds"
        ),
    ],
)
def test_a_ratio_of_latencies_is_widened_by_what_two_runs_may_drift(old: Any, new: Any, drift: float) -> None:
    found = figure(result(row(), *old), result(row(rounds=(60.0,) * 20), *new))
    assert found.drift == drift
    assert ends(found.change) == pytest.approx((1.2, 1.2 / drift, 1.2 * drift))


def test_drift_that_hit_the_baseline_too_cancels() -> None:
    old, new = result(row(), float_row(100)), result(row(rounds=(100.0,) * 20), float_row(160))
    assert ends(figure(old, new).change) == pytest.approx((1.25, 1.25 / 1.03, 1.25 * 1.03))
    bases = (float_row(us, engine="openvino") for us in (100, 160))
    other = figure(*(result(one, base) for one, base in zip((row(), row(rounds=(100.0,) * 20)), bases, strict=True)))
    assert ends(other.change) == pytest.approx((1.25, 1.25 / 1.1, 1.25 * 1.1))
    plain = figure(result(row()), result(row(rounds=(100.0,) * 20)))
    assert ends(plain.change)[0] == pytest.approx(2)


@pytest.mark.parametrize("noisy", [(True, False), (False, True), (True, True)])
def test_noise_leaves_only_what_the_baseline_on_the_same_engine_cancels(noisy: tuple[bool, bool]) -> None:
    def compared(*base: Measurement) -> Figure:
        return figure(*(result(row(), *base, noisy=one) for one in noisy))

    assert compared(float_row()).drift == 1.03
    for base in ((), (float_row(engine="openvino"),)):
        found = compared(*base)
        assert found.change is not None
        assert (found.change.estimate, found.change.low, found.change.high, found.drift) == (1, None, None, None)


@pytest.mark.parametrize("changed", [{"cpu": "other"}, {"machine": "aarch64"}, {"cores": 3}])
def test_another_machine_has_no_comparable_latency_or_memory(changed: dict[str, Any]) -> None:
    old, new = result(row(memory_bytes=100)), result(row(memory_bytes=100), **changed)
    assert figure(old, new).change is None
    assert figure(old, new, "memory_bytes").change is None
    assert figure(old, new, "size_bytes").change is not None


def test_a_row_of_a_board_is_compared_on_that_board() -> None:
    pi = {"name": "pi", "cpu": "Cortex", "machine": "aarch64", "cores": 4, "engines": {"litert": "2.1"}}
    one = result(row(host="pi"), float_row(host="pi"), boards=[pi])
    assert figure(one, one).drift == 1.03
    assert figure(one, result(row(host="pi"), boards=[pi | {"cpu": "Cortex-A76"}])).change is None
    newer = result(row(host="pi"), float_row(host="pi"), boards=[pi | {"engines": {"litert": "2.2"}}])
    assert figure(one, newer).drift == 1.5, "a baseline on another version of its engine says nothing"


def test_medians_of_rounds_are_resampled() -> None:
    random = np.random.default_rng(3)
    new, old = np.exp(random.normal(0, 0.05, (2, 30)))
    estimate, low, high = ends(ratio_interval(new, old))
    assert estimate == np.median(new) / np.median(old)
    logs = [np.median(random.choice(np.log(side), (20_000, 30)), axis=1) for side in (new, old)]
    expected = np.exp(np.quantile(logs[0] - logs[1], (0.025, 0.975)))
    assert (low, high) == pytest.approx(tuple(expected), abs=4e-3)
    assert ratio_interval(new[:6], old[:6]).low is not None, "six rounds are enough"
    assert ratio_interval(new[:5], old).low is None
    assert ratio_interval(new, old[:5]).low is None
    assert ratio_interval(new, old[:2]).low is None
    assert ratio_interval(new, old[:1]).low is not None, "one figure alone is exact"


def test_files_in_the_same_run_are_compared_round_by_round() -> None:
    drifting = np.linspace(1, 3, 20)  # which hit both alike
    run = result(row(file="a.tflite", rounds=drifting * 10), row(file="b.tflite", rounds=drifting * 20), float_row())
    (pair,) = match.match_models(run, Path("a.tflite"), Path("b.tflite"))
    found = next(f for f in pair.figures if f.name == "p50_us")
    assert ends(found.change) == pytest.approx((2, 2, 2))
    assert found.drift is None
    verdicts = compare_module.judge([pair], [parse_gate("latency>2.1x"), parse_gate("latency>1.9x")], same_run=True)
    assert outcomes(verdicts) == [PASSED, FAILED]


# Accuracy.


@pytest.mark.parametrize(("a", "b"), [((95, 100), (180, 200)), ((40, 50), (45, 50)), ((0, 30), (30, 30))])
def test_independent_shares_are_compared_by_newcombe_s_interval(a: tuple[int, int], b: tuple[int, int]) -> None:
    def exact(good: int, count: int) -> tuple[float, float]:
        low = beta.ppf(0.025, good, count - good + 1) if good else 0.0
        return low, beta.ppf(0.975, good + 1, count - good) if good < count else 1.0

    sides = [result(row(accuracy=good / n), count=n, data=str(n + i)) for i, (good, n) in enumerate((a, b))]
    (low_a, high_a), (low_b, high_b) = exact(*a), exact(*b)
    first, second = a[0] / a[1], b[0] / b[1]
    low = first - second - math.sqrt((first - low_a) ** 2 + (high_b - second) ** 2)
    high = first - second + math.sqrt((high_a - first) ** 2 + (second - low_b) ** 2)
    found = ends(figure(*sides, "accuracy").change)
    assert found == pytest.approx((100 * (first - second), 100 * low, 100 * high), abs=1e-6)
    back = ends(figure(*sides[::-1], "accuracy").change)
    assert back == pytest.approx((-found[0], -found[2], -found[1]))


def test_accuracy_is_paired_only_where_the_items_are_the_same_and_known() -> None:
    old, new = right(400, 8), right(400, 20)
    paired = paired_drop(old, new)
    assert figure(result(row(right=old), count=400), result(row(right=new), count=400), "accuracy").change == paired
    for other in (
        result(row(right=new), count=400, data="other"),
        result(row(accuracy=0.95), count=400),
    ):
        found = figure(result(row(right=old), count=400), other, "accuracy").change
        assert found is not None
        assert found != paired
        assert found.estimate == pytest.approx(3)
    fewer = figure(result(row(right=old), count=400), result(row(right=new[:200]), count=200), "accuracy").change
    assert fewer is not None
    assert fewer.estimate == pytest.approx(8)


def test_accuracy_that_is_not_known_has_no_change() -> None:
    assert figure(result(row(accuracy=0.9)), result(row()), "accuracy").change is None
    assert figure(result(row()), result(row(accuracy=0.9)), "accuracy").change is None
    none = figure(result(row(accuracy=0.9), count=0), result(row(accuracy=0.9), count=0), "accuracy")
    assert (none.own, none.change) == (None, None)
    own = figure(result(row()), result(row(accuracy=0.9)), "accuracy").own
    assert own == share_interval(900, 1000)
    more = figure(result(row(accuracy=0.9), count=200), result(row(accuracy=0.9), data="other"), "accuracy")
    assert (more.own, more.count) == (share_interval(900, 1000), 1000), "NEW's own items count"
    assert figure(result(row()), result(row(agreement=0.8)), "agreement").own == share_interval(800, 1000)


def test_the_same_bytes_have_not_dropped_unless_engine_or_machine_changed() -> None:
    kept = {"sha256": "f", "right": right(1000, 30)}
    same = figure(result(row(**kept)), result(row(**kept)), "accuracy").change
    assert same == Interval(0, 0, 0)
    wide = paired_drop(right(1000, 30), right(1000, 30))
    assert wide.high is not None
    assert wide.high > 0
    for other in (
        result(row(**kept), cpu="other"),
        result(row(**kept), engines={"litert": "9"}),
        result(row(**kept | {"sha256": "g"})),
    ):
        assert figure(result(row(**kept)), other, "accuracy").change == wide
    unknown = kept | {"sha256": ""}
    assert figure(result(row(**unknown)), result(row(**unknown)), "accuracy").change == wide


# Sizes and memory.


def test_sizes_are_exact_and_memory_has_its_allowance() -> None:
    old = result(row(size_bytes=200, compressed_bytes=100, memory_bytes=1000))
    new = result(row(size_bytes=300, compressed_bytes=50, memory_bytes=2000))
    assert ends(figure(old, new, "size_bytes").change) == (1.5, 1.5, 1.5)
    assert figure(old, new, "size_bytes").how == "exact"
    assert figure(result(row(size_bytes=0)), new, "size_bytes").how == ""
    assert ends(figure(old, new, "size_bytes").own) == (300, 300, 300)
    assert ends(figure(old, new, "compressed_bytes").change) == (0.5, 0.5, 0.5)
    memory = figure(old, new, "memory_bytes")
    assert ends(memory.change) == pytest.approx((2, 2 / 1.05, 2 * 1.05))
    assert ends(memory.own) == pytest.approx((2000, 2000 / 1.05, 2000 * 1.05))
    unknown = figure(result(row(memory_bytes=0)), new, "memory_bytes")
    assert unknown.change is None
    assert figure(result(row()), new, "memory_bytes").change is None
    vanished = figure(old, result(row(memory_bytes=0)), "memory_bytes").change
    assert vanished is not None
    assert vanished.estimate == 0


def test_what_neither_result_holds_is_no_figure() -> None:
    names = {f.name for f in judged(result(row()), result(row())).pairs[0].figures}
    assert names == {"p50_us", "p90_us", "p99_us", "size_bytes"}
    one = {f.name for f in judged(result(row(accuracy=0.5)), result(row(agreement=0.5))).pairs[0].figures}
    assert one == names | {"accuracy", "agreement"}


def test_a_latency_holds_its_own_value_and_the_rounds_it_rests_on() -> None:
    rounds = tuple(np.random.default_rng(5).normal(100, 5, 12))
    found = figure(result(row()), result(row(rounds=rounds, p50_us=140.0)))
    estimate, low, high = ends(found.own)
    assert estimate == 140
    assert high == 140, "the interval holds the value, which is another kind of median"
    assert low == pytest.approx(ends(ratio_interval(np.array(rounds), np.ones(1)))[1])
    assert (found.count, found.counted, found.old, found.new) == (12, "rounds", 50, 140)
    bare = figure(result(row()), result(row(round_medians_us=())))
    assert bare.own == Interval(50, None, None)
    assert bare.count is None
    assert bare.change == Interval(1, None, None)
    assert figure(result(row()), result(row(p50_us=None))).change is None


def test_accepted_shares_and_their_errors_are_compared() -> None:
    """From 80 to 70 % accepted, and from 2 to 1 % wrong of these: by Newcombe, with the share that grew above 0."""
    old = result(row(accepted=800, accepted_wrong=16, sha256="a"))
    new = result(row(accepted=700, accepted_wrong=7, sha256="b"))
    share, error = figure(old, new, "accepted_share"), figure(old, new, "accepted_error")
    assert (share.old, share.new, share.count, share.counted) == (0.8, 0.7, 1000, "test items")
    assert ends(share.change) == pytest.approx((-10, -13.7, -6.2), abs=0.1)
    assert (error.old, error.new, error.count, error.counted) == (0.02, 0.01, 700, "accepted answers")
    assert ends(error.change) == pytest.approx((-1, -2.3, 0.3), abs=0.1)
    assert share.show(of_change=True).startswith("\N{MINUS SIGN}10.00 [")
    assert ends(figure(old, old, "accepted_share").change) == (0, 0, 0)
    assert figure(result(row()), new, "accepted_share").change is None
    none = result(row(accepted=0, accepted_wrong=0, sha256="c"))
    assert figure(old, none, "accepted_share").new == 0
    assert figure(old, none, "accepted_error").new is None


@pytest.mark.parametrize(
    ("board", "more"),
    [
        ({"name": "pi", "items": 500}, {}),
        ({"name": "pi"}, {"per_class": (ClassChange(label="a", support=500, precision=1, recall=1, f1=1),)}),
    ],
)
def test_shares_of_a_board_are_of_the_items_that_it_answered(board: dict[str, Any], more: dict[str, Any]) -> None:
    """Of 500, in a benchmark whose host answered 1,000."""
    found = row(accepted=450, accepted_wrong=9, accuracy=0.9, agreement=0.9, sha256="b", host="pi", **more)
    new = match.Side(result(found, boards=[board]), found)
    shares = {share.name: share for share in match.figures_of(None, new, same_run=False)}
    for name in ("accepted_share", "accuracy", "agreement"):
        assert (shares[name].new, shares[name].count) == (0.9, 500)
        assert ends(shares[name].own) == pytest.approx(ends(share_interval(450, 500)))
    assert (shares["accepted_error"].new, shares["accepted_error"].count) == (0.02, 450)


def test_files_that_are_not_calibrated_have_no_accepted_share() -> None:
    run = result(row())
    names = {f.name for f in match.figures_of(None, match.Side(run, run.results[0]), same_run=False)}
    assert not {name for name in names if name.startswith("accepted")}
