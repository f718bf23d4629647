"""The command `compare`: what changed between two results or two model files, and whether limits are kept."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table
from rich.text import Text

from edgepress.toolkit.cli import screen
from edgepress.toolkit.cli.app import DATA_HELP, Json, SkipUnreadable, Threads, app, command
from edgepress.toolkit.errors import unknown

if TYPE_CHECKING:
    from edgepress.toolkit.comparison.compare import Comparison

PHASES = {"accuracy": "Checking accuracy", "latency": "Timing"}
MODELS = "Two model files"
RESULTS = "Two results"
STYLES = {"failed": "red", "passed": "green", "not established": "yellow"}
NARROW, HIDDEN = 120, ("p99_us", "memory_bytes")
"""Columns of the screen below which the table has no room for these figures."""


@app.command()
@command
def compare(
    old: Annotated[Path, typer.Argument(help="A benchmark.json, a folder that holds one, or a .tflite or .onnx file.")],
    new: Annotated[Path, typer.Argument(help="The same kind of thing; two model files are measured side by side.")],
    fail_if: Annotated[
        list[str] | None,
        typer.Option(
            help="Limit such as 'drop>0.5' (pp), 'latency>1.1x', 'p99>5ms', 'size>5%', 'size>200kB' or "
            "'accuracy<97%'; may be repeated. x and % limit the change. A limit that is not kept gives exit code 3."
        ),
    ] = None,
    strict: Annotated[
        bool,
        typer.Option("--strict", help="Let estimates decide, not 95 % intervals; what is not known has failed."),
    ] = False,
    format_: Annotated[str, typer.Option("--format", help="text, or md for a pull request.")] = "text",
    engine: Annotated[str, typer.Option(help="all, or names separated by commas.")] = "all",
    scheme: Annotated[
        str, typer.Option(help="all, or names separated by commas, such as tflite-int8.", rich_help_panel=RESULTS)
    ] = "all",
    data: Annotated[
        str | None,
        typer.Option(help=DATA_HELP, show_default="what the model was trained on", rich_help_panel=MODELS),
    ] = None,
    threads: Threads = 1,
    rounds: Annotated[
        int, typer.Option(min=1, help="Rounds of timing; 6 or more give an interval.", rich_help_panel=MODELS)
    ] = 20,
    skip_unreadable: SkipUnreadable = False,
    json_output: Json = False,
) -> int:
    """What changed between two results or two model files, and whether limits are kept: a gate for CI."""
    from edgepress.toolkit.comparison import text as texts
    from edgepress.toolkit.comparison.compare import MODEL_SUFFIXES
    from edgepress.toolkit.comparison.compare import compare as work
    from edgepress.toolkit.comparison.match import APPEARED, BOTH

    if format_ not in ("text", "md"):
        raise unknown("format", format_, ("text", "md"))
    with screen.progress(PHASES) as on_progress:
        result = work(
            old,
            new,
            fail_if=fail_if or (),
            strict=strict,
            schemes=scheme,
            engines=engine,
            data=data,
            threads=threads,
            rounds=rounds,
            skip_unreadable=skip_unreadable,
            on_progress=on_progress,
        )
    if json_output:
        screen.document(result.to_dict())
    elif format_ == "md":
        sys.stdout.write(texts.markdown(result))
    else:
        screen.show(_pairs_table(result))
        for text in texts.methods(result):
            screen.say(text)
        if result.verdicts:
            screen.say()
            screen.show(_verdicts_table(result))
        screen.say()
        screen.say(texts.summary(result), style="bold red" if result.failed else "bold")
    for text in () if format_ == "md" else result.notes:
        screen.note(text)
    if os.environ.get("GITHUB_ACTIONS") == "true":
        sys.stderr.writelines(f"{line}\n" for line in texts.github_annotations(result))
    if result.failed:
        return 3
    # Results that hold failures were read; of files that are measured here, something could not be measured.
    return int(old.suffix in MODEL_SUFFIXES and any(p.state not in (BOTH, APPEARED) for p in result.pairs))


def _pairs_table(result: Comparison) -> Table:
    from edgepress.toolkit.comparison.text import pair_rows

    heads, found = pair_rows(result, HIDDEN if screen.width() < NARROW else ())
    columns = [("", "left"), *((name, "right") for name in heads[1:-1]), (heads[-1], "left")]
    rows = [
        [name, *("\N{NO-BREAK SPACE}".join(cell.rsplit(" ", 1)) for cell in cells), state]  # keeps its unit
        for name, *cells, state in found
    ]
    last = None if any(row[-1] for row in rows) else -1
    return screen.table("", columns[:last], [row[:last] for row in rows])


def _verdicts_table(result: Comparison) -> Table:
    from edgepress.toolkit.comparison.text import verdict_rows

    rows: list[list[str | Text]] = [
        [Text(outcome, style=STYLES[outcome]), *cells] for outcome, *cells in verdict_rows(result)
    ]
    return screen.table("", [(name, "left") for name in ("Outcome", "Fail if", "On", "Found")], rows)
