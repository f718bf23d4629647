"""Choose the float layers of files of mixed precision from the files that a conversion would really make."""

from __future__ import annotations

from collections.abc import Mapping
from typing import get_args

from edgepress.converters.calibration import Batches, hash_of, tflite_statistics
from edgepress.converters.kept import KeepOptions, Kept
from edgepress.converters.rewrites.table import Stage, rewrites_for, rewritten_tflite
from edgepress.converters.schemes import SCHEMES
from edgepress.converters.statistics import Choice, Statistics
from edgepress.converters.to_tflite.convert import with_scheme
from edgepress.converters.tuning.judge import Judge, enough
from edgepress.converters.tuning.methods import Validation, first_items
from edgepress.converters.tuning.mixed import choose
from edgepress.runtime.input_spec import InputSpec

SIMULATED = 200
"""Calibration items on which losses are simulated, at most."""


def kept_layers(
    graph: bytes,
    options: KeepOptions,
    calibration: Batches,
    item: InputSpec,
    validation: Validation | None = None,
    *,
    labelled: bool = True,
    rewrite: bool = True,
    choice: Choice | None = None,
    statistics: Mapping[str, Statistics] | None = None,
) -> Kept:
    """The layers to keep in float.

    Args:
        graph: The float `.tflite` that the int8 file would be made from.
        options: What the user says.
        calibration: Returns the calibration items.
        item: The input.
        validation: Returns items to judge files on; None takes calibration items.
        labelled: Whether outputs are scores of labels.
        rewrite: Whether graphs are rewritten to be faster.
        choice: The methods of ranges; None keeps all values.
        statistics: Statistics of graphs, by their hash, that need not be collected again.

    Raises:
        ConversionError: There is no choice within the limit, or it can't be found for this model.
    """
    scheme = SCHEMES["tflite-mixed"]
    before, recipe, after = (rewrites_for(scheme, "cpu", stage) if rewrite else () for stage in get_args(Stage))
    model, _ = rewritten_tflite(graph, before)
    chosen = rewritten_tflite(model, recipe)[1]
    known = (statistics or {}).get(hash_of(model))
    known = known or tflite_statistics(model, calibration, None if item.is_integer else item.value_range)
    ranges = known.ranges(choice or Choice())

    def make(kept: Kept) -> bytes:
        made = with_scheme(model, scheme, ranges, chosen, uint8=item.is_image, kept=kept)
        return rewritten_tflite(made, after)[0]

    items, labels = (validation or first_items(calibration))(enough(graph))
    judge = Judge(graph, items, labels, labelled=labelled, uint8=item.is_image)
    return choose(graph, make, judge, first_items(calibration)(SIMULATED)[0], options)
