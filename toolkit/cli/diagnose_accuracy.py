"""The half of the command `diagnose` that says why a file is inaccurate."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from edgepress.converters.contract.hints import Hints
from edgepress.toolkit.arguments import call_with
from edgepress.toolkit.cli import screen
from edgepress.toolkit.errors import InputError
from edgepress.toolkit.terminal import Table, Text
from edgepress.toolkit.text import interval, number, percent

if TYPE_CHECKING:
    from edgepress.toolkit.accuracy_diagnosis.result import AccuracyDiagnosis

KINDS_WIDTH = 120
"""Width of the screen from which on the kinds of layers have room."""
SHOWN = 12
"""Layers in the table; the JSON document has all."""
CLASSES = 5
"""Classes in the table; the JSON document has all."""


def diagnose_accuracy(
    files: list[Path],
    hints: Hints,
    data: str | None,
    *,
    test_items: int,
    samples: int,
    attempt: bool,
    skip_unreadable: bool,
    plot: Path | None,
    json_output: bool,
) -> None:
    """Diagnose a file beside its model, and show what was found."""
    from edgepress.toolkit.accuracy_diagnosis.diagnose import diagnose_accuracy as work
    from edgepress.toolkit.accuracy_diagnosis.plot import plot_accuracy
    from edgepress.toolkit.plots import checked_suffix

    if len(files) != 2:
        raise InputError(
            f"With --data, two files are compared; found {len(files)}.",
            "Give the model, and then one quantized file that was converted from it.",
        )
    if plot is not None:
        checked_suffix(plot)
    with screen.progress({"layers": "Measuring layers"}) as on_progress:
        diagnosis = call_with(work, locals(), model=files[0], file=files[1], data=data or None, on_start=screen.step)
    if plot is not None:
        plot_accuracy(diagnosis, plot)
    screen.note(*diagnosis.notes)
    if json_output:
        screen.document(diagnosis.to_dict())
        return
    screen.say(diagnosis.text)
    screen.say()
    screen.show(_layers_table(diagnosis))
    if diagnosis.classes:
        screen.say()
        screen.show(_classes_table(diagnosis))
    if plot is not None:
        screen.say()
        screen.say(f"Plot: {plot}")


def _layers_table(diagnosis: AccuracyDiagnosis) -> Table:
    from edgepress.toolkit.accuracy_diagnosis.result import short

    wide = screen.width() >= KINDS_WIDTH
    columns = [("Layer", "left"), *([("Kind", "left"), ("Held as", "left")] if wide else [])]
    columns += [("Error", "right"), ("Agreement", "right")]
    columns += [("Own dB", "right"), ("Whole dB", "right"), ("Range used", "right"), ("Beyond", "right")]
    columns += [("Channels", "right"), ("Fault", "left")]
    rows: list[list[str | Text]] = []
    for layer in diagnosis.layers[:SHOWN]:
        dead = f", {layer.dead + layer.lost} dead" if layer.dead + layer.lost else ""
        rows.append(
            [
                short(layer.name),
                *([layer.kind, layer.stored] if wide else []),
                percent(layer.cost, ".1f"),
                percent(layer.agreement, ".1f"),
                number(layer.channel_db),
                number(layer.sqnr_db),
                percent(layer.range_used, ".0f"),
                percent(layer.clipped, ".1f"),
                f"{layer.spread:.1f}×{dead}",
                Text(layer.fault, style="red"),
            ]
        )
    return screen.table(columns, rows)


def _classes_table(diagnosis: AccuracyDiagnosis) -> Table:
    columns = [("Class", "left"), ("Items", "right"), ("Model", "right"), ("File", "right"), ("Loss, pp", "right")]
    rows = [
        [c.label, str(c.support), percent(c.model), percent(c.file), interval(c.drop_pp, c.drop_low_pp, c.drop_high_pp)]
        for c in diagnosis.classes[:CLASSES]
    ]
    return screen.table(columns, rows)
