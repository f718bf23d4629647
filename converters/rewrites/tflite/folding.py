"""Rewrites that fold factors, shifts, means and pools of TFLite graphs into the convolutions beside them.

Input layers of Keras (Rescaling, Normalization) and adapters leave one to four operations on the whole image: MUL, SUB,
ADD, DIV, and GATHER where the model takes blue first. XNNPACK works on them in rows of three channels if they have a
constant for each (`xnn_compute_elementwise_binary`), which takes as long as several convolutions, and does not take
GATHER at all.

With y = a x + b, a convolution of y is one of x + b/a with its kernel times a. So one operation is left, x - mean, and
none if b is 0. Where the convolution pads, each channel keeps its own mean, because zeros stand for it. Where it does
not, they have one, and the rest goes into the bias. All of it could; but then rounded weights, of 16 or 8 bits, would
be multiplied with pixels that are all far from 0, and lose what the mean takes off (ConvNeXt, float16: 0.8 dB).

A pool of one value, which only leaves out rows and columns, goes into the strides of the 1x1 convolutions behind it.

XNNPACK does not take AVERAGE_POOL_2D or MAX_POOL_2D whose stride is larger than the filter (LiteRT,
tflite/delegates/xnnpack/xnnpack_delegate.cc, `CheckPoolingParams`), so such a pool, as NASNet has in its reduction
cells, runs in a built-in kernel and divides the graph.

A factor and a shift for each channel become one depthwise convolution of 1x1.

Normalization layers that no convolution precedes, as in DenseNet, arrive as MUL and ADD with a constant for each
channel. XNNPACK has a kernel for exactly that, `vmulcaddc`, which it takes for 1x1 depthwise convolutions
(`select_microkernel_type` in src/operators/convolution-nhwc.c) and which applies the activation as well: one pass
instead of three. In integer files nothing is rounded between the two.

The scale of an integer bias is that of the input times that of the weights, so a shift that is very large beside its
factor does not fit into 32 bits, and litert-quantizer cuts it off without an error. Such pairs, as trained
normalization has where a channel is dead, are left alone; so are files of 16-bit activations, whose scales are finer,
and which XNNPACK does not run.

Pixels lose one mean for all channels, where an integer file would take one for each off.

A SUB with a constant for each of three channels works in rows of three (`fold_normalization`), and takes as long as a
convolution. With one mean it is ten times faster, and pixels stay exact: whole numbers minus a whole number. The
differences go into the bias of the convolution behind it. Only at the borders, where zeros stand for the means, an
answer changes: the pads are off by at most an eighth of the mean, 10 of 255 grey levels for the usual ones of ImageNet.
Of a large image few taps are there; where they are many, the error would exceed the rounding of int8.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from edgepress.converters.arrays import Array
from edgepress.converters.rewrites.tflite.windows import (
    FUSED,
    VALID,
    activation,
    axes_of,
    float_constant,
    fold_affine,
    is_image,
    operand,
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


def rewrite_fold_normalization(graph: Graph) -> int:
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


_POOLS = ("AVERAGE_POOL_2D", "MAX_POOL_2D")


def find_fold_pool(graph: Graph) -> Iterator[Any]:
    """Every pool with windows of one value that only 1x1 convolutions read."""
    readers = graph.readers()
    for pool in [op for op in graph.operators if graph.kind(op) in _POOLS and _picks(op)]:
        after = readers.get(result(pool), [])
        if after and all(op is not None and _is_pointwise(graph, op, result(pool)) for op in after):
            yield pool


def change_fold_pool(graph: Graph, pool: Any) -> None:
    """Remove a pool."""
    for op in graph.readers()[result(pool)]:
        op.inputs = [operand(pool), *op.inputs[1:]]
        op.builtinOptions.strideH *= pool.builtinOptions.strideH
        op.builtinOptions.strideW *= pool.builtinOptions.strideW
    graph.operators.remove(pool)


def _picks(pool: Any) -> bool:
    """Whether a pool has windows of one value, and is not just a copy."""
    options = pool.builtinOptions
    one = (options.filterHeight, options.filterWidth) == (1, 1)
    return one and (options.strideH, options.strideW) != (1, 1) and not activation(pool)


def _is_pointwise(graph: Graph, op: Any, tensor: int) -> bool:
    return graph.kind(op) == "CONV_2D" and int(op.inputs[0]) == tensor and graph.shape(int(op.inputs[1]))[1:3] == (1, 1)


MIN_CHANNELS = 8
"""Channels from which on it is faster."""
DEAD = 2.0**-10
"""Smallest factor as a share of its shift. Then int8 biases fit if the input reaches 1/64."""


class _Pair(NamedTuple):
    """A product and the sum behind it, the images that it takes, and what they are multiplied by and shifted by."""

    mul: Any
    add: Any
    source: int
    factors: Array
    shifts: Array


def find_channel_affine(graph: Graph) -> list[_Pair]:
    """Every product and sum with a constant for each channel."""
    readers = graph.readers()
    products = [op for op in graph.operators if graph.kind(op) == "MUL" and not activation(op)]
    pairs = (_pair(graph, op, only_reader(readers, result(op))) for op in products)
    return [pair for pair in pairs if pair is not None]


def _pair(graph: Graph, mul: Any, add: Any) -> _Pair | None:
    if add is None or graph.kind(add) not in ("ADD", "SUB") or activation(add) not in FUSED:
        return None
    scaled, shifted = (_by_channel(graph, op) for op in (mul, add))
    if scaled is None or shifted is None:
        return None
    (source, factors), (product, shifts) = scaled, shifted
    if graph.kind(add) == "SUB":
        if int(add.inputs[0]) != product:
            return None
        shifts = -shifts
    return None if (abs(factors) < DEAD * abs(shifts)).any() else _Pair(mul, add, source, factors, shifts)


def _by_channel(graph: Graph, op: Any) -> tuple[int, Array] | None:
    """The images that an operation takes, and its constant, one value a channel; None if it is something else."""
    for index, other in itertools.permutations(int(i) for i in op.inputs):
        values = float_constant(graph, other)
        if values is None or not is_image(graph, index) or graph.shape(result(op)) != graph.shape(index):
            continue
        *_, channels = graph.shape(index)
        if channels >= MIN_CHANNELS and (values.size, *values.shape[-1:]) == (channels, channels):
            return index, values.ravel()
    return None


def change_channel_affine(graph: Graph, pair: _Pair) -> None:
    """Replace a pair by the convolution."""
    taps = graph.add_constant(pair.factors.reshape(1, 1, 1, len(pair.factors)))
    new = graph.operator(
        "DEPTHWISE_CONV_2D",
        [pair.source, taps, graph.add_constant(pair.shifts)],
        result(pair.add),
        padding=VALID,
        strideH=1,
        strideW=1,
        depthMultiplier=1,
        fusedActivationFunction=activation(pair.add),
    )
    graph.operators.remove(pair.mul)
    graph.replace(pair.add, new)


MIN_MEAN = 8.0
"""Least mean of pixels of 0-255."""
NEAR = 1 / 8
"""Largest difference of two means as a share of their mean."""
ERROR = 1.0
"""Largest mean square, in grey levels, of what that changes over all taps: 36 dB below pixels whose standard deviation
is 60."""


def rewrite_single_mean(graph: Graph) -> int:
    """Replace the means that are taken off the graph's input; returns 1 if there are any."""
    return sum(_rewrite_behind_single_mean(graph, int(source)) for source in graph.table.inputs)


