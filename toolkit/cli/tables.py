"""Format results as tables for the screen; only the JSON documents contain all figures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from edgepress.converters.rewrites.table import REWRITES
from edgepress.converters.variant import Variant
from edgepress.runtime.contract import Verification
from edgepress.toolkit.cli.screen import WIDE, table, width
from edgepress.toolkit.prediction import ImageResult
from edgepress.toolkit.reports.view import row_names
from edgepress.toolkit.results.records import DROP, LARGE_ERROR, USABLE, Benchmark, Measurement
from edgepress.toolkit.text import number, size

VARYING, VARYING_WIDTH = ("host", "threads", "batch"), 8
"""Columns shown only if rows differ in them, and the width of each."""
STYLES = {USABLE: "green", DROP: "red", LARGE_ERROR: "red"}
_CLASSES, _ERRORS = ("Acc. %", "F1 %", "Drop pp", "Agree %"), ("SQNR dB", "Max error", "Mean error")
"""Columns of files with labels alone, and of files without labels alone."""


def variants_table(variants: Sequence[Variant]) -> Table:
    """The converted files, one scheme per row, with how closely each agrees with the source model."""
    timed = width() >= WIDE
    rows: list[list[str | Text]] = [
        [
            v.scheme,
            v.path.name if v.path else "",
            size(v.size_bytes),
            *([f"{v.seconds:.1f} s"] if timed else []),
            *(("", "") if v.verification is None else _agreement_and_noise(v.verification)),
            Text(v.status, style="green") if v.path else Text(f"failed: {v.error} {v.hint}".strip(), style="red"),
        ]
        for v in variants
    ]
    columns = [("Scheme", "left"), ("File", "left"), ("Size", "right"), *([("Took", "right")] if timed else [])]
    columns += [("Agrees %", "right"), ("SQNR dB", "right"), ("Status", "left")]
    return table(columns, rows)


def rewrites_table(variants: Sequence[Variant]) -> Table | None:
    """The rewrites that were made, each with its schemes and the number of places in each; None if there are none."""
    rows = []
    for rewrite in REWRITES:
        made = {v.scheme: v.rewrites[rewrite.name] for v in variants if rewrite.name in v.rewrites}
        if made:
            where = ", ".join(f"{scheme} ({count})" for scheme, count in made.items())
            rows.append((rewrite.name, rewrite.summary, where))
    return table([("Rewrite", "left"), ("What it does", "left"), ("Files (places)", "left")], rows) if rows else None


def repairs_table(variants: Sequence[Variant]) -> Table | None:
    """What was changed to keep accuracy, with its files and what it brought there; None if nothing was."""
    shown = {name: of for name, of in _REPAIR_FIGURES.items() if width() >= WIDE or name != "Accuracy %"}
    rows: dict[tuple[str, ...], list[str]] = {}
    for variant in variants:
        made = [(r["name"], r) for r in variant.tuning.get("repairs", ()) if r["kept"]]
        methods = variant.tuning.get("calibration")
        if methods and (methods["others"] or methods["method"] != "minmax"):
            made.append(("calibration", methods))
        for name, repair in made:
            figures = (_change(repair, key, scale) for key, scale in shown.values())
            rows.setdefault((name, repair["what"], *figures), []).append(variant.scheme)
    columns = [("Repair", "left"), ("What it did", "left"), *((name, "right") for name in shown)]
    lines = [(*row, ", ".join(schemes)) for row, schemes in rows.items()]
    return table([*columns, ("Files", "left")], lines) if rows else None


_REPAIR_FIGURES = {
    "Accuracy %": ("accuracy", 100),
    "Agreement %": ("agreement", 100),
    "SNR dB": ("noise_db", 1),
}
"""Columns of the table of repairs: the figure of the judged file, and its factor."""


def _change(repair: Mapping[str, Any], key: str, scale: float) -> str:
    """A figure before and after a repair; empty if it is not known."""
    found = [repair[side].get(key) for side in ("before", "after")]
    return "" if None in found else "\u00a0→\u00a0".join(f"{scale * value:.1f}" for value in found)


def _agreement_and_noise(found: Verification) -> tuple[str, str]:
    agreement = "" if found.agreement is None else number(100 * found.agreement, ".1f")
    if found.saturated:
        return agreement, "saturated"
    return agreement, "exact" if found.sqnr_db is None else f"{found.sqnr_db:.0f}"


def benchmark_table(result: Benchmark) -> Table:
    """One file on one engine per row, with the figures that the screen has room for, the most important first."""
    alike = {name for name in VARYING if len({getattr(r, name) for r in result.results}) == 1}
    room = width() - VARYING_WIDTH * (len(VARYING) - len(alike))
    columns = [
        (name, justify, figure)
        for name, justify, needed, figure in _COLUMNS
        if room >= needed and name.lower() not in alike and name not in (_CLASSES if result.by_error else _ERRORS)
    ]
    names = row_names(result.results)
    rows = [
        [
            Text(figure(r) if name != "File" else own, style=_style(r) if name == "Status" else "")
            for name, _, figure in columns
        ]
        for r, own in zip(result.results, names, strict=True)
    ]
    return table([(name, justify) for name, justify, _ in columns], rows)


def best_engine_lines(result: Benchmark) -> list[str]:
    """One line per file: its best engine, and how much slower the others are."""
    names = dict(zip((r.file for r in result.results), row_names(result.results), strict=True))
    lines = []
    for best in result.best_engines:
        others = ", ".join(f"{name} {ratio:.2f} times as long" for name, ratio in best.slower.items())
        doubt = "" if best.beyond_doubt else "; the difference is not significant"
        lines.append(f"{names[best.file]}: {best.engine} ({others}{doubt})")
    return lines


def evaluation_table(result: Mapping[str, Any]) -> Table:
    """Precision, recall and F1 of each class and their averages, and each class's most frequent confusion."""
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
    return table([*columns, ("Items", "right"), ("Most mistaken for", "left")], rows)


