"""The command `prune`."""

from __future__ import annotations

from edgepress.converters.contract.hints import Hints
from edgepress.toolkit.cli import options
from edgepress.toolkit.cli.graph_run import Data, carry_out
from edgepress.toolkit.training.graphs.options import PruneOptions


@options.with_source_hints
def prune(
    model: options.Model, *, hints: Hints, data: Data = None, how: PruneOptions, json_output: options.Json = False
) -> None:
    """Prune channels of a model of any format, then distil; convert makes the files."""
    from edgepress.toolkit.training.graphs.prune import prune as work

    carry_out(work, locals(), "float graph on validation items")
