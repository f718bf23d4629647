"""Results as tables for the screen. The same figures, all of them, are in the JSON documents."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from edgepress.converters import Variant
from edgepress.toolkit.console import is_wide, number, size, table
from edgepress.toolkit.measurement import DROP, USABLE, Benchmark, Measurement
from edgepress.toolkit.predict import ImageResult

STYLES = {USABLE: "green", DROP: "red"}


def variants_table(variants: Sequence[Variant]) -> Table:
    """What was converted, one scheme a row."""
    rows = [
        (
            v.scheme,
            v.path.name if v.path else "",
            size(v.size_bytes),
            f"{v.seconds:.1f} s",
            Text(v.status, style="green") if v.path else Text(f"failed: {v.error} {v.hint}".strip(), style="red"),
        )
        for v in variants
    ]
    columns = [("Scheme", "left"), ("File", "left"), ("Size", "right"), ("Took", "right"), ("Status", "left")]
    return table("", columns, rows)


def benchmark_table(result: Benchmark) -> Table:
    """One file on one engine a row; where the screen is narrow, only the figures that decide."""
    wide = is_wide()
    columns = [("File", "left"), ("Engine", "left"), ("Size", "right")]
    columns += [("Ratio", "right")] if wide else []
    columns += [("Acc. %", "right"), ("Drop pp [95 %]", "right"), ("Agree %", "right")]
    columns += [("F1 %", "right"), ("Load ms", "right")] if wide else []
    columns += [("p50 us", "right")]
    columns += [("p90 us", "right"), ("p99 us", "right")] if wide else [("p99", "right")]
    columns += [("Speed-up [95 %]" if wide else "Speed", "right"), ("Status", "left")]
    names = _names(result.results)
    rows: list[list[str | Text]] = []
    for r, name in zip(result.results, names, strict=True):
        row: list[str | Text] = [name, r.engine, size(r.size_bytes)]
        row += [number(r.size_ratio, ".2f")] if wide else []
        row += [_percent(r.accuracy), _interval(r.drop_pp, r.drop_low_pp, r.drop_high_pp), _percent(r.agreement)]
        row += [_percent(r.macro_f1), number(r.load_ms, ".2f")] if wide else []
        row += [_us(r.p50_us)]
        row += [_us(r.p90_us), _us(r.p99_us)] if wide else [_us(r.p99_us)]
        row += [_interval(r.speedup, r.speedup_low, r.speedup_high) if wide else number(r.speedup, ".2f")]
        row += [Text(r.status, style=STYLES.get(r.status, "red" if r.failed else "yellow"))]
        rows.append(row)
    return table("", columns, rows)


def evaluation_table(result: Mapping[str, Any]) -> Table:
    """Precision, recall and F1 of each class and over all, and which class it is mistaken for most."""
    labels = [row["label"] for row in result["per_class"]]
    rows: list[list[str | Text]] = []
    for i, row in enumerate(result["per_class"]):
        mistaken = sorted(((n, j) for j, n in enumerate(result["confusion_matrix"][i]) if n and j != i), reverse=True)
        most = f"{labels[mistaken[0][1]]} ({mistaken[0][0]})" if mistaken else ""
        figures = [_percent(row[k]) for k in ("precision", "recall", "f1")]
        rows.append([row["label"], *figures, str(row["support"]), most])
    macro = [_percent(result[f"macro_{k}"]) for k in ("precision", "recall", "f1")]
    rows.append([Text("macro average", style="bold"), *macro, str(result["count"]), ""])
    columns = [("Class", "left"), ("Precision %", "right"), ("Recall %", "right"), ("F1 %", "right")]
    return table("", [*columns, ("Items", "right"), ("Most mistaken for", "left")], rows)


def confusion_table(result: Mapping[str, Any]) -> Table:
    """The confusion matrix: true class down, predicted class across."""
    labels = [row["label"] for row in result["per_class"]]
    rows = [
        [label, *(str(n) if n else "." for n in counts)]
        for label, counts in zip(labels, result["confusion_matrix"], strict=True)
    ]
    return table("", [("True \\ predicted", "left"), *((label, "right") for label in labels)], rows)


def predictions_table(results: Sequence[ImageResult]) -> Table:
    """The classes of each image with their scores, or why there are none."""
    rows: list[list[str | Text]] = []
    for r in results:
        if r.error:
            rows.append([r.image, Text(r.error, style="red"), ""])
        for n, p in enumerate(r.classes):
            rows.append([r.image if n == 0 else "", p.label, f"{p.score:.4f}"])
    return table("", [("Image", "left"), ("Class", "left"), ("Score", "right")], rows)


def _names(results: Sequence[Measurement]) -> list[str]:
    """A file's scheme where it is the only file of this scheme, else its name."""
    files = Counter(scheme for _, scheme in {(r.file, r.scheme) for r in results})
    return [r.scheme if r.scheme and files[r.scheme] == 1 else Path(r.file).name for r in results]


def _percent(share: float | None) -> str:
    return number(None if share is None else 100 * share, ".2f")


def _us(value: float | None) -> str:
    return number(value, ".1f" if value is not None and value < 100 else ".0f")


def _interval(value: float | None, low: float | None, high: float | None) -> str:
    if value is None:
        return ""
    if low is None or high is None:
        return f"{value:.2f}"
    return f"{value:.2f} [{low:.2f}, {high:.2f}]" if low != high else f"{value:.2f}"