def _rewrite_behind_single_mean(graph: Graph, source: int) -> int:
    """The same behind one input."""
    readers = graph.readers()
    sub = only_reader(readers, source)
    if sub is None or graph.kind(sub) != "SUB" or int(sub.inputs[0]) != source or activation(sub):
        return 0
    means = graph.constant(int(sub.inputs[1]))
    if means is None or not is_image(graph, source):
        return 0
    *_, channels = graph.shape(source)
    if means.size != 1 and (means.size, means.shape[-1]) != (channels, channels):
        return 0
    op = only_reader(readers, result(sub))
    pads = spatial_pads(graph, op)
    if pads is not None:
        op = only_reader(readers, result(op))
    if op is None or not takes_channels(graph, op, channels):
        return 0
    mean = np.rint(means.mean())
    if (means == mean).all() or abs(mean) < MIN_MEAN or np.abs(means - mean).max() > NEAR * abs(mean):
        return 0
    inside = math.prod(axis.inside(pad) for axis, pad in zip(axes_of(graph, op), pads or ((0, 0), (0, 0)), strict=True))
    if (1 - inside) * np.square(means - mean).mean() > ERROR:
        return 0
    shift = np.broadcast_to((mean - means).ravel(), channels)
    set_weights(graph, op, *fold_affine(graph, op, np.ones(channels), shift))
    sub.inputs = [source, graph.add_constant(np.array(mean, np.float32))]
    return 1
