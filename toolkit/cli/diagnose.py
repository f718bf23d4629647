"""The command `diagnose`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from rich.table import Table
from rich.text import Text
from typer import Argument, Option

from edgepress.toolkit.cli import screen
from edgepress.toolkit.cli.options import Json, Threads, list_of
from edgepress.toolkit.errors import EdgepressError
from edgepress.toolkit.text import duration, percent, plural, rate
from edgepress.toolkit.workers.trace import TRACERS

if TYPE_CHECKING:
    from edgepress.toolkit.diagnosing.diagnosis import Diagnosis


def diagnose(
    files: Annotated[list[Path], Argument(help="One or more .tflite files without state, or .onnx files")],
    engine: Annotated[
        str | None,
        Option(
            metavar="NAMES",
            help=f"Engines that run the files, separated by commas: all, {', '.join(TRACERS)}",
            show_default="the first installed one that opens the file",
            autocompletion=list_of(("all", *TRACERS)),
        ),
    ] = None,
    threads: Threads = 1,
    runs: Annotated[int, Option(min=1, help="Inferences to trace; fewer if they take longer than 2 s")] = 200,
    json_output: Json = False,
) -> int:
    """Say why files are slow: what is not delegated, converted or far below this CPU's reach, and what mends it."""
    from edgepress.toolkit.diagnosing.diagnose import diagnose as work

    failed: list[dict[str, str]] = []

    def note(file: str, engine: str, error: EdgepressError) -> None:
        failed.append({"file": file, "engine": engine, "error": error.message, "hint": error.hint})
        screen.note(f"{file}: {error.message} {error.hint}".strip())

    engines = None if engine is None else [name.strip() for name in engine.split(",") if name.strip()]
    one = len(files) == 1 and (engines is None or (len(engines) == 1 and engines != ["all"]))
    found = work(
        *files, engines=engines, threads=threads, runs=runs, on_start=screen.step, on_error=None if one else note
    )
    if json_output:
        screen.document({"diagnoses": [d.to_dict() for d in found], "failed": failed})
    else:
        for i, one_found in enumerate(found):
            if i:
                screen.say()
            _show(one_found)
    return 1 if failed else 0


def _show(found: Diagnosis) -> None:
    screen.say(
        f"{found.file} on {found.engine}, {plural(found.threads, 'thread')}: {duration(found.total_us)}", style="bold"
    )
    screen.say(found.text)
    screen.say()
    screen.show(_parts_table(found))
    if found.findings:
        screen.say()
        screen.show(_findings_table(found))
        for command in dict.fromkeys(f.command for f in found.findings if f.command):
            screen.say(f"To mend it: {command}")
    for text in found.notes:
        screen.note(text)


def _parts_table(found: Diagnosis) -> Table:
    columns = [("Where the time goes", "left"), ("Kernels", "right"), ("Time", "right"), ("Share", "right")]
    columns += [("Speed", "right"), ("Of this CPU's reach", "right")]
    rows = [
        [
            f"{p.work}{', not delegated' if p.delegated is False else ''}",
            str(p.count or ""),
            duration(p.time_us),
            percent(p.share, ".0f"),
            rate(p.macs_per_s, "MAC"),
            percent(p.reach, ".0f"),
        ]
        for p in found.parts
    ]
    return screen.table(columns, rows)


def _findings_table(found: Diagnosis) -> Table:
    columns = [("Share", "right"), ("What", "left"), ("Remedy", "left"), ("Known from", "left")]
    rows: list[list[str | Text]] = []
    for f in found.findings:
        name = f" ({f.rewrite or f.scheme})" if f.remedy else ""
        remedy = Text(f"{f.remedy}{name}" if f.remedy else "none known", style="green" if f.remedy else "")
        rows.append([percent(f.share, ".0f"), f.text, remedy, Text(f.ground, style="dim")])
    return screen.table(columns, rows)
