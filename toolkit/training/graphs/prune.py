"""Prune a model: `prune`, which the command of the same name calls."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Unpack

from edgepress.converters.contract.hints import Hints
from edgepress.converters.pruning.plan import NEAR
from edgepress.toolkit.arguments import call_with
from edgepress.toolkit.data.objects import Data, Model, source_of
from edgepress.toolkit.results.run_files import model_in
from edgepress.toolkit.training.graphs.job import PruneJob
from edgepress.toolkit.training.graphs.options import PruneArguments, PruneOptions, Targets
from edgepress.toolkit.training.graphs.prune_trainer import GRAPH, PLAN, prune_here
from edgepress.toolkit.training.graphs.run import GraphResult, Run, carry_out

REPORT = "pruning.json"


def prune(
    model: Model,
    data: Data | None = None,
    *,
    hints: Hints | None = None,
    on_note: Callable[[str], None] | None = None,
    on_progress: Callable[[float, str], None] | None = None,
    **training: Unpack[PruneArguments],
) -> GraphResult:
    """Prune channels of a model until it is as small as asked, then distil.

    The model may be of any format; the result is a float `.tflite` that `convert` makes every scheme of. All targets
    that are given are kept.

    Args:
        model: A `.keras`, `.h5`, `.hdf5`, `.tflite` or `.onnx` file, a SavedModel folder, or a run's folder.
        data: Data like those it was trained on; None opens those that the model's contract names. Labels are used
            where there are some.
        hints: What you know of a model that edgepress did not train.
        on_note: Called with each guess about the model, and where training went back or little is left.
        on_progress: Called with the share of the training that is done, 0-1, and a line of figures.

    Returns:
        The pruned float `.tflite`, with its contract inside, and figures: "before" and "after" hold "macs" (for one
        item), "parameters", "size_bytes" (of the int8 file), and those of the float graph on validation items, as far
        as they can be given: "accuracy" and "agreement" with the model, 0-1, "snr_db"; "latency_ms" if that is a
        target. "layers" are the output channels before and after by layer, "importance" is the measure that was used.

    Raises:
        EdgepressError: The model, the data or an option can't be used, the targets can't be reached, or `out` holds
            another run.
        KeyboardInterrupt: Ctrl-C; the message says how to resume.

    Example:
        >>> from edgepress.toolkit import prune
        >>> prune("edgepress-demo/model.keras", macs=0.5, minutes=1).model.name
        'model-pruned.tflite'
    """
    data = source_of(data)
    options = PruneOptions(**training)
    targets = options.targets
    run = call_with(Run, locals(), verb="pruned", report=REPORT, scratch=(PLAN, GRAPH.format("*")))
    result = carry_out(model_in(model), run, prune_here, PruneJob)
    for text in (shortfall(result.facts, targets), setbacks(result.history)):
        if text and on_note is not None:
            on_note(text)
    return result


def setbacks(history: Sequence[Mapping[str, float]]) -> str:
    """A note that the training went back to earlier states; "" if it did not."""
    if not (failed := sum(not row.get("kept", True) for row in history)):
        return ""
    return (
        f"the loss rose in {failed} of {len(history)} rows of the history; training went back, with half the learning "
        "rate each time"
    )


def shortfall(facts: Mapping[str, Any], targets: Targets) -> str:
    """A note that far less was left than the share of multiply-accumulates that was asked for; "" if it was not."""
    left = facts["after"]["macs"] / facts["before"]["macs"]
    if targets.macs is None or targets.size_bytes or targets.latency_ms or left >= NEAR * targets.macs:
        return ""
    return (
        f"{left:.0%} of the multiply-accumulates are left where {targets.macs:.0%} may be: each channel that was left "
        "before the last step takes so many that no cut of that step ends nearer"
    )
