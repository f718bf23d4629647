"""The command `report`: results as something to show."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgepress.toolkit.cli import screen
from edgepress.toolkit.cli.app import Json, app, command
from edgepress.toolkit.text import size


@app.command()
@command
def report(
    folder: Annotated[Path, typer.Argument(help="A folder that holds benchmark.json, or that file.")],
    format: Annotated[
        str, typer.Option(help="html (a page), md (for a README or a pull request) or card (for Hugging Face).")
    ] = "html",
    out: Annotated[
        Path | None, typer.Option(help="File to write.", show_default="html: report.html in FOLDER; else stdout")
    ] = None,
    licence: Annotated[
        str, typer.Option("--license", help="Licence of the model by Hugging Face's identifier, for the card.")
    ] = "unknown",
    json_output: Json = False,
) -> None:
    """Results as one self-contained web page, a Markdown table, or a model card."""
    from edgepress.toolkit.reports.report import report as work

    made = work(folder, out, format=format, licence=licence)
    if json_output:
        where = {"out": str(made.out)} if made.out is not None else {"out": None, "text": made.text}
        screen.document({"format": format, "size_bytes": made.size_bytes} | where)
    elif made.out is None:
        typer.echo(made.text, nl=False)
    else:
        screen.say(f"{made.out} ({size(made.size_bytes)})")
