"""Repairs of a float graph, each kept only if the quantized file gets better, and features brought to one range.

They need no labels and no training. `repair` tries them in order and returns the repaired graphs by kind of repairs:

* "exact": equalized, with the same float answers; for ONNX files with 8-bit weights, whose grid is another;
* "dynamic" and "weights": equalized, and with biases corrected for the rounding of weights; for TFLite files with 8-bit
  weights, in which each output of a dense layer has a scale of its own ("weights") or not;
* "int8": equalized, and with biases absorbed where that helps int8, with ranges whose methods are chosen, and with
  corrected biases; for schemes of 8-bit activations;
* "int4": the same with weights that are rounded to four bits so that answers stay (`adaround`), instead of the biases.

Before all of these, the features of a table may get one range, and the logits of each item the mean 0
(`logit_means`), for all kinds or for none.

A graph with an operation that programs do not know keeps its constants, and a note says so.

Features of different ranges are brought to one range in front of the dense layers that read them.

A tensor of integers has one scale, so features of small range are rounded away beside those of large range. Trained
nets even them out by a first normalization, which TFLite's converter puts into the weights of the dense layer behind it
if that is a BatchNormalization. It is taken out again here, with ranges from calibration data: the features are shifted
and scaled, and the weights and the bias undo that. The rewrite `float-normalization` keeps both operations in float.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import partial
from typing import Any

import numpy as np

from edgepress.converters.arrays import Array
from edgepress.converters.calibration import Batches, InputRange
from edgepress.converters.numeric.grids import round_to_grid
from edgepress.converters.numeric.statistics import CalibrationMethod
from edgepress.converters.ptq.calibration import first_items
from edgepress.converters.ptq.logit_means import with_mean_free_logits
from edgepress.converters.ptq.pipeline import Pipeline
from edgepress.converters.ptq.score import CHANCE, Scorer
from edgepress.converters.ptq.stages import RECIPES, Repaired, Stage, StageName
from edgepress.converters.schemes import RepairKind
from edgepress.converters.to_tflite.float_layers import MOST_DIMENSIONS, SAME_NUMBERS, normalization
from edgepress.converters.to_tflite.graph import Graph, only_reader

OPERATIONS: dict[str, Callable[[Array, Array], Array]] = {
    "ADD": np.add,
    "SUB": np.subtract,
    "MUL": np.multiply,
    "DIV": np.divide,
}
"""What a normalization in front of the layers computes."""
LEVELS = 255
"""Steps of an 8-bit range."""
ENOUGH_DB = 30.0
"""Signal to noise, dB, from which on the input may be rounded with one scale."""
LEAST_GAIN_DB = 6.0
"""What a scale for each feature must gain at least, dB."""
LEAST_SPREAD = 1e-3
"""Least half of a feature's range, as a share of its largest value."""
MOST_VALUES = 4_000_000
"""Most numbers of calibration items that are read."""


