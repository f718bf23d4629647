"""What scales an input before its first convolution goes into the weights of that convolution.

Input layers of Keras (Rescaling, Normalization) and adapters leave one to four operations on the whole image: MUL, SUB,
ADD, DIV, and GATHER where the model takes blue first. XNNPACK works on them in rows of three channels if they have a
constant for each (`xnn_compute_elementwise_binary`), which takes as long as several convolutions, and does not take
GATHER at all.

With y = a x + b, a convolution of y is one of x + b/a with its kernel times a. So one operation is left, x - mean, and
none if b is 0. Where the convolution pads, each channel keeps its own mean, because zeros stand for it. Where it does
not, they have one, and the rest goes into the bias. All of it could; but then rounded weights, of 16 or 8 bits, would
be multiplied with pixels that are all far from 0, and lose what the mean takes off (ConvNeXt, float16: 0.8 dB).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from edgepress.converters.arrays import Array
from edgepress.converters.rewrites.tflite.windows import (
    activation,
    axes_of,
    float_constant,
    fold_affine,
    is_image,
    result,
    set_weights,
    spatial_pads,
    takes_channels,
)
from edgepress.converters.to_tflite.graph import Graph, only_reader

LARGEST = 64.0
"""Largest shift in units of the scaled input, which costs that many times the rounding of float32."""
WIDEST = 8.0
"""Largest ratio of two channels' factors, because weights of 8 bits have one scale for all input channels."""


def rewrite(graph: Graph) -> int:
    """Fold what is between the graph's input and its first convolution; returns the number of operations."""
    return sum(_rewrite_behind(graph, int(source)) for source in graph.table.inputs)


def _rewrite_behind(graph: Graph, source: int) -> int:
    """The same behind one input."""
    if not is_image(graph, source) or graph.dtype(source) != np.float32:
        return 0
    *_, channels = graph.shape(source)
    readers = graph.readers()
    chain = []
    at = source
    order = np.arange(channels)
    a = np.ones(channels)
    b = np.zeros(channels)
    while (op := only_reader(readers, at)) is not None and (step := _step(graph, op, at, channels)) is not None:
        picked, factor, shift = step
        order = order[picked]
        a = factor * a[picked]
        b = factor * b[picked] + shift
        chain.append(op)
        at = result(op)
    pad = op if spatial_pads(graph, op) is not None else None
    conv = only_reader(readers, result(pad)) if pad is not None else op
    if not chain or conv is None or not takes_channels(graph, conv, channels):
        return 0
    if graph.kind(conv) == "DEPTHWISE_CONV_2D" and (order != np.sort(order)).any():
        return 0
    if not np.isfinite(a).all() or not a.all() or np.max(abs(b)) > LARGEST or np.max(abs(a)) > WIDEST * np.min(abs(a)):
        return 0
    mean = (-b / a)[np.argsort(order)]
    factors = a[np.argsort(order)]
    padded = pad is not None or any(any(axis.pads) for axis in axes_of(graph, conv))
    differ = bool(np.ptp(mean))
    left = mean if padded and differ else np.array(mean.mean())
    if mean.any() and len(chain) == 1 and (padded or not differ):
        return 0
    if graph.kind(conv) == "CONV_2D":
        kernel = graph.constant(int(conv.inputs[1]))
        assert kernel is not None
        conv.inputs = [int(conv.inputs[0]), graph.add_constant(kernel[..., np.argsort(order)]), *conv.inputs[2:]]
    set_weights(graph, conv, *fold_affine(graph, conv, factors, factors * (left - mean)))
    if mean.any():
        constant = graph.add_constant(left.astype(np.float32))
        graph.insert_before(chain[0], graph.operator("SUB", [source, constant], at))
    else:
        first = pad if pad is not None else conv
        first.inputs = [source, *first.inputs[1:]]
    for op in chain:
        graph.operators.remove(op)
    return len(chain)


def _step(graph: Graph, op: Any, tensor: int, channels: int) -> tuple[Array, Array, Array] | None:
    """An operation as a choice of channels, factors and shifts; None if it is something else."""
    kind = graph.kind(op)
    inputs = [int(i) for i in op.inputs]
    everything = np.arange(channels)
    ones = np.ones(channels)
    none = np.zeros(channels)
    if kind not in ("GATHER", "MUL", "ADD", "SUB", "DIV") or graph.shape(result(op)) != graph.shape(tensor):
        return None
    if kind == "GATHER":
        picked = graph.constant(inputs[1])
        options = op.builtinOptions
        if options is None or options.axis not in (3, -1) or picked is None:
            return None
        return (picked.ravel(), ones, none) if sorted(picked.ravel()) == everything.tolist() else None
    place = inputs.index(tensor)
    values = float_constant(graph, inputs[1 - place])
    if values is None or activation(op):
        return None
    if values.size != 1 and (values.size, values.shape[-1]) != (channels, channels):
        return None
    c = np.broadcast_to(values.ravel().astype(float), channels)
    if kind == "MUL":
        return everything, c, none
    if kind == "ADD":
        return everything, ones, c
    if kind == "SUB":
        return (everything, ones, -c) if place == 0 else (everything, -ones, c)
    return (everything, 1 / c, none) if place == 0 and c.all() else None
