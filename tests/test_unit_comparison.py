"""Comparison of two results: allowances for drift, intervals, what would settle a gate, which rows are paired."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from records import assert_frozen, float_row, result, row
from scipy.stats import beta

from edgepress.toolkit.comparison import compare as compare_module
from edgepress.toolkit.comparison import figures, gates, match
from edgepress.toolkit.comparison.compare import Comparison, compare_results
from edgepress.toolkit.comparison.figures import Figure, share_interval
from edgepress.toolkit.comparison.gates import FAILED, METRICS, OPEN, PASSED, Gate, parse_gate
from edgepress.toolkit.comparison.latency import ratio_interval
from edgepress.toolkit.comparison.text import (
    github_annotations,
    markdown,
    methods,
    summary,
)
from edgepress.toolkit.errors import InputError, ModelFileError
from edgepress.toolkit.results.records import Benchmark, Measurement
from edgepress.toolkit.stats.intervals import Interval, paired_drop


def judged(
    old: Benchmark, new: Benchmark, *limits: str, strict: bool = False, schemes: str = "tflite-int8"
) -> Comparison:
    return compare_results(old, new, [parse_gate(g) for g in limits], schemes=schemes, strict=strict)


def outcomes(found: Comparison) -> list[str]:
    return [v.outcome for v in found.verdicts]


def figure(old: Benchmark, new: Benchmark, name: str = "p50_us") -> Figure:
    return next(f for f in judged(old, new).pairs[0].figures if f.name == name)


def ends(found: Interval | None) -> tuple[float, float, float]:
    assert found is not None
    assert found.low is not None
    assert found.high is not None
    return found.estimate, found.low, found.high


def failing(scheme: str = "tflite-int8", reason: str = "it crashed", **more: Any) -> Measurement:
    plain = {"file": f"{scheme}.tflite", "engine": "litert", "threads": 1, "size_bytes": 9} | more
    return Measurement(scheme=scheme, status=f"failed: {reason}", **plain)


def right(count: int, wrong: int) -> Any:
    return np.arange(count) >= wrong


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
    needed = items_named(first.verdicts[0].remedy)
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
    assert items_named(verdict.remedy) == math.ceil(factor * 1000 * 1.1 / 10) * 10


def test_latencies_of_two_runs_are_settled_side_by_side_and_not_by_more_rounds() -> None:
    old, new = result(row()), result(row(rounds=(60.0,) * 20))
    (verdict,) = judged(old, new, "latency>1.1x").verdicts
    assert verdict.outcome == OPEN
    assert not re.search(r"\d", verdict.remedy)
    own = np.random.default_rng(0).normal(60, 3, 20)
    (verdict,) = judged(old, result(row(rounds=own)), f"latency>{np.median(own) + 0.5}us").verdicts
    assert verdict.outcome == OPEN
    assert "rounds" in verdict.remedy
    assert judged(old, new, "latency>1.9x").verdicts[0].remedy == ""


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
    assert ("x or %" in str(caught.value)) == (name not in ("drop", "accuracy", "agreement"))


# Which row stands beside which.


def states(old: Benchmark, new: Benchmark) -> dict[str, str]:
    return {p.name: p.state for p in match.match_results(old, new)}


def test_rows_are_matched_by_scheme_engine_threads_batch_and_host() -> None:
    rows = [row(), row(engine="openvino"), row(threads=2), row(batch=8), row(host="pi"), row("onnx-int8")]
    one = result(*rows, boards=[{"name": "pi"}])
    found = states(one, one)
    assert len(found) == 6
    assert set(found.values()) == {"both"}
    assert "tflite-int8 on litert" in found
    assert "tflite-int8 on litert, 2 threads" in found
    assert "tflite-int8 on litert, batch 8" in found
    assert "tflite-int8 on litert, pi" in found
    assert set(states(one, result(row("other"))).values()) == {"vanished", "appeared"}


def test_the_host_s_own_name_is_none() -> None:
    assert states(result(row(host="box")), result(row())) == {"tflite-int8 on litert": "both"}


def test_a_state_says_on_which_side_a_row_works() -> None:
    good, bad = result(row()), result(failing())
    assert [list(states(*sides).values()) for sides in ((good, good), (good, bad), (bad, good), (bad, bad))] == [
        ["both"],
        ["fails now"],
        ["failed before"],
        ["fails in both"],
    ]
    (pair,) = match.match_results(bad, result(failing(reason="it hung")))
    assert pair.reason == "it hung", "NEW's reason comes first"
    assert pair.figures == ()
    (pair,) = match.match_results(good, good)
    assert (pair.reason, pair.old_file, pair.new_file) == ("", "tflite-int8.tflite", "tflite-int8.tflite")
    (pair, _) = match.match_results(result(row(), float_row()), result(row("other"), float_row()), "tflite-int8,other")
    assert (pair.old_file, pair.new_file, pair.scheme) == (None, "other.tflite", "other")


def test_new_s_order_comes_first_and_names_select() -> None:
    old, new = result(row("a"), row("b"), row("c")), result(row("c"), row("b"))
    assert [p.scheme for p in match.match_results(old, new)] == ["c", "b", "a"]
    assert [p.scheme for p in match.match_results(old, new, " b , a ")] == ["b", "a"]
    assert [p.scheme for p in match.match_results(old, new, engines="litert")] == ["c", "b", "a"]
    with pytest.raises(InputError, match="openvino"):
        list(match.match_results(old, new, engines="openvino"))
    both = result(row("a"), row("b", "openvino"))
    with pytest.raises(InputError):
        list(match.match_results(both, both, "a", "openvino"))


def test_several_files_of_a_place_are_matched_by_name_and_else_by_path() -> None:
    def sizes(old: Benchmark, new: Benchmark) -> dict[str, tuple[int | None, int | None]]:
        return {
            p.name: next((f.old, f.new) for f in p.figures if f.name == "size_bytes") if p.figures else (None, None)
            for p in match.match_results(old, new)
        }

    old = result(row(file="a/x.tflite", size_bytes=1), row(file="a/y.tflite", size_bytes=2))
    new = result(row(file="b/y.tflite", size_bytes=20), row(file="b/x.tflite", size_bytes=10))
    assert sizes(old, new) == {
        "tflite-int8 on litert, y.tflite": (2, 20),
        "tflite-int8 on litert, x.tflite": (1, 10),
    }
    twins = result(row(file="a/x.tflite", size_bytes=1), row(file="b/x.tflite", size_bytes=2))
    assert sizes(twins, twins) == {
        "tflite-int8 on litert, a/x.tflite": (1, 1),
        "tflite-int8 on litert, b/x.tflite": (2, 2),
    }
    one = result(row(file="b/x.tflite", size_bytes=10))
    found = list(match.match_results(old, one))
    assert [(p.state, p.name) for p in found] == [
        ("both", "tflite-int8 on litert, x.tflite"),
        ("vanished", "tflite-int8 on litert, y.tflite"),
    ]


def test_two_model_files_need_an_engine_that_runs_both() -> None:
    paths = Path("a.tflite"), Path("b.onnx")
    run = result(row(file="a.tflite"), row("onnx-int8", "onnxruntime", file="b.onnx"))
    with pytest.raises(InputError, match=r"litert.*onnxruntime"):
        match.match_models(run, *paths)
    shared = result(*run.results, row(engine="openvino", file="a.tflite"), row("x", "openvino", file="b.onnx"))
    (pair,) = match.match_models(shared, *paths)
    assert (pair.scheme, pair.engine, pair.old_file, pair.new_file, pair.host) == (
        "x",
        "openvino",
        "a.tflite",
        "b.onnx",
        "",
    )
    damaged = result(failing(reason="it is cut", file="b.onnx", engine=""), row(file="a.tflite"))
    with pytest.raises(ModelFileError, match=r"^it is cut"):
        match.match_models(damaged, *paths)
    crashed = result(failing(file="b.onnx"), row(file="a.tflite"))
    assert [p.state for p in match.match_models(crashed, *paths)] == ["fails now"]


def test_a_file_is_not_compared_with_itself_or_with_a_result(tmp_path: Path) -> None:
    model, link = tmp_path / "a.tflite", tmp_path / "b.tflite"
    model.write_bytes(b"")
    link.symlink_to(model)
    for other in (model, link):
        with pytest.raises(InputError, match="same file"):
            compare_module.compare(model, other)
    for sides in ((model, tmp_path / "benchmark.json"), (tmp_path, model)):
        with pytest.raises(InputError, match="result"):
            compare_module.compare(*sides)


# Verdicts on rows that vanished or fail.


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


# What a reader sees.


@pytest.mark.parametrize(
    ("name", "change", "own", "of_change", "numbers", "unit"),
    [
        ("accuracy", Interval(1.234, 0.5, 2.0), None, True, [1.23, 0.5, 2.0], "pp"),
        ("accuracy", None, Interval(0.9, 0.85, 0.95), False, [90, 85, 95], "%"),
        ("agreement", Interval(1.0, 1.0, 1.0), None, True, [1], "pp"),
        ("agreement", None, Interval(0.5, 0.25, 0.75), False, [50, 25, 75], "%"),
        ("p50_us", Interval(1.5, 1.25, 1.75), None, True, [1.5, 1.25, 1.75], "x"),
        ("p50_us", None, Interval(1250.0, None, None), False, [1.25], "ms"),
        ("p99_us", None, Interval(999.0, 998.0, 1001.0), False, [999, 998, 1.001], "ms"),
        ("p99_us", None, Interval(999.0, 999.0, 999.0), False, [999], "s"),
        ("size_bytes", Interval(1.1, 1.1, 1.1), None, True, [10], "%"),
        ("size_bytes", None, Interval(2000, 2000, 2000), False, [2], "kB"),
        ("memory_bytes", Interval(0.5, 0.25, 1.5), None, True, [-50, -75, 50], "%"),
        ("memory_bytes", None, Interval(5, 4.4, 5.6), False, [5, 4, 6], "B"),
        ("size_bytes", None, None, True, [], ""),
    ],
)
def test_figures_in_words(name: str, change: Any, own: Any, of_change: bool, numbers: list[float], unit: str) -> None:
    shown = Figure(name=name, old=1.0, new=1.0, own=own, change=change).show(of_change=of_change)
    found = re.findall(r"-?\d+(?:\.\d+)?", shown.replace("\N{MINUS SIGN}", "-"))
    assert [float(text) for text in found] == pytest.approx(numbers)
    assert unit in shown
    assert ("[" in shown) == (len(numbers) == 3)


def mixed() -> Comparison:
    old = result(row(), row("a", size_bytes=100), row("b"), float_row())
    new = result(row(rounds=(60.0,) * 20), row("a", size_bytes=300), failing("b", "x" * 80), float_row())
    return compare_results(old, new, [parse_gate("size>10%"), parse_gate("drop>1")])


def test_failures_come_first_then_what_is_open() -> None:
    found = mixed()
    text = markdown(found)
    lines = [line for line in text.splitlines() if re.match(r"\| (❌|✅|❔)", line)]
    assert [line[2] for line in lines] == ["❌", "❌", "❔", "❔", "❔", "✅", "✅"]
    assert text.startswith("### ❌")
    counts = summary(found)
    assert "2 failed" in counts
    assert "2 passed" in counts
    assert "3 not established" in counts
    assert "strict" not in counts
    assert [line.split()[0] for line in github_annotations(found)] == ["::error"] * 2 + ["::warning"] * 3


def test_the_mark_of_a_comparison_is_that_of_its_worst_verdict() -> None:
    old, new = result(row()), result(row())
    assert markdown(judged(old, new, "size>1%")).startswith("### ✅")
    assert markdown(judged(old, new, "size>1%", "drop>1")).startswith("### ❔")
    assert "strict" in summary(judged(old, new, "size>1%", strict=True))
    assert markdown(judged(old, new)).count("|---") == 5, "no table of verdicts without a limit"


def test_a_table_shows_the_figures_that_are_there() -> None:
    text = markdown(mixed())
    assert "p99" in text
    assert "Accuracy" not in text.replace("accuracy", "")
    assert "fails now" in text
    assert re.search("(?<!x)x{57}\\.\\.\\.", text), "a long reason is cut"
    short = compare_results(result(row()), result(failing(reason="x" * 60)))
    assert "x" * 60 in markdown(short)


def test_methods_are_told_once_with_what_is_allowed_for() -> None:
    one = result(row(), row("a"), float_row())
    found = methods(compare_results(one, one))
    assert len(found) == len(set(found)) == 2, "median and p99; sizes are exact"
    assert all("3 %" in line for line in found)
    assert "50 %" in methods(compare_results(result(row()), result(row())))[0]


def test_a_document_holds_whether_a_gate_failed() -> None:
    document = mixed().to_dict()
    assert document["failed"] is True
    assert document["schema_version"] == 1
    assert (document["old"], document["new"], document["strict"]) == ("OLD", "NEW", False)
    assert judged(result(row()), result(row())).to_dict()["failed"] is False
