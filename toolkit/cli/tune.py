"""The command `tune`."""

from __future__ import annotations

from typing import Annotated, Any

from typer import Option

from edgepress.converters.contract.hints import Hints
from edgepress.toolkit.arguments import call_with
from edgepress.toolkit.cli import options, screen
from edgepress.toolkit.cli.graph_run import graph_run, show, training_bar


@options.with_options(hints=options.source_hints, run=graph_run)
def tune(
    model: options.Model,
    *,
    hints: Hints,
    bits: Annotated[int, Option(help="Bits of the weights, 8 or 4")] = 8,
    run: dict[str, Any],
    json_output: options.Json = False,
) -> None:
    """Quantization-aware training of a model of any format; then run convert."""
    from edgepress.toolkit.training.graphs.tune import tune as work

    with training_bar() as advance:
        result = call_with(work, locals() | run, on_progress=advance)
    if json_output:
        screen.document(result.summary())
        return
    show(result, f"{bits}-bit file", run["data"], run["reading"])
