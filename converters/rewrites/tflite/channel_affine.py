"""A factor and a shift for each channel become one depthwise convolution of 1x1.

Normalization layers that no convolution precedes, as in DenseNet, arrive as MUL and ADD with a constant for each
channel. XNNPACK has a kernel for exactly that, `vmulcaddc`, which it takes for 1x1 depthwise convolutions
(`select_microkernel_type` in src/operators/convolution-nhwc.c) and which applies the activation as well: one pass
instead of three. In integer files nothing is rounded between the two.

The scale of an integer bias is that of the input times that of the weights, so a shift that is very large beside its
factor does not fit into 32 bits, and litert-quantizer cuts it off without an error. Such pairs, as trained
normalization has where a channel is dead, are left alone; so are files of 16-bit activations, whose scales are finer,
and which XNNPACK does not run.
"""

from __future__ import annotations

import itertools
from typing import Any, NamedTuple

from edgepress.converters.arrays import Array
from edgepress.converters.rewrites.tflite.windows import FUSED, VALID, activation, float_constant, is_image, result
from edgepress.converters.to_tflite.graph import Graph, only_reader

LEAST = 8
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


def matches(graph: Graph) -> list[_Pair]:
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
        if channels >= LEAST and (values.size, *values.shape[-1:]) == (channels, channels):
            return index, values.ravel()
    return None


def change(graph: Graph, pair: _Pair) -> None:
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
