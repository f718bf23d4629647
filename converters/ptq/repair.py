"""Repairs: changes of a float graph's constants, each kept only if the file that is quantized from it gets better.

They need no labels and no training. `repair` tries them in order and returns the repaired graphs by kind of repairs:

* "exact": equalized, with the same float answers; for ONNX files with 8-bit weights, whose grid is another;
* "dynamic" and "weights": equalized, and with biases corrected for the rounding of weights; for TFLite files with 8-bit
  weights, in which each output of a dense layer has a scale of its own ("weights") or not;
* "int8": equalized, and with biases absorbed where that helps int8, with ranges whose methods are chosen, and with
  corrected biases; for schemes of 8-bit activations;
* "int4": the same with weights that are rounded to four bits so that answers stay (`adaround`), instead of the biases.

Before all of these, the features of a table may get one range (`feature_scaling`), for all kinds or for none.

A graph with an operation that programs do not know keeps its constants, and a note says so.
"""

from __future__ import annotations

from collections.abc import Collection
from functools import partial

from edgepress.converters.calibration import Batches, InputRange
from edgepress.converters.ptq.calibration import first_items
from edgepress.converters.ptq.feature_scaling import with_scaled_features
from edgepress.converters.ptq.pipeline import Pipeline
from edgepress.converters.ptq.score import Scorer
from edgepress.converters.ptq.stages import RECIPES, Repaired, Stage
from edgepress.converters.schemes import RepairKind
from edgepress.converters.statistics import CalibrationMethod

FEATURE_ITEMS = 1000
"""Most calibration items that the ranges of features are measured on."""
SCALED = "the features of the input are scaled in float, because their ranges differ too much for one scale"
"""What the stage "feature-scaling" does, in words."""


def repair(
    model: bytes,
    batches: Batches,
    scorer: Scorer,
    *,
    input_range: InputRange = None,
    wanted: Collection[RepairKind] = ("exact", "dynamic", "weights", "int8"),
    repairs: bool = True,
    calibration_method: CalibrationMethod = "minmax",
) -> Repaired:
    """Repair a float graph.

    Args:
        model: The float `.tflite`, batch 1.
        batches: The calibration items; repairs of large nets use the first of them.
        scorer: Scores files on items that are not among these, where there are others.
        input_range: Range of the input, if it is known beforehand.
        wanted: The kinds of repairs that are needed.
        repairs: Whether constants may be changed.
        calibration_method: How ranges follow from the calibration items, for the kinds "int8" and "int4".

    Raises:
        ConversionError: The model does not run on the items, or the quantizer refuses it.
    """
    kinds = [kind for kind in RECIPES if kind in wanted]
    start = partial(Pipeline, batches=batches, scorer=scorer, input_range=input_range, repairs=repairs)
    pipeline = start(model)
    if pipeline.program is not None:
        scaled = with_scaled_features(model, lambda count: first_items(batches, min(count, FEATURE_ITEMS)))
        if scaled is not model:
            pipeline = _choose(pipeline, start(scaled), kinds)
    return pipeline.run(kinds, calibration_method)


def _choose(plain: Pipeline, scaled: Pipeline, kinds: Collection[RepairKind]) -> Pipeline:
    """The pipeline with scaled features if that helps files that are not sound and harms none; else the plain one."""
    scores = {kind: (plain.score_plain(kind).score, scaled.score_plain(kind).score) for kind in kinds}
    helps = any(not before.sound and after.better_than(before) for before, after in scores.values())
    harms = any(before.better_than(after) for before, after in scores.values())
    kept = helps and not harms
    chosen = scaled if kept else plain
    chosen.stages += [
        Stage("feature-scaling", kind, kept, before, after, SCALED) for kind, (before, after) in scores.items()
    ]
    if kept:
        scaled.is_changed = True
        scaled.notes.append(SCALED)
    return chosen
