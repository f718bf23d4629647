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

from typing import Any

import numpy as np

from edgepress.converters.arrays import Array
from edgepress.converters.rewrites.tflite.windows import FUSED, Axis, activation, conv
from edgepress.converters.to_tflite.graph import Graph, only_reader

LEAST = 8
"""Channels from which on it is faster."""
DEAD = 2.0**-10
"""Smallest factor as a share of its shift. Then int8 biases fit if the input reaches 1/64."""


def rewrite(graph: Graph) -> int:
    """Join every such pair; returns their number."""
    readers = graph.readers()
    count = 0
    for mul in [op for op in graph.operators if graph.kind(op) == "MUL" and not activation(op)]:
        add = only_reader(readers, int(mul.outputs[0]))
        if add is None or graph.kind(add) not in ("ADD", "SUB"):
            continue
        factor, shift = (_by_channel(graph, op) for op in (mul, add))
        if factor is None or shift is None or (graph.kind(add) == "SUB" and shift[0] != int(add.inputs[0])):
            continue
        if (abs(factor[1]) < DEAD * abs(shift[1])).any():
            continue
        if (act := activation(add)) not in FUSED:
            continue
        source, (_, height, width, _) = factor[0], graph.shape(factor[0])
        taps = graph.add_constant(factor[1].reshape(1, 1, 1, -1))
        bias = graph.add_constant(-shift[1] if graph.kind(add) == "SUB" else shift[1])
        windows = Axis(height, 1, 1, 1, (0, 0)), Axis(width, 1, 1, 1, (0, 0))
        new = conv(
            graph,
            "DEPTHWISE_CONV_2D",
            [source, taps, bias],
            int(add.outputs[0]),
            windows=windows,
            fusedActivationFunction=act,
        )
        graph.operators.remove(mul)
        graph.replace(add, new)
        count += 1
    return count


def _by_channel(graph: Graph, op: Any) -> tuple[int, Array] | None:
    """The images that an operation takes, and its constant, one value a channel; None if it is something else."""
    for place, index in enumerate(int(i) for i in op.inputs[:2]):
        shape = graph.shape(index)
        values = graph.constant(int(op.inputs[1 - place]))
        if values is None or values.dtype != np.float32 or len(shape) != 4 or min(shape) < 1 or shape[3] < LEAST:
            continue
        if (values.size, values.shape[-1:]) == (shape[3], shape[3:]) and graph.shape(int(op.outputs[0])) == shape:
            return index, values.reshape(-1)
    return None
