"""Operations that the quantizer leaves in float use the int8 kernels that LiteRT has, for hardware without floats.

litert-quantizer has no recipe for LEAKY_RELU, PRELU, ELU, ABS, EXP and LOG, and puts them between DEQUANTIZE and
QUANTIZE. LiteRT has int8 kernels of them (tflite/kernels/activations.cc, elementwise.cc, exp.cc), which compute by a
table or with integer multipliers, for whatever scales the tensors around have.
"""

from __future__ import annotations

import numpy as np

from edgepress.converters.rewrites.tflite.int8 import add_int8_constant, is_int8
from edgepress.converters.rewrites.tflite.windows import float_constant, result
from edgepress.converters.to_tflite.graph import Graph, only_reader

KERNELS = {"LEAKY_RELU", "PRELU", "ELU", "ABS", "EXP", "LOG"}


def rewrite(graph: Graph) -> int:
    """Let each such operation read and make int8; returns their number."""
    makers = graph.makers()
    count = 0
    for op in [op for op in graph.operators if graph.kind(op) in KERNELS]:
        before = makers.get(int(op.inputs[0]))
        after = only_reader(graph.readers(), result(op))
        if before is None or graph.kind(before) != "DEQUANTIZE" or after is None or graph.kind(after) != "QUANTIZE":
            continue
        source = int(before.inputs[0])
        output = result(after)
        slopes = [_in_int8(graph, int(i)) for i in op.inputs[1:]]
        if not is_int8(graph, source, output) or None in slopes:
            continue
        op.inputs = [source, *slopes]
        op.outputs = [output]
        graph.operators.remove(after)
        if result(before) not in graph.readers():
            graph.operators.remove(before)
        count += 1
    return count


def _in_int8(graph: Graph, tensor: int) -> int | None:
    """A float constant in int8, around 0; None if it is none."""
    values = float_constant(graph, tensor)
    if values is None:
        return None
    scale = float(np.abs(values).max()) / np.iinfo(np.int8).max or 1.0
    return add_int8_constant(graph, np.round(values / scale).astype(np.int8), scale)
