"""Operations that the quantizer leaves in float use the int8 kernels that LiteRT has, for hardware without floats.

litert-quantizer has no recipe for LEAKY_RELU, PRELU, ELU, ABS, EXP and LOG, and puts them between DEQUANTIZE and
QUANTIZE. LiteRT has int8 kernels of them (tflite/kernels/activations.cc, elementwise.cc, exp.cc), which compute by a
table or with integer multipliers, for whatever scales the tensors around have.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from edgepress.converters.rewrites.tflite.int8 import add_int8_constant, is_int8
from edgepress.converters.rewrites.tflite.windows import float_constant, operand, result
from edgepress.converters.to_tflite.graph import Graph, only_reader

KERNELS = {"LEAKY_RELU", "PRELU", "ELU", "ABS", "EXP", "LOG"}


def matches(graph: Graph) -> Iterator[tuple[Any, Any, Any]]:
    """Each float operation with an int8 kernel, and the DEQUANTIZE and the QUANTIZE around it."""
    makers = graph.makers()
    for op in [op for op in graph.operators if graph.kind(op) in KERNELS]:
        source, *slopes = (int(i) for i in op.inputs)
        before, after = makers.get(source), only_reader(graph.readers(), result(op))
        if _are_ends(graph, before, after) and all(float_constant(graph, i) is not None for i in slopes):
            yield op, before, after


def _are_ends(graph: Graph, before: Any, after: Any) -> bool:
    """Whether one operation makes int8 real numbers, and the other real numbers int8."""
    if before is None or after is None or (graph.kind(before), graph.kind(after)) != ("DEQUANTIZE", "QUANTIZE"):
        return False
    return is_int8(graph, operand(before), result(after))


def change(graph: Graph, match: tuple[Any, Any, Any]) -> None:
    """Let an operation read and make int8."""
    op, before, after = match
    _, *slopes = (int(i) for i in op.inputs)
    op.inputs = [operand(before), *(_in_int8(graph, tensor) for tensor in slopes)]
    op.outputs = [result(after)]
    graph.operators.remove(after)
    if result(before) not in graph.readers():
        graph.operators.remove(before)


def _in_int8(graph: Graph, tensor: int) -> int:
    """A float constant in int8, around 0."""
    values = float_constant(graph, tensor)
    assert values is not None
    scale = float(np.abs(values).max()) / np.iinfo(np.int8).max or 1.0
    return add_int8_constant(graph, np.round(values / scale).astype(np.int8), scale)
