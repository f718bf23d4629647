"""Verdicts of a comparison: gates, what would settle them, which rows are paired, and what a reader sees."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from comparing import failing, judged, outcomes, right
from hypothesis import given
from hypothesis import strategies as st
from records import float_row, result, row

from edgepress.toolkit.comparison import compare as compare_module
from edgepress.toolkit.comparison import match
from edgepress.toolkit.comparison.compare import Comparison, compare_results
from edgepress.toolkit.comparison.figures import Figure, share_interval
from edgepress.toolkit.comparison.gates import FAILED, METRICS, OPEN, PASSED, Gate, parse_gate
from edgepress.toolkit.comparison.text import (
    github_annotations,
    markdown,
    methods,
    summary,
)
from edgepress.toolkit.errors import InputError, ModelFileError
from edgepress.toolkit.results.records import Benchmark
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


def test_two_models_are_two_files_whether_they_exist_or_not(tmp_path: Path) -> None:
    old, new = tmp_path / "old.tflite", tmp_path / "new.onnx"
    assert compare_module._are_models(old, new), "a missing file is refused by whoever opens it"
    old.touch()
    assert compare_module._are_models(old, new)
    assert compare_module._are_models(new, old)
    new.touch()
    assert compare_module._are_models(old, new)
    assert not compare_module._are_models(tmp_path, tmp_path / "benchmark.json")


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