def confusion_table(result: Mapping[str, Any]) -> Table:
    """The confusion matrix: true classes in rows, predicted classes in columns."""
    labels = [row["label"] for row in result["per_class"]]
    rows = [
        [label, *(str(n) if n else "." for n in counts)]
        for label, counts in zip(labels, result["confusion_matrix"], strict=True)
    ]
    return table([("True \\ predicted", "left"), *((label, "right") for label in labels)], rows)


def predictions_table(results: Sequence[ImageResult]) -> Table:
    """The classes of each image with their scores."""
    rows: list[list[str | Text]] = []
    for r in results:
        for n, p in enumerate(r.classes):
            rows.append([r.image if n == 0 else "", p.label, f"{p.score:.4f}"])
    return table([("Image", "left"), ("Class", "left"), ("Score", "right")], rows)


def _style(row: Measurement) -> str:
    return STYLES.get(row.status, "red" if row.failed else "yellow")


def _percent(share: float | None) -> str:
    return number(None if share is None else 100 * share, ".2f")


def _us(value: float | None) -> str:
    return number(value, ".1f" if value is not None and value < 100 else ".0f")


def _with_interval(value: float | None, low: float | None, high: float | None) -> str:
    if value is None or low is None or high is None or low == high:
        return number(value, ".2f")
    return f"{value:.2f} ±{(high - low) / 2:.2f}"


def _at_most(value: float | None, high: float | None) -> str:
    return "" if value is None or high is None else f"{value:.2f} ≤{high:.2f}"


_COLUMNS: tuple[tuple[str, str, int, Callable[[Measurement], str]], ...] = (
    ("File", "left", 0, lambda r: r.file),
    ("Host", "left", 0, lambda r: r.host or "here"),
    ("Engine", "left", 0, lambda r: r.engine),
    ("Threads", "right", 0, lambda r: str(r.threads)),
    ("Batch", "right", 0, lambda r: str(r.batch)),
    ("Size", "right", 0, lambda r: size(r.size_bytes)),
    ("Ratio", "right", 140, lambda r: number(r.size_ratio, ".2f")),
    ("Acc. %", "right", 0, lambda r: _percent(r.accuracy)),
    ("F1 %", "right", 160, lambda r: _percent(r.macro_f1)),
    ("Drop pp", "right", 0, lambda r: _at_most(r.drop_pp, r.drop_high_pp)),
    ("Agree %", "right", 120, lambda r: _percent(r.agreement)),
    ("SQNR dB", "right", 0, lambda r: "exact" if r.max_error == 0 else number(r.sqnr_db, ".1f")),
    ("Max error", "right", 0, lambda r: number(r.max_error, ".3g")),
    ("Mean error", "right", 100, lambda r: number(r.mean_error, ".3g")),
    ("Load ms", "right", 140, lambda r: number(r.load_ms, ".1f")),
    ("Memory", "right", 130, lambda r: size(r.memory_bytes)),
    ("p50 µs", "right", 0, lambda r: _us(r.p50_us)),
    ("p90 µs", "right", 110, lambda r: _us(r.p90_us)),
    ("p99 µs", "right", 100, lambda r: _us(r.p99_us)),
    ("Speed-up", "right", 90, lambda r: _with_interval(r.speedup, r.speedup_low, r.speedup_high)),
    ("Of limit %", "right", 170, lambda r: number(None if r.compute_share is None else 100 * r.compute_share, ".0f")),
    ("Status", "left", 0, lambda r: r.status.partition(":")[0]),
)
"""The benchmark's columns: name, justification, smallest width of the screen, and the figure."""
