"""Format results as tables for the screen; only the JSON documents contain all figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from edgepress.converters.rewrites.table import REWRITES
from edgepress.converters.variant import Variant
from edgepress.runtime.answers import NO_LABEL
from edgepress.runtime.contract import Verification
from edgepress.toolkit.cli.screen import WIDE, table, width
from edgepress.toolkit.columns import FILES, STATUS, filled_columns, varying
from edgepress.toolkit.measurement.prediction import ImageResult
from edgepress.toolkit.reports.view import row_names
from edgepress.toolkit.results.records import DROP, LARGE_ERROR, UNPROVEN, USABLE, Benchmark, Measurement
from edgepress.toolkit.terminal import Table, Text
from edgepress.toolkit.text import interval, is_sure, number, size

VARYING_WIDTH = 8
"""Width of a column that is shown only if rows differ in it."""
STYLES = {USABLE: "green", DROP: "red", LARGE_ERROR: "red"}


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
            Text("ok", style="green") if v.path else Text("rejected", style="red"),
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
        places = {v.scheme: v.rewrites[rewrite.name] for v in variants if rewrite.name in v.rewrites}
        if places:
            where = ", ".join(f"{scheme} ({count})" for scheme, count in places.items())
            rows.append((rewrite.name, rewrite.summary, where))
    return table([("Rewrite", "left"), ("What it does", "left"), ("Files (places)", "left")], rows) if rows else None


def repairs_table(variants: Sequence[Variant]) -> Table | None:
    """What was changed to keep accuracy, with its files and what it brought there; None if nothing was."""
    shown = {name: of for name, of in _REPAIR_FIGURES.items() if width() >= WIDE or name != "Accuracy %"}
    rows: dict[tuple[str, ...], list[str]] = {}
    for variant in variants:
        changes = [(r["name"], r) for r in variant.compression.get("repairs", ()) if r["kept"]]
        methods = variant.compression.get("calibration")
        if methods and (methods["others"] or methods["method"] != "minmax"):
            changes.append(("calibration", methods))
        for name, repair in changes:
            figures = (_change(repair, key, scale) for key, scale in shown.values())
            rows.setdefault((name, repair["what"], *figures), []).append(variant.scheme)
    columns = [("Repair", "left"), ("What it did", "left"), *((name, "right") for name in shown)]
    lines = [(*row, ", ".join(schemes)) for row, schemes in rows.items()]
    return table([*columns, ("Files", "left")], lines) if rows else None


_REPAIR_FIGURES = {
    "Accuracy %": ("accuracy", 100),
    "Agreement %": ("agreement", 100),
    "SNR dB": ("snr_db", 1),
}
"""Columns of the table of repairs: the figure of the judged file, and its factor."""


def _change(repair: Mapping[str, Any], key: str, scale: float) -> str:
    """A figure before and after a repair; empty if it is not known."""
    figures = [repair[side].get(key) for side in ("before", "after")]
    return "" if None in figures else "\u00a0→\u00a0".join(f"{scale * value:.1f}" for value in figures)


def _agreement_and_noise(proof: Verification) -> tuple[str, str]:
    agreement = "" if proof.agreement is None else number(100 * proof.agreement, ".1f")
    if proof.saturated:
        return agreement, "saturated"
    return agreement, "exact" if proof.sqnr_db is None else f"{proof.sqnr_db:.0f}"


def benchmark_table(result: Benchmark) -> Table:
    """One file on one engine per row, with the figures that the screen has room for, the most important first."""
    rows = result.results
    setting = varying(rows)
    hosts = ["Host"] if len({r.host for r in rows}) > 1 else []
    room = width() - VARYING_WIDTH * (len(setting) + len(hosts))
    fitting = (c for c in FILES if c.width is not None and room >= c.width)
    figures = [*setting, *filled_columns(fitting, rows)]
    cells: list[list[str | Text]] = []
    for r, name in zip(rows, row_names(rows), strict=True):
        place = [name, *((r.host or "here") for _ in hosts), r.engine]
        status = Text(STATUS.text(r), style=_style(r, result.advice.confidence))
        cells.append([*place, *(c.brief_text(r) for c in figures), status])
    columns = [(head, "left") for head in ("File", *hosts, "Engine")]
    return table([*columns, *((c.title, "right") for c in figures), (STATUS.title, "left")], cells)


def best_engine_lines(result: Benchmark) -> list[str]:
    """One line per file: its best engine, and how much slower the others are."""
    names = dict(zip((r.file for r in result.results), row_names(result.results), strict=True))
    lines = []
    for best in result.best_engines:
        others = ", ".join(
            f"{name} {ratio:.2f} times as long" if ratio > 1 else f"{name} as fast, by round"
            for name, ratio in best.slower.items()
        )
        doubt = "" if best.beyond_doubt else "; the difference is not significant"
        lines.append(f"{names[best.file]}: {best.engine} ({others}{doubt})")
    return lines


def evaluation_table(result: Mapping[str, Any]) -> Table:
    """Precision, recall and F1 of each class and their averages, and each class's most frequent confusion.

    Of a calibrated file also the share of each class that is accepted, and the wrong answers among these. Of
    multi-label data, each label's average precision instead of a confusion.
    """
    if result.get("exact_match") is not None:
        return _table_of_labels(result)
    labels = [row["label"] for row in result["per_class"]]
    accepted = result.get("accepted")
    kept: list[list[str]] = [[]] * (len(labels) + 1)
    if accepted:
        kept = [_cells_of_acceptance(row) for row in (*accepted["per_class"], accepted)]
    rows: list[list[str | Text]] = []
    for i, row in enumerate(result["per_class"]):
        mistaken = sorted(((n, j) for j, n in enumerate(result["confusion_matrix"][i]) if n and j != i), reverse=True)
        most = f"{labels[mistaken[0][1]]} ({mistaken[0][0]})" if mistaken else ""
        figures = [_percent(row[k]) for k in ("precision", "recall", "f1")]
        rows.append([row["label"], *figures, str(row["support"]), *kept[i], most])
    macro = [_percent(result[f"macro_{k}"]) for k in ("precision", "recall", "f1")]
    rows.append([Text("macro average", style="bold"), *macro, str(result["count"]), *kept[-1], ""])
    columns = [("Class", "left"), ("Precision %", "right"), ("Recall %", "right"), ("F1 %", "right")]
    columns += [("Items", "right"), *([("Accepted %", "right"), ("Wrong of these", "right")] if accepted else [])]
    return table([*columns, ("Most mistaken for", "left")], rows)


def _table_of_labels(result: Mapping[str, Any]) -> Table:
    """Precision, recall, F1 and average precision of each label of multi-label data, and their means."""
    keys = ("precision", "recall", "f1", "average_precision")
    rows: list[list[str | Text]] = [
        [row["label"], *(_percent(row[key]) for key in keys), str(row["support"])] for row in result["per_class"]
    ]
    means = [result[f"macro_{key}"] for key in keys[:3]] + [result["mean_average_precision"]]
    rows.append([Text("mean over labels", style="bold"), *map(_percent, means), str(result["count"])])
    heads = ("Precision %", "Recall %", "F1 %", "Average precision %", "Items")
    return table([("Label", "left"), *((head, "right") for head in heads)], rows)


def group_line(result: Mapping[str, Any]) -> str:
    """The accuracy by item and by group, with intervals that groups are independent in; "" of data without groups."""
    groups = result.get("groups")
    if groups is None:
        return ""
    by_item, by_group = (
        interval(100 * f["estimate"], _percentage(f["low"]), _percentage(f["high"]), " %")
        for f in (groups["by_item"], groups["by_group"])
    )
    count = groups["count"]
    apart = (
        "the one test group is in no other split" if count == 1 else f"none of {count} test groups is in another split"
    )
    return f"By item {by_item}, by group {by_group}: {apart}."


def _percentage(share: float | None) -> float | None:
    return None if share is None else 100 * share


def _cells_of_acceptance(row: Mapping[str, Any]) -> list[str]:
    """The share of items that are accepted, and how many of the accepted answers are wrong."""
    share = "" if row["share"] is None else number(100 * row["share"]["estimate"], ".1f")
    return [share, f"{row['errors']} of {row['count']}"]


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
    judged = any(r.accepted is not None for r in results)
    rows: list[list[str | Text]] = []
    for r in results:
        if not r.classes and r.error is None:
            rows.append([r.image, NO_LABEL, "", *([""] if judged else [])])
        for n, p in enumerate(r.classes):
            row: list[str | Text] = [r.image if n == 0 else "", p.label, f"{p.score:.4f}"]
            rows.append([*row, _cell_of_acceptance(r.accepted if n == 0 else None)] if judged else row)
    columns = [("Image", "left"), ("Class", "left"), ("Score", "right")]
    return table([*columns, ("Accepted", "left")] if judged else columns, rows)


def _cell_of_acceptance(accepted: bool | None) -> str | Text:
    if accepted is None:
        return ""
    return "yes" if accepted else Text("no: unknown", style="yellow")


def _style(row: Measurement, confidence: float | None) -> str:
    if row.status == UNPROVEN and is_sure(row.probability, confidence):
        return STYLES[USABLE]
    return STYLES.get(row.status, "red" if row.failed else "yellow")


def _percent(share: float | None) -> str:
    return number(None if share is None else 100 * share, ".2f")