def with_scaled_features(model: bytes, read_items: Callable[[int], Array]) -> bytes:
    """A float model whose features have one range, if their rounding would cost too much; else the same bytes.

    A feature that hardly varies on calibration data gets a range as wide as its values are large, so that it is not
    clipped where it varies later. One that is always 0 gets the range of all features, or that in which it counts as
    much as any other, if that is less: its weights would take the levels of the others.

    Args:
        model: A float `.tflite` model of one item.
        read_items: Returns calibration items, up to a number of them, shape (n, *item shape); called if needed.
    """
    graph = Graph(model)
    layers, at = _first_layers(graph)
    count = graph.shape(at)[-1] if layers else 0
    if not count:
        return model
    weights = [np.asarray(graph.constant(int(op.inputs[1])), np.float64) for op in layers]
    features = _features(graph, read_items(max(1, MOST_VALUES // count)), count)
    if features is None or not np.isfinite(features).all():
        return model
    low = np.min(features, axis=0)
    high = np.max(features, axis=0)
    whole = max(float(np.max(high)), 0) - min(float(np.min(low)), 0)
    largest = np.maximum(np.abs(low), np.abs(high))
    half = np.maximum((high - low) / 2, LEAST_SPREAD * largest)
    half[largest == 0] = whole / 2
    for each in weights:
        half[largest == 0] = np.minimum(half, _even_ranges(each, half, largest > 0))[largest == 0]
    middle = ((low + high) / 2).astype(np.float32).astype(np.float64)
    is_live = largest > 0  # 0 is never rounded
    scaled_features = (features - middle) / half
    unscaled_db, scaled_db = min(
        [
            rounding_db(features, each, np.where(is_live, whole, 0)),
            rounding_db(scaled_features, each * half, np.where(is_live, 2.0, 0)),
        ]
        for each in weights
    )
    if unscaled_db >= ENOUGH_DB or scaled_db < unscaled_db + LEAST_GAIN_DB:
        return model
    biases = [np.asarray(_bias(graph, op), np.float64) for op in layers]
    with np.errstate(over="ignore"):
        scaling = [each.astype(np.float32) for each in (middle, 1 / half)]
        scaled_weights = [(each * half).astype(np.float32) for each in weights]
        shifted_biases = [(each @ middle + bias).astype(np.float32) for each, bias in zip(weights, biases, strict=True)]
    if not all(np.isfinite(each).all() for each in (*scaling, *scaled_weights, *shifted_biases)):
        return model
    shift, scale = map(graph.add_constant, scaling)
    shifted, scaled = (graph.add_tensor(graph.shape(at), f"features/{what}", at) for what in ("shifted", "scaled"))
    graph.insert_before(
        layers[0], graph.operator("SUB", [at, shift], shifted), graph.operator("MUL", [shifted, scale], scaled)
    )
    for op, own_weights, own_bias in zip(layers, scaled_weights, shifted_biases, strict=True):
        op.inputs = np.array([scaled, graph.add_constant(own_weights), graph.add_constant(own_bias)], np.int32)
    return graph.to_bytes()


def _first_layers(graph: Graph) -> tuple[list[Any], int]:
    """The dense layers that read the features of a tensor, and the index of what they read; none for other models."""
    at = int(graph.table.inputs[0])
    if graph.dtype(at) != np.float32 or len(graph.shape(at)) > MOST_DIMENSIONS:
        return [], at
    if own := normalization(graph):
        at = int(own[-1].outputs[0])
    readers = graph.readers()
    while (op := only_reader(readers, at)) is not None and graph.kind(op) in SAME_NUMBERS:
        at = int(op.outputs[0])
    layers = readers.get(at, [])
    return (layers if all(_is_dense(graph, op, at) for op in layers) else []), at


def _features(graph: Graph, items: Array, count: int) -> Array | None:
    """What the first dense layers read, float64, shape (n, count); None if constants do not suit features."""
    features = np.asarray(items, np.float64).reshape(-1, count)
    for op in normalization(graph):
        if graph.kind(op) in SAME_NUMBERS:
            continue
        first, second = (graph.constant(int(index)) for index in op.inputs)
        sizes = [each.size for each in (first, second) if each is not None]
        if sizes not in ([1], [count]):
            return None
        operands = [features if each is None else each.astype(np.float64).ravel() for each in (first, second)]
        with np.errstate(divide="ignore", invalid="ignore"):
            features = OPERATIONS[graph.kind(op)](*operands)
    return features


def _even_ranges(weights: Array, half: Array, is_live: Array) -> Array:
    """Half of the range in which each feature counts at most as much as the others in each output, shape (features,).

    Args:
        weights: float64, shape (outputs, features).
        half: Half of the range of each feature, (features,).
        is_live: Whether it is not always 0, (features,).
    """
    strongest = np.max(np.abs(weights) * half, axis=1, where=is_live, initial=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        even = np.where((strongest > 0)[:, np.newaxis], strongest[:, np.newaxis] / np.abs(weights), np.inf)
    return np.asarray(np.min(even, axis=0))


def _is_dense(graph: Graph, op: Any, source: int) -> bool:
    """Whether an operation is a dense layer of some features whose weights, and bias if it has one, are constants."""
    if op is None or graph.kind(op) != "FULLY_CONNECTED" or int(op.inputs[0]) != source:
        return False
    weights = graph.constant(int(op.inputs[1]))
    is_float = weights is not None and weights.dtype == np.float32 and weights.shape[1] == graph.shape(source)[-1]
    return is_float and _bias(graph, op) is not None


def _bias(graph: Graph, op: Any) -> Array | None:
    """The bias of a dense layer, zero if it has none; None if it is not a constant."""
    has_bias = len(op.inputs) > 2 and op.inputs[2] >= 0
    return graph.constant(int(op.inputs[2])) if has_bias else np.zeros((), np.float32)


def rounding_db(features: Array, weights: Array, ranges: Array) -> float:
    """The signal to noise of a dense layer's sums, dB, if its features and its weights are rounded to 8 bits.

    Args:
        features: Items, float64, shape (n, features).
        weights: float64, shape (outputs, features); each output has a scale of its own.
        ranges: The range that the steps of each feature divide, shape (features,).
    """
    signal = (features @ weights.T).var(axis=0).sum()
    of_features = (weights**2 @ (ranges / LEVELS) ** 2 / 12).sum()
    errors = weights - round_to_grid(weights, 0)
    of_weights = np.square(features @ errors.T).mean(axis=0).sum()
    noise = max(of_features + of_weights, np.finfo(np.float64).tiny)
    return float(10 * np.log10(max(signal, np.finfo(np.float64).tiny) / noise))


FEATURE_ITEMS = 1000
"""Most calibration items that the ranges of features are measured on."""
SCALED = "the features of the input are scaled in float, because their ranges differ too much for one scale"
MEAN_FREE = "the logits of each item have the mean 0, because what they share is larger than their differences"
WHAT: dict[StageName, str] = {
    "feature-scaling": SCALED,
    "logit-means": MEAN_FREE,
}
"""What stages do for all kinds of repairs, in words."""


def repair(
    model: bytes,
    batches: Batches,
    scorer: Scorer,
    *,
    input_range: InputRange = None,
    wanted: Collection[RepairKind] = ("exact", "dynamic", "weights", "int8"),
    repairs: bool = True,
    method: CalibrationMethod = "minmax",
) -> Repaired:
    """Repair a float graph.

    Args:
        model: The float `.tflite`, batch 1.
        batches: The calibration items; repairs of large nets use the first of them.
        scorer: Scores files on items that are not among these, where there are others.
        input_range: Range of the input, if it is known beforehand.
        wanted: The kinds of repairs that are needed.
        repairs: Whether constants may be changed.
        method: How ranges follow from the calibration items, for the kinds "int8" and "int4".

    Raises:
        ConversionError: The model does not run on the items, or the quantizer refuses it.
    """
    kinds = [kind for kind in RECIPES if kind in wanted]
    start = partial(Pipeline, batches=batches, scorer=scorer, input_range=input_range, repairs=repairs)
    pipeline = start(model)
    if pipeline.program is not None:
        scaled = with_scaled_features(model, lambda count: first_items(batches, min(count, FEATURE_ITEMS)))
        if scaled is not model:
            pipeline = _choose(pipeline, start(scaled), kinds, "feature-scaling")
    if pipeline.program is not None and scorer.exclusive:
        mean_free = with_mean_free_logits(pipeline.model, pipeline.items)
        if mean_free is not pipeline.model:
            pipeline = _choose(pipeline, start(mean_free), kinds, "logit-means")
    return pipeline.run(kinds, method)


def _choose(plain: Pipeline, changed: Pipeline, kinds: Collection[RepairKind], name: StageName) -> Pipeline:
    """The pipeline of the changed graph if that helps files that are not sound and harms none; else the plain one.

    The mean of logits is taken out of files that are not sound unless that clearly loses items: the step of their
    answers is finer without it, but noise from elsewhere may hide that until ranges are chosen.
    """
    scores = {kind: (plain.score_plain(kind).score, changed.score_plain(kind).score) for kind in kinds}
    unsound = [(before, after) for before, after in scores.values() if not before.sound]
    if name == "logit-means":
        kept = bool(unsound) and not any(before.gained(after, CHANCE) > 0 for before, after in scores.values())
    else:
        helps = any(after.better_than(before) for before, after in unsound)
        kept = helps and not any(before.better_than(after) for before, after in scores.values())
    chosen = changed if kept else plain
    stages = [Stage(name, kind, kept, before, after, WHAT[name]) for kind, (before, after) in scores.items()]
    chosen.stages = plain.stages + stages
    if kept:
        changed.is_changed = True
        changed.notes = [*plain.notes, WHAT[name]]
    return chosen
