"""Features of different ranges are brought to one range in front of a dense layer that reads them.

A tensor of integers has one scale, so features of small range are rounded away beside those of large range. Trained
nets even them out by a first normalization, which TFLite's converter puts into the weights of the dense layer behind it
if that is a BatchNormalization. It is taken out again here, with ranges from calibration data: the features are shifted
and scaled, and the weights and the bias undo that. `to_tflite.normalization` then keeps both operations in float.
"""

from __future__ import annotations

import numpy as np

from edgepress.converters.arrays import Array
from edgepress.converters.to_tflite.graph import Graph, only_reader
from edgepress.converters.to_tflite.normalization import MOST_DIMENSIONS, VIEWS

LEVELS = 255
"""Steps of an 8-bit range."""
ENOUGH_DB = 30.0
"""Signal to noise, dB, from which on the input may be rounded with one scale."""
LEAST_GAIN_DB = 6.0
"""What a scale for each feature must gain at least, dB."""


def with_scaled_features(model: bytes, items: Array) -> bytes:
    """A float model whose features have one range, if their rounding would cost too much; else the same bytes.

    Args:
        model: A float `.tflite` model of one item.
        items: Calibration items, shape (n, *item shape).
    """
    graph = Graph(model)
    at = int(graph.table.inputs[0])
    if graph.dtype(at) != np.float32 or len(graph.shape(at)) > MOST_DIMENSIONS:
        return model
    readers = graph.readers()
    while (dense := only_reader(readers, at)) is not None and graph.kind(dense) in VIEWS:
        at = int(dense.outputs[0])
    if dense is None or graph.kind(dense) != "FULLY_CONNECTED" or int(dense.inputs[0]) != at:
        return model
    has_bias = len(dense.inputs) > 2 and dense.inputs[2] >= 0
    bias = graph.constant(int(dense.inputs[2])) if has_bias else np.zeros((), np.float32)
    weights = graph.constant(int(dense.inputs[1]))
    features = items.reshape(len(items), -1).astype(np.float64)
    if weights is None or bias is None or weights.dtype != np.float32:
        return model
    if not weights.shape[1] == features.shape[1] == graph.shape(at)[-1]:
        return model
    real = weights.astype(np.float64)
    low = np.min(features, axis=0)
    high = np.max(features, axis=0)
    middle = ((low + high) / 2).astype(np.float32).astype(np.float64)
    half = (high - low) / 2
    half[half == 0] = 1.0
    whole = np.full_like(half, max(float(np.max(high)), 0) - min(float(np.min(low)), 0))
    now, then = (rounding_db(features, real, ranges) for ranges in (whole, high - low))
    if now >= ENOUGH_DB or then < now + LEAST_GAIN_DB:
        return model
    shifted, scaled = (graph.add_tensor(graph.shape(at), f"features/{what}", at) for what in ("shifted", "scaled"))
    shift, scale = (graph.add_constant(each.astype(np.float32)) for each in (middle, 1 / half))
    graph.insert_before(
        dense,
        graph.operator("SUB", [at, shift], shifted),
        graph.operator("MUL", [shifted, scale], scaled),
    )
    own_bias = real @ middle + bias
    inputs = [scaled, graph.add_constant((real * half).astype(np.float32), graph.name(int(dense.inputs[1])))]
    dense.inputs = np.array([*inputs, graph.add_constant(own_bias.astype(np.float32))], np.int32)
    return graph.to_bytes()


def rounding_db(features: Array, weights: Array, ranges: Array) -> float:
    """The signal to noise of a dense layer's sums, dB, if its features are rounded to 8 bits.

    Args:
        features: Items, float64, shape (n, features).
        weights: float64, shape (outputs, features).
        ranges: The range that the steps of each feature divide, shape (features,).
    """
    signal = (features @ weights.T).var(axis=0).sum()
    noise = (weights**2 @ (ranges / LEVELS) ** 2 / 12).sum()
    return float(10 * np.log10(max(signal, np.finfo(np.float64).tiny) / max(noise, np.finfo(np.float64).tiny)))
