"""The command `tune`."""

from __future__ import annotations

from edgepress.converters.contract.hints import Hints
from edgepress.toolkit.arguments import call_with
from edgepress.toolkit.cli import options, screen
from edgepress.toolkit.cli.graph_run import Data, show, training_bar
from edgepress.toolkit.training.graphs.options import TuneOptions


@options.with_source_hints
def tune(
    model: options.Model, *, hints: Hints, data: Data = None, how: TuneOptions, json_output: options.Json = False
) -> None:
    """Quantization-aware training of a model of any format; then run convert."""
    from edgepress.toolkit.training.graphs.tune import tune as work

    with training_bar() as advance:
        result = call_with(work, locals(), on_note=screen.note, on_progress=advance)
    if json_output:
        screen.document(result.summary())
        return
    show(result, f"{how.bits}-bit file", data, how)
