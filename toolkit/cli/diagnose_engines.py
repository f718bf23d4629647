"""The part of the command `diagnose` that compares engines."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from edgepress.converters.contract.hints import Hints
from edgepress.toolkit.arguments import call_with
from edgepress.toolkit.cli import screen
from edgepress.toolkit.errors import InputError
from edgepress.toolkit.text import percent, plural

if TYPE_CHECKING:
    from edgepress.toolkit.engine_diagnosis.result import EngineComparison


def diagnose_engines(
    files: list[Path],
    engines: str,
    hints: Hints,
    *,
    data: str | None,
    samples: int,
    skip_unreadable: bool,
    ssh_config: Path | None,
    json_output: bool,
) -> None:
    """Compare engines on one file, and show the first operation that differs."""
    from edgepress.toolkit.engine_diagnosis.diagnose import diagnose_engines as work

    if len(files) != 1:
        raise InputError(f"With --engines, one file is run; found {len(files)}.", "Give one .tflite file.")
    names = [name.strip() for name in engines.split(",") if name.strip()]
    comparison = call_with(work, locals(), file=files[0], engines=names, on_step=screen.step)
    screen.note(*comparison.notes)
    if json_output:
        screen.document(comparison.to_dict())
        return
    _show(comparison)


def _show(comparison: EngineComparison) -> None:
    items = f"{plural(comparison.items, 'item')} ({comparison.source})"
    screen.say(f"{comparison.file}, {plural(comparison.operations, 'operation')}, {items}", style="bold")
    rows: list[list[str]] = []
    for pair in comparison.pairs:
        names = " and ".join(pair.engines)
        first = pair.first
        if first is None:
            rows.append([names, "none: the same numbers everywhere", "", "", "", ""])
            continue
        what = f"{first.operation} {first.kind} {first.tensor}"
        shown = [str(first.steps), f"{first.items} of {comparison.items}", percent(first.values)]
        rows.append([names, what, *shown, f"{pair.answers} of {comparison.items}, up to {pair.answer_steps}"])
    columns = [("Engines", "left"), ("First operation that differs", "left"), ("Steps", "right"), ("Items", "right")]
    screen.show(screen.table([*columns, ("Numbers", "right"), ("Answers that differ", "right")], rows))
    for pair in comparison.pairs:
        if pair.first is not None:
            screen.say(f"Cause, {' and '.join(pair.engines)}, {pair.first.kind}: {pair.first.why}.")
