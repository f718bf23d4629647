"""The command `tune`."""

from __future__ import annotations

from edgepress.converters.contract.hints import Hints
from edgepress.toolkit.cli import options
from edgepress.toolkit.cli.graph_run import Data, carry_out
from edgepress.toolkit.training.graphs.options import TuneOptions


@options.with_source_hints
def tune(
    model: options.Model, *, hints: Hints, data: Data = None, how: TuneOptions, json_output: options.Json = False
) -> None:
    """Quantization-aware training of a model of any format; then run convert."""
    from edgepress.toolkit.training.graphs.tune import tune as work

    carry_out(work, locals(), f"{how.bits}-bit file")
