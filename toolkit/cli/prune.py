"""The command `prune`."""

from __future__ import annotations

from edgepress.converters.contract.hints import Hints
from edgepress.toolkit.arguments import call_with
from edgepress.toolkit.cli import options, screen
from edgepress.toolkit.cli.graph_run import Data, show, training_bar
from edgepress.toolkit.training.graphs.options import PruneOptions


@options.with_source_hints
def prune(
    model: options.Model, *, hints: Hints, data: Data = None, how: PruneOptions, json_output: options.Json = False
) -> None:
    """Prune channels of a model of any format, then distil; convert makes the files."""
    from edgepress.toolkit.training.graphs.prune import prune as work

    with training_bar() as advance:
        result = call_with(work, locals(), on_note=screen.note, on_progress=advance)
    if json_output:
        screen.document(result.summary())
        return
    show(result, "float graph on validation items", data, how)
