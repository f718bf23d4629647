"""The command `prune`."""

from __future__ import annotations

from typing import Annotated, Any

from typer import Option

from edgepress.converters.contract.hints import Hints
from edgepress.toolkit.arguments import call_with
from edgepress.toolkit.cli import options, screen
from edgepress.toolkit.cli.graph_run import graph_run, show, training_bar


@options.with_options(hints=options.source_hints, run=graph_run)
def prune(
    model: options.Model,
    *,
    hints: Hints,
    macs: Annotated[
        str | None, Option(metavar="SHARE", help="Share of the multiply-accumulates that may be left, such as 50%")
    ] = None,
    max_size: Annotated[
        str | None, Option(metavar="SIZE", help="Largest size of the int8 TFLite file, such as 100kB")
    ] = None,
    max_latency: Annotated[
        str | None,
        Option(metavar="TIME", help="Maximum latency of the int8 file on this machine, one thread, such as 2ms"),
    ] = None,
    importance: Annotated[str, Option(help="What ranks channels: l1, taylor, variance or auto")] = "auto",
    run: dict[str, Any],
    json_output: options.Json = False,
) -> None:
    """Prune channels of a model of any format, then distil; convert makes the files."""
    from edgepress.toolkit.training.graphs.prune import prune as work

    with training_bar() as advance:
        result = call_with(work, locals() | run, on_progress=advance)
    if json_output:
        screen.document(result.summary())
        return
    show(result, "float graph on validation items", run["data"], run["reading"])
