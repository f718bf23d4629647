"""A gate for CI fires at what is established and at nothing else, and says how it knows."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from comparing import base, figure_of, judged, outcomes, row
from hypothesis import given
from hypothesis import strategies as st
from records import result

from edgepress.toolkit.cli.main import main
from edgepress.toolkit.errors import InputError
from edgepress.toolkit.measurement.comparison.compare import compare_results
from edgepress.toolkit.measurement.comparison.figures import share_interval
from edgepress.toolkit.measurement.comparison.gates import FAILED, METRICS, OPEN, OPERATORS, PASSED, RATIOS, parse_gate
from edgepress.toolkit.measurement.comparison.text import compare_schema, github_annotations, markdown
from edgepress.toolkit.results.file import load_benchmark
from edgepress.toolkit.results.records import Benchmark, Measurement
from edgepress.toolkit.stats.intervals import Interval

V1 = Path(__file__).parents[1] / "support" / "benchmark_v1.json"


def right(count: int, wrong: Sequence[int]) -> Any:
    made = np.ones(count, bool)
    made[list(wrong)] = False
    return made


# The grammar.


@given(st.sampled_from(sorted(METRICS)), st.sampled_from(sorted(OPERATORS)), st.floats(1e-3, 0.9), st.data())
def test_every_metric_takes_its_units_and_scales_by_them(name: str, op: str, value: float, data: Any) -> None:
    metric = METRICS[name]
    unit = data.draw(st.sampled_from([*metric.units, *(RATIOS if metric.ratio else ())]))
    gate = parse_gate(f" {name} {op} {value!r} {unit} ")
    assert (gate.metric, gate.op) == (name, op)
    if metric.ratio and unit in RATIOS:
        assert gate.of_change
        assert math.isclose(gate.limit, value if unit == "x" else 1 + value / 100)
    else:
        assert gate.of_change == name.endswith(("drop", "rise"))
        assert math.isclose(gate.limit, value * metric.units[unit])
    assert parse_gate(gate.text.upper()) == parse_gate(gate.text.upper().lower()).__class__(
        gate.text.upper(), gate.metric, gate.op, gate.limit, gate.of_change
    ), "letters' case does not matter"


@given(st.text(max_size=20) | st.from_regex(r"[a-z0-9]{0,8}[<>=]{0,2}[-+.e0-9]{0,6}[a-z%]{0,3}", fullmatch=True))
def test_any_text_is_a_gate_or_one_error(text: str) -> None:
    try:
        gate = parse_gate(text)
    except InputError:
        return
    assert math.isfinite(gate.limit)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("latency", "--fail-if 'latency>1.1x'"),
        ("latancy>1.1x", "Did you mean 'latency'?"),
        ("speed>1", "Did you mean 'latency'?"),
        ("ram>1MB", "Did you mean 'memory'?"),
        ("latency>5", "Accepted for latency: us, µs, ms, s (NEW's own figure), x or %"),
        ("drop>0.5%", "Accepted for drop: none, pp."),
        ("accuracy<97", "Accepted: 0 to 1"),
        ("size>-200%", "the limit is -200%"),
        ("latency>0x", "the limit is 0x"),
        ("size>1e999MB", "the limit is 1e999MB"),
        ("drop=>1", "is not METRIC OP VALUE[UNIT]"),
    ],
)
def test_a_limit_that_makes_no_sense_says_what_does(text: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_gate(text)
    assert message in str(caught.value)


@given(st.floats(-2, 2), st.floats(0, 2), st.floats(0, 2), st.floats(-2, 2), st.sampled_from(sorted(OPERATORS)))
def test_an_outcome_is_only_what_the_whole_interval_says(
    estimate: float, below: float, above: float, limit: float, op: str
) -> None:
    gate = parse_gate(f"drop{op}{limit!r}")
    found = Interval(estimate, estimate - below, estimate + above)
    truths = {gate.holds(estimate - below), gate.holds(estimate + above)}  # what lies between is like one of them
    assert gate.outcome(found) == (OPEN if len(truths) == 2 else FAILED if truths == {True} else PASSED)
    assert gate.outcome(found, strict=True) == (FAILED if gate.holds(estimate) else PASSED)


# Accuracy.


def test_a_drop_is_paired_item_by_item_where_the_items_are_the_same() -> None:
    old, new = right(1000, range(20)), right(1000, range(60))
    found = judged(result(row(right=old)), result(row(right=new)), "drop>0.5", "drop>3.9", "drop>9")
    assert outcomes(found) == [FAILED, OPEN, PASSED]
    assert "1000" in figure_of(found, "accuracy").how
    unpaired = judged(result(row(right=old)), result(row(right=new), data="other"), "drop>0.5")
    wide, narrow = figure_of(unpaired, "accuracy").change, figure_of(found, "accuracy").change
    assert wide is not None
    assert narrow is not None
    assert wide.estimate == pytest.approx(narrow.estimate) == pytest.approx(4.0)
    assert wide.high - wide.low > narrow.high - narrow.low  # type: ignore[operator]
    assert figure_of(unpaired, "accuracy").how != figure_of(found, "accuracy").how
    (note,) = unpaired.notes
    assert note.count("1000") == 2


def test_a_small_drop_on_few_items_is_not_established_and_says_how_many_would_do() -> None:
    old, new = right(360, [0]), right(360, [0, 1, 2])
    sides = result(row(right=old), count=360), result(row(right=new), count=360)
    (verdict,) = judged(*sides, "drop>0.3").verdicts
    assert verdict.outcome == OPEN
    assert "test items" in verdict.fix
    assert "360" in verdict.fix
    assert outcomes(judged(*sides, "drop>0.3", strict=True)) == [FAILED]


def test_the_same_file_has_not_dropped_by_definition() -> None:
    sides = result(row(sha256="f", right=right(1000, [1]))), result(row(sha256="f", right=right(1000, [1])))
    found = judged(*sides, "drop>0.01")
    assert outcomes(found) == [PASSED]
    newer = result(row(sha256="f", right=right(1000, [1])), engines={"litert": "2.4.0"})
    assert outcomes(judged(sides[0], newer, "drop>0.01")) == [OPEN], "another engine may answer otherwise"


@given(st.integers(1, 300), st.data())
def test_a_share_lies_in_its_interval(count: int, data: Any) -> None:
    good = data.draw(st.integers(0, count))
    found = share_interval(good, count)
    assert 0 <= found.low <= good / count <= found.high <= 1  # type: ignore[operator]
    mirrored = share_interval(count - good, count)
    assert found.low == pytest.approx(1 - mirrored.high)  # type: ignore[operator]


# Latency.


def test_sizes_are_exact_and_limits_may_be_absolute() -> None:
    old, new = result(row(size_bytes=1000)), result(row(size_bytes=1051))
    gates = ("size>5%", "size>5.1%", "size>=5.1%", "size>1kB", "size>1.1kB", "size<2x")
    assert outcomes(judged(old, new, *gates)) == [FAILED, PASSED, FAILED, FAILED, PASSED, FAILED]


def test_a_file_that_vanished_or_fails_now_fails_every_gate() -> None:
    bad = Measurement(
        file="x", scheme="tflite-int8", engine="litert", threads=1, size_bytes=9, status="failed: it crashed"
    )
    vanished = compare_results(result(row(), base()), result(base()), [parse_gate("size>5%"), parse_gate("latency>9x")])
    found_there = [(v.gate, v.outcome) for v in vanished.verdicts if v.pair == "tflite-int8 on litert"]
    assert found_there == [("all", FAILED)]
    found = judged(result(row()), result(bad), "accuracy<1%")
    assert (found.pairs[0].state, found.failed) == ("fails now", True)
    assert found.verdicts[0].text.endswith("it crashed")
    both = judged(result(bad), result(bad), "size>5%")
    assert (both.pairs[0].state, outcomes(both)) == ("fails in both", [OPEN])
    assert outcomes(judged(result(bad), result(bad), "size>5%", strict=True)) == [FAILED]
    gone = compare_results(result(bad, base()), result(base()), [parse_gate("size>5%")], schemes="tflite-int8")
    assert (gone.pairs[0].state, outcomes(gone)) == ("vanished", [OPEN]), "what failed before is no loss"
    works = judged(result(bad), result(row()), "drop>1", "size<1kB")
    assert works.verdicts[0].text.startswith("drop ")


def test_a_new_file_has_no_change_but_limits_of_its_own() -> None:
    found = judged(result(base()), result(base(), row(size_bytes=5000)), "size>5%", "drop>1", "size>4kB")
    assert [(v.gate, v.outcome) for v in found.verdicts] == [("size>4kB", FAILED)]
    assert found.pairs[0].state == "appeared"


def test_rows_are_matched_by_threads_and_host_whatever_the_runner_is_called() -> None:
    old = result(row(), row(threads=4, size_bytes=10), name="runner-1")
    new = result(row(threads=4, size_bytes=20), row(host="runner-2"), name="runner-2")
    found = judged(old, new, "size>5%")
    assert {v.pair: v.outcome for v in found.verdicts} == {
        "tflite-int8 on litert, 4 threads": FAILED,
        "tflite-int8 on litert": PASSED,
    }


def test_files_of_the_same_scheme_are_told_apart_by_name() -> None:
    old = result(row(file="a/x.tflite"), row(file="a/y.tflite", size_bytes=9))
    new = result(row(file="b/y.tflite", size_bytes=9), row(file="b/x.tflite"))
    assert outcomes(judged(old, new, "size>0%")) == [PASSED, PASSED]
    old = result(row(file="a/x.tflite"), row(file="b/x.tflite", size_bytes=9))
    assert outcomes(judged(old, old, "size>0%")) == [PASSED, PASSED], "by their paths, if their names are the same"


def test_a_scheme_that_neither_holds_is_an_error() -> None:
    with pytest.raises(InputError, match=r"'tflite-int4'.*tflite-int8"):
        judged(result(row()), result(row()), schemes="tflite-int4")


def test_old_results_compare_but_little_of_them_is_established() -> None:
    run = load_benchmark(V1)
    gates = [parse_gate(text) for text in ("size>1%", "latency>1.1x", "drop>0.5", "drop>5")]
    found = compare_results(run, run, gates, schemes="tflite-int8")
    assert outcomes(found) == [PASSED, OPEN, OPEN, PASSED]


# What a user sees.


@pytest.fixture
def saved(tmp_path: Path) -> Callable[[str, Benchmark], str]:
    def save(name: str, benchmark: Benchmark) -> str:
        folder = tmp_path / name
        folder.mkdir()
        (folder / "benchmark.json").write_text(json.dumps(benchmark.to_dict()), encoding="utf-8")
        return str(folder)

    return save


def edgepress(*arguments: str) -> int:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    return int(caught.value.code or 0)


@pytest.mark.parametrize(
    ("options", "code"), [((), 5), (("--unproven", "fail"), 5), (("--unproven", "pass"), 0), (("--strict",), 3)]
)
def test_what_is_unproven_has_an_exit_code_of_its_own(
    options: tuple[str, ...], code: int, saved: Callable[[str, Benchmark], str], capsys: pytest.CaptureFixture[str]
) -> None:
    """A loss of 2 pp of 300 items may be chance; the number of items that would decide is said."""
    before, after = right(300, range(10)), right(300, range(3, 19))
    old, new = (saved(name, result(row(right=items), count=300)) for name, items in (("old", before), ("new", after)))
    assert edgepress("compare", old, new, "--fail-if", "drop>0.5", *options) == code
    shown = " ".join(capsys.readouterr().out.split())
    if code != 3:
        assert "1 unproven." in shown
        assert re.search(r"About [\d,]+ test items \(there are 300\) would settle it", shown)
    assert edgepress("compare", old, new, "--fail-if", "drop>0.5", "--fail-if", "size<1GB") == 3, "one failed"


def test_the_exit_code_is_3_only_if_a_gate_fails(
    saved: Callable[[str, Benchmark], str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    old, new = saved("old", result(base(), row())), saved("new", result(base(), row(size_bytes=2000)))
    assert edgepress("compare", old, new, "--json") == 0
    assert json.loads(capsys.readouterr().out)["verdicts"] == []
    assert edgepress("compare", old, new, "--fail-if", "size>5%", "--fail-if", "drop>1", "--json") == 3
    shown = capsys.readouterr()
    document = json.loads(shown.out)
    pytest.importorskip("jsonschema").validate(document, compare_schema())
    assert document["failed"]
    assert document["verdicts"][2] | {"fix": ""} == {
        "gate": "size>5%",
        "pair": "tflite-int8 on litert",
        "outcome": "failed",
        "estimate": 2.0,
        "low": 2.0,
        "high": 2.0,
        "text": "size +100.00 %",
        "fix": "",
    }
    errors = [line for line in shown.err.splitlines() if line.startswith("::error") and "unproven" not in line]
    assert errors == ["::error title=edgepress size>5%25 failed::tflite-int8 on litert: size +100.00 %25"]
    assert edgepress("compare", old, new, "--fail-if", "drop>1", "--strict") == 3, "accuracy was not measured"
    assert edgepress("compare", old, new, "--fail-if", "size>") == 1
    assert "METRIC OP VALUE[UNIT]" in capsys.readouterr().err


def test_markdown_shows_hostile_names_as_text(
    saved: Callable[[str, Benchmark], str], capsys: pytest.CaptureFixture[str]
) -> None:
    name = "a|b\n<script>@everyone [x](y) `\x1b[31m"
    old, new = saved("old", result(row(name))), saved("new", result(row(name)))
    assert edgepress("compare", old, new, "--fail-if", "size>1%", "--format", "md") == 0
    text = capsys.readouterr().out
    assert "### ✅ edgepress compare: 1 passed." in text
    assert r"| ✅ passed | size&gt;1% | a\|b\\n&lt;script&gt;@&#8203;everyone \[x\](y) \`\\x1b\[31m on litert |" in text
    table = [line for line in text.splitlines() if line.startswith("|")]
    assert {line.replace("\\|", "").count("|") for line in table[:3]} == {5}
    assert "\x1b" not in text


def test_an_annotation_is_one_line_whatever_a_name_holds() -> None:
    old = result(row("a\n::error::x"), row("b,c:d"))
    found = compare_results(old, result(base()), [parse_gate("size>1%")])
    lines = list(github_annotations(found))
    assert len(lines) == 2
    assert all(line.startswith("::error title=edgepress all failed::") and "\n" not in line for line in lines)
    assert "failed" in markdown(found)
