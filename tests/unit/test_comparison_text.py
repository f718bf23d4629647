"""What a reader sees of a comparison: figures in words, order, tables, documents."""

from __future__ import annotations

import re
from typing import Any

import pytest
from comparing import failing, judged
from records import float_row, result, row

from edgepress.toolkit.measurement.comparison.compare import compare_results
from edgepress.toolkit.measurement.comparison.figures import Figure
from edgepress.toolkit.measurement.comparison.gates import parse_gate
from edgepress.toolkit.measurement.comparison.judging import Comparison
from edgepress.toolkit.measurement.comparison.text import github_annotations, markdown, methods, summary
from edgepress.toolkit.stats.intervals import Interval


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
    assert "3 unproven" in counts
    assert "strict" not in counts
    passing = github_annotations(found, unproven_fails=False)
    assert [line.split()[0] for line in passing] == ["::error"] * 2 + ["::warning"] * 3
    assert [line.split()[0] for line in github_annotations(found)] == ["::error"] * 5


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
    assert re.search("(?<!x)x{42}\\.\\.\\.x{15}(?!x)", text), "a long reason is cut"
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


def test_methods_are_those_of_figures_that_the_table_has() -> None:
    found = judged(result(row()), result(row(rounds=(60.0,) * 20)))
    assert any(line.startswith("p99: ") for line in methods(found))
    assert not any(line.startswith("p99: ") for line in methods(found, ("p99_us", "memory_bytes")))
    assert [line for line in methods(found, ("p99_us",)) if line.startswith("Latency (p50): ")]
