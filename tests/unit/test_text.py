"""Figures as people read them."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from records import float_row, result, row
from rich.console import Console

from edgepress.toolkit import text
from edgepress.toolkit.cli.benchmark import show_benchmark
from edgepress.toolkit.cli.tables import benchmark_table
from edgepress.toolkit.reports import markdown, page
from edgepress.toolkit.reports.notebooks.views import benchmark_html
from edgepress.toolkit.results.records import DROP, NOT_COMPARABLE, UNPROVEN, USABLE


@pytest.mark.parametrize(
    ("form", "value", "shown"),
    [
        *((form, None, "") for form in (text.number, text.percent, text.times, text.size, text.duration)),
        (text.duration, 0.25, "0.25 µs"),
        (text.duration, 19.64, "19.6 µs"),
        (text.duration, 412.3, "412 µs"),
        (text.duration, 999.6, "1.00 ms"),
        (text.duration, 5547, "5.55 ms"),
        (text.duration, 108_007, "108 ms"),
        (text.duration, 999.5, "1.00 ms"),
        (text.duration, 999_500, "1.00 s"),
        (text.duration, 1.2e6, "1.20 s"),
        (text.duration, 4.2e9, "4200 s"),
        (text.size, 0, "0 B"),
        (text.size, 999, "999 B"),
        (text.size, 1000, "1 kB"),
        (text.size, 1234, "1.23 kB"),
        (text.size, 18_300, "18.3 kB"),
        (text.size, 999_700, "1 MB"),
        (text.size, 2_500_000, "2.5 MB"),
        (text.size, 999_499_000, "999 MB"),
        (text.size, 999_500_000, "1 GB"),
        (text.size, 999_500, "1 MB"),
        (text.size, 4_104_000_000, "4.1 GB"),
        (text.size, 999_600_000_000, "1000 GB"),
        (text.duration, 999.7e6, "1000 s"),
        (text.count, None, "?"),
        (text.count, 0, ""),
        (text.count, 7, "7"),
        (text.count, 250, "250"),
        (text.count, 999_499, "999 k"),
        (text.count, 999_500, "1 M"),
        (text.count, 999_500_000, "1 G"),
        (text.count, 2_000_000, "2 M"),
        (text.count, 61_706, "61.7 k"),
        (text.number, 1.25, "1.2"),
        (text.percent, 0.98888, "98.89 %"),
        (text.times, 2.314, "2.31×"),
        (text.with_sign, -0.001, "0.00"),
        (text.with_sign, -0.25, "−0.25"),
    ],
)
def test_a_figure_has_the_digits_and_the_unit_that_fit(form: Callable[[Any], str], value: Any, shown: str) -> None:
    assert form(value) == shown


UNITS = {
    text.size: {"B": 1.0, "kB": 1e3, "MB": 1e6, "GB": 1e9},
    text.count: {"": 1.0, "k": 1e3, "M": 1e6, "G": 1e9},
    text.duration: {"µs": 1.0, "ms": 1e3, "s": 1e6},
}


@given(
    st.sampled_from(list(UNITS)),
    st.integers(1, 10**12)
    | st.integers(2, 12).map(lambda n: 10**n - 10**n // 2000)
    | st.integers(2, 12).map(lambda n: 10**n),
)
def test_a_figure_is_right_in_three_digits_and_below_a_thousand_of_its_unit(form: Callable[[Any], str], n: int) -> None:
    shown, _, unit = form(n).partition(" ")
    assert float(shown) * UNITS[form][unit] == pytest.approx(n, rel=0.005)
    assert "e" not in shown
    largest = list(UNITS[form])[-1]
    assert 1 <= float(shown) < (1000 if unit != largest else 10**9)


def test_an_interval_is_shown_only_if_there_is_one() -> None:
    assert text.interval(-0.001, None, None) == "0.00"
    assert text.interval(-0.25, -0.5, 0.001) == "−0.25 [−0.50, 0.00]"
    assert text.interval(0.0, 0.0, 0.0) == "0.00"
    assert text.interval(None, 1.0, 2.0) == ""
    assert text.interval(None, 1.0, 2.0, " pp") == ""
    assert text.interval(0.5, 0.25, None, " pp") == text.interval(0.5, None, 0.75, " pp") == "0.50 pp"


@pytest.mark.parametrize(
    ("whole", "first"),
    [
        ("It fits. It is small. It is fast.", "It fits."),
        ("  It takes 0.5 mm, i.e. little.\nThen more.", "It takes 0.5 mm, i.e. little."),
        ("Does it fit? Yes! No.", "Does it fit?"),
        ("no end", "no end"),
        ("", ""),
    ],
)
def test_the_first_sentence_ends_before_a_capital(whole: str, first: str) -> None:
    assert text.first_sentence(whole) == first


def test_a_rate_a_longer_duration_and_a_plural() -> None:
    assert text.rate(51e9, "MAC") == "51.0 GMAC/s"
    assert text.rate(2_345_000, "MAC") == "2.35 MMAC/s"
    assert text.rate(12, "MAC") == "12.0 MAC/s"
    assert text.duration(5002, 4) == "5.002 ms"
    assert [text.plural(n, "thread") for n in (1, 2)] == ["1 thread", "2 threads"]


@pytest.mark.parametrize(
    ("status", "probability", "shown"),
    [
        (USABLE, 0.9999, "proven"),
        (USABLE, None, "usable"),
        (UNPROVEN, 0.9939, "99 % sure"),
        (UNPROVEN, 0.42, "42 % sure"),
        (UNPROVEN, None, "unproven"),
        (DROP, 0.01, "accuracy drop"),
        ("failed: it does not open", None, "failed"),
        (f"{NOT_COMPARABLE}: throttled; usable", 0.99, NOT_COMPARABLE),
    ],
)
def test_a_status_within_the_limit_is_shown_with_how_sure_it_is(
    status: str, probability: float | None, shown: str
) -> None:
    assert text.status_words(status, probability) == shown


def test_no_table_calls_a_file_unproven_that_the_recommendation_is_sure_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    sure = row(accuracy=0.95, drop_pp=0.0, drop_low_pp=-1.1, drop_high_pp=1.1, probability=0.99, status=UNPROVEN)
    doubtful = replace(sure, file="other.tflite", probability=0.6)
    found = result(float_row(status=USABLE, probability=1.0), sure, doubtful)
    found = replace(found, advice=replace(found.advice, confidence=0.9))
    screen = Console(width=120, file=io.StringIO())
    screen.print(benchmark_table(found))
    for shown in (screen.file.getvalue(), markdown.table(found), benchmark_html(found.to_dict())):  # type: ignore[attr-defined]
        shown = shown.replace("\N{NO-BREAK SPACE}", " ")
        assert "proven" in shown
        assert "99 % sure" in shown
        assert "60 % sure" in shown
        assert UNPROVEN not in shown
    assert [r["tone"] for r in page._rows(found)] == ["good", "good", "fair"]


@pytest.mark.parametrize(("columns", "shown"), [("80", False), ("120", True)])
def test_only_columns_that_are_shown_are_explained(
    columns: str, shown: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    show_benchmark(result(float_row(status=USABLE, accuracy=0.95, drop_pp=0.0, probability=1.0, speedup=1.0)))
    lines = capsys.readouterr().out.splitlines()
    assert [line.startswith("Speed-up:") for line in lines].count(True) == shown
    assert [line.startswith(("Drop:", "Status:")) for line in lines].count(True) == 2


@pytest.mark.parametrize(
    ("count", "shown"),
    [(0, "0"), (7, "7"), (99, "99"), (101, "110"), (1751, "1,800"), (12_000, "12,000"), (999, "1,000")],
)
def test_an_estimate_is_rounded_up_to_two_digits(count: int, shown: str) -> None:
    assert text.estimate(count) == shown


@dataclass(frozen=True)
class Result:
    name: str
    rows: tuple[int, ...]
    array: object
    note: str | None = None
    empty: tuple[int, ...] = ()

    __repr__ = text.short_repr


def test_a_result_shows_its_fields_shortened_and_leaves_out_empty_ones() -> None:
    shown = repr(Result("a", tuple(range(1000)), list(range(100_000))))
    assert shown == "Result(name='a', rows=(0, 1, 2, 3, ...), array=[0, 1, 2, 3, ...])"
    assert len(repr(Result("a" * 9999, (), "b" * 9999, "c" * 9999))) < 300
