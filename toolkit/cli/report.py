"""The command `report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from typer import Argument, Option

from edgepress.toolkit.cli import screen
from edgepress.toolkit.cli.options import Json
from edgepress.toolkit.reports.report import FORMATS, Format
from edgepress.toolkit.text import size


def report(
    folder: Annotated[
        Path,
        Argument(
            help="A folder that holds benchmark.json or sweep.json, such as a run's, one of these, or a result of "
            "evaluate --stream --json"
        ),
    ],
    old: Annotated[
        Path | None, Option(help="An earlier result of evaluate --stream --json, to show both in one picture")
    ] = None,
    format: Annotated[Format, Option(help="; ".join(f"{k}: {v}" for k, v in FORMATS.items()))] = "html",
    out: Annotated[
        Path | None,
        Option(
            help="File to write",
            show_default="html: report.html in the folder, of recordings beside the result; others: stdout",
        ),
    ] = None,
    licence: Annotated[
        str, Option("--license", help="License of the model, as a Hugging Face identifier, for the model card")
    ] = "unknown",
    json_output: Json = False,
) -> None:
    """Write results as one self-contained web page, a Markdown table, or a model card."""
    from edgepress.toolkit.reports.report import report as work

    written = work(folder, out, old=old, format=format, licence=licence)
    if json_output:
        where = {"out": str(written.out)} if written.out is not None else {"out": None, "text": written.text}
        screen.document({"format": format, "size_bytes": written.size_bytes} | where)
    elif written.out is None:
        typer.echo(written.text, nl=False)
    else:
        screen.say(f"{written.out} ({size(written.size_bytes)})")
