"""The columns of tables: the heading, the meaning and the form of each figure of a file, everywhere it is shown.

The screen, the reports and the notebooks take them from here, so that a figure has one name and one look. Rows are
records or the JSON documents of these; a figure that was not measured is an empty text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ParamSpec

from edgepress.toolkit import text

_P = ParamSpec("_P")


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        title: Its heading.
        meaning: A short description of the figure.
        fields: Names of the values of a row that it shows; rows are sorted by the first one.
        form: Writes these values.
        width: Width of a screen from which it is shown there; None: never.
        brief: Writes them on the screen, which has less room; None: as `form`.
        numeric: Whether it is a figure.
        rest: Whether the page hides it until all columns are asked for, so that the others fit into a window.
    """

    title: str
    meaning: str
    fields: tuple[str, ...]
    form: Callable[..., str]
    width: int | None = None
    brief: Callable[..., str] | None = None
    numeric: bool = True
    rest: bool = False

    def value(self, row: Any) -> float | str | None:
        """The value to sort by; None if it was not measured."""
        value: float | str | None = _value(row, self.fields[0])
        return value

    def text(self, row: Any) -> str:
        """The figure as shown."""
        return self.form(*(_value(row, name) for name in self.fields))

    def brief_text(self, row: Any) -> str:
        """The figure as the screen shows it."""
        return (self.brief or self.form)(*(_value(row, name) for name in self.fields))


def _value(row: Any, name: str) -> Any:
    return row.get(name) if isinstance(row, Mapping) else getattr(row, name, None)


def filled_columns(columns: Iterable[Column], rows: Iterable[Any]) -> list[Column]:
    """The columns that have a figure in a row."""
    rows = list(rows)
    return [column for column in columns if any(column.text(row) for row in rows)]


def varying(rows: Iterable[Any]) -> list[Column]:
    """The columns of `SETTING` in which rows differ."""
    rows = list(rows)
    return [column for column in SETTING if len({column.value(row) or 1 for row in rows}) > 1]


def _unbroken(form: Callable[_P, str]) -> Callable[_P, str]:
    """The same text with no-break spaces, so that a figure keeps its unit on its line."""
    return lambda *args, **options: form(*args, **options).replace(" ", "\N{NO-BREAK SPACE}")


percent = _unbroken(text.percent)
duration = _unbroken(text.duration)
rate = _unbroken(text.rate)
size = _unbroken(text.size)
times = text.times


def number(value: float | None) -> str:
    """A number of three digits."""
    return text.number(value, ".3g")


def sqnr(max_error: float | None, sqnr_db: float | None) -> str:
    """The ratio of the outputs to their error, of a file without labels."""
    return "exact" if max_error == 0 else "" if sqnr_db is None else f"{sqnr_db:.1f}\N{NO-BREAK SPACE}dB"


def with_spread(mean: float, deviation: float | None = None) -> str:
    """A mean share, with its standard deviation if that is known."""
    return percent(mean) + ("" if deviation is None else f" (SD {100 * deviation:.2f})")


def _at_most(value: float | None, low: float | None, high: float | None) -> str:
    return "" if value is None or high is None else f"{value:.2f} ≤{high:.2f}"


def _with_half(value: float | None, low: float | None, high: float | None) -> str:
    if value is None or low is None or high is None or low == high:
        return text.number(value, ".2f")
    return f"{value:.2f} ±{(high - low) / 2:.2f}"


def _round_percent(share: float | None) -> str:
    return percent(share, ".1f")


def _milliseconds(value: float | None) -> str:
    return duration(None if value is None else 1000 * value)


def share(value: float | None, low: float | None, high: float | None) -> str:
    """A share with its interval, percent."""
    estimate, lower, upper = (None if each is None else 100 * each for each in (value, low, high))
    return text.interval(estimate, lower, upper)


def _percent_of_classes(accuracy: float | None, exact_match: float | None) -> str:
    return percent(accuracy) if exact_match is None else ""


def _share_at_most(value: float | None, low: float | None, high: float | None) -> str:
    return "" if value is None or high is None else f"{100 * value:.1f} ≤{100 * high:.1f}"


def _share_with_interval(value: float | None, low: float | None, high: float | None) -> str:
    return "" if low is None or high is None else share(value, low, high)


def _share_with_half(value: float | None, low: float | None, high: float | None) -> str:
    return "" if value is None or low is None or high is None else f"{100 * value:.1f} ±{50 * (high - low):.1f}"


def _share_alone(value: float | None, low: float | None, high: float | None) -> str:
    return text.number(None if value is None else 100 * value)


