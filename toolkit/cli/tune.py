"""The command `tune`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from typer import Argument, Option

from edgepress.converters.contract.hints import Hints
from edgepress.toolkit.cli import screen
from edgepress.toolkit.cli.bar import training_bar
from edgepress.toolkit.cli.graph_run import MODEL_HELP, graph_run, show
from edgepress.toolkit.cli.options import Json, source_hints, with_options


@with_options(hints=source_hints, run=graph_run)
def tune(
    model: Annotated[Path, Argument(help=MODEL_HELP)],
    *,
    hints: Hints,
    bits: Annotated[int, Option(help="Bits of the weights, 8 or 4")] = 8,
    run: dict[str, Any],
    json_output: Json = False,
) -> None:
    """Train a model of any format so that its quantized files answer as it does; convert then makes them."""
    from edgepress.toolkit.tuning.tune import tune as work

    with training_bar() as advance:
        result = work(model, bits=bits, hints=hints, on_progress=advance, **run)
    if json_output:
        screen.document(result.summary())
        return
    show(result, f"{bits}-bit file", run["data"])