DROP = ("drop_pp", "drop_low_pp", "drop_high_pp")
EXACT_MATCH = ("exact_match", "exact_match_low", "exact_match_high")
MEAN_F1 = ("macro_f1", "macro_f1_low", "macro_f1_high")
MEAN_PRECISION = ("mean_average_precision", "mean_average_precision_low", "mean_average_precision_high")
SPEEDUP = ("speedup", "speedup_low", "speedup_high")
ACCEPTED = ("accepted_share", "accepted_share_low", "accepted_share_high")
ACCEPTED_ERROR = ("accepted_error", "accepted_error_low", "accepted_error_high")
SETTING = (
    Column("Threads", "threads the engine may use", ("threads",), str, 0),
    Column("Batch", "items in one timed call", ("batch",), str, 0),
)
"""Columns that appear only if files differ in them."""
SIZE = Column("Size", "size of the file", ("size_bytes",), size, 0)
STATUS = Column(
    "Status",
    "how sure it is that the drop is within the limit; proven: its whole interval is",
    ("status", "probability"),
    text.status_words,
    numeric=False,
)
LABELS = (
    Column(
        "Exact match, %",
        "share of the test items whose labels are all answered and no others, with 95 % interval",
        EXACT_MATCH,
        share,
        0,
        _share_with_half,
    ),
    Column(
        "Mean F1, %", "mean over the labels, with 95 % interval", MEAN_F1, _share_with_interval, 0, _share_with_half
    ),
    Column(
        "mAP, %",
        "mean over the labels of the average precision, with 95 % interval",
        MEAN_PRECISION,
        share,
        0,
        _share_with_half,
    ),
)
"""The figures of answers to multi-label data, in the place of the accuracy."""


def quality(row: Any, accuracy: Callable[[float], str] = lambda share: f"accuracy {100 * share:.2f} %") -> str:
    """How good answers are, in words: the accuracy, or of multi-label data the figures of `LABELS` with intervals.

    Args:
        row: A record or a document of metrics.
        accuracy: Writes the accuracy.
    """
    if _value(row, "exact_match") is None:
        return accuracy(_value(row, "accuracy"))
    names = ("exact match", "mean F1", "mAP")
    return ", ".join(f"{name} {column.text(row)} %" for name, column in zip(names, LABELS, strict=True))


SHORT = (
    SIZE,
    Column(
        "Accuracy", "share of the test items classified correctly", ("accuracy", "exact_match"), _percent_of_classes, 0
    ),
    *LABELS,
    Column("Drop, pp", "baseline's accuracy minus this file's, with 95 % interval", DROP, text.interval, 0, _at_most),
    Column(
        "Accepted, %",
        "of a calibrated file: share of the test items whose answers are accepted, with 95 % interval",
        ACCEPTED,
        share,
        90,
        _share_alone,
        rest=True,
    ),
    Column(
        "Wrong of these, %",
        "share of wrong answers among the accepted ones, with 95 % interval",
        ACCEPTED_ERROR,
        share,
        90,
        _share_at_most,
        rest=True,
    ),
    Column("SQNR", "baseline's outputs / the error of this file's, as powers", ("max_error", "sqnr_db"), sqnr, 0),
    Column("Max. error", "largest difference of an output from the baseline's", ("max_error",), number, 0),
    Column("Mean error", "mean difference of the outputs from the baseline's", ("mean_error",), number, 100),
    Column("Latency", "median latency of a call (p50)", ("p50_us",), duration, 0),
    Column("Speed-up", "baseline's latency / this file's, with 95 % interval", SPEEDUP, text.interval, 90, _with_half),
    Column("Memory", "peak memory beyond that of an empty process with the engine", ("memory_bytes",), size, 130),
)
"""The figures of a measured file that are shown everywhere, the most important first."""
FILES = (
    *SHORT,
    Column("p90", "90 % of the calls are faster", ("p90_us",), duration, 110),
    Column("p99", "99 % of the calls are faster", ("p99_us",), duration, 100),
    Column("Agrees", "share of the items with the baseline's class", ("agreement",), percent, 120, rest=True),
    Column("First", "latency of the first inference after opening", ("first_us",), duration, rest=True),
    Column("Load", "time to open the file", ("load_ms",), _milliseconds, 140, rest=True),
    Column("Ratio", "size of the file / the baseline's", ("size_ratio",), text.times, 140, rest=True),
    Column("Deflated", "compressed size of the file", ("compressed_bytes",), size, rest=True),
    Column("F1", "macro average over the classes", ("macro_f1", "exact_match"), _percent_of_classes, 160, rest=True),
    Column("ECE", "expected calibration error, 15 bins", ("ece",), _round_percent, rest=True),
    Column("Of limit", "MACs per second / what this CPU reaches", ("compute_share",), _round_percent, 170, rest=True),
)
"""All figures, as a page or a wide screen has room for."""
LATENCY = Column("Latency", "median latency of a call", ("latency_us",), duration)
TRIALS = (
    SIZE,
    Column("Drop, pp", "the float file's accuracy minus this file's, validation items", DROP, text.interval),
    LATENCY,
    Column("Memory", "peak resident memory beyond that of the engine", ("memory_bytes",), size),
)
"""The figures of a file that `compress` tried."""
FOOTPRINT = (
    Column("RAM", "arena and stack of the exported C", ("ram_bytes",), size),
    Column("Flash", "constants and code of the exported C", ("flash_bytes",), size),
)
"""More of them, where these are limited."""
VALIDATION = Column("Validation", "accuracy on validation items", ("val_accuracy", "val_accuracy_std"), with_spread)
TEST = Column("Test", "accuracy on test items", ("accuracy", "accuracy_std"), with_spread)
CONFIGURATIONS = (VALIDATION, TEST, SIZE, LATENCY)
"""The figures of a configuration of a sweep."""
