"""Float islands in a TFLite file of integers, and what the CPU delegate makes of them.

An island is a chain from a DEQUANTIZE of 8 bits to a QUANTIZE to 8 bits. If what is between depends on one value only,
XNNPACK computes the results of all 256 values when the file is opened and looks them up from then on
(`rewrites/lookup_islands.py` names the place in its source).
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from edgepress.converters.inspection import graph as g
from edgepress.converters.to_tflite.convert import ISLAND

TABLE, KERNEL = "look-up table", "float kernel"
UNARY = {
    *("ABS", "CEIL", "COS", "DEQUANTIZE", "ELU", "EXP", "FLOOR", "GELU", "HARD_SWISH", "LEAKY_RELU", "LOG", "LOGISTIC"),
    *("NEG", "QUANTIZE", "RELU", "RELU6", "RELU_N1_TO_1", "ROUND", "RSQRT", "SIN", "SQRT", "SQUARE", "TANH"),
}
"""Operations of one tensor that the delegate takes element by element."""
BINARY = {"ADD", "DIV", "MAXIMUM", "MINIMUM", "MUL", "PRELU", "SQUARED_DIFFERENCE", "SUB"}
"""Those of two, which count as one if the other is a constant of one element."""
LONGEST = 10
"""Operations that XNNPACK puts into one table."""
BYTES = ("int8", "uint8")


def becomes(graph: g.Graph) -> Mapping[int, str]:
    """What steps of islands become, by their place: "look-up table", or "float kernel" where a rewrite chose one."""
    readers: dict[str, list[int]] = {name: [-1] for name in graph.outputs}
    for place, step in enumerate(graph.steps):
        for name in dict.fromkeys(step.inputs):
            readers.setdefault(name, []).append(place)
    found: dict[int, str] = {}
    for place, step in enumerate(graph.steps):
        if step.operation == "DEQUANTIZE" and _dtype(graph, step.inputs[0]) in BYTES:
            found |= dict.fromkeys(_table(graph, place, readers), TABLE)
        elif ISLAND.match(step.name) and step.operation != "QUANTIZE":
            found.setdefault(place, KERNEL)
    return found


def unmade(graph: g.Graph, islands: Mapping[int, str]) -> list[str]:
    """Names of the tensors inside tables, which take no memory."""
    inside = [graph.steps[place] for place, name in islands.items() if name == TABLE]
    return [name for step in inside if step.operation != "QUANTIZE" for name in step.outputs]


def _table(graph: g.Graph, place: int, readers: Mapping[str, list[int]]) -> list[int]:
    """The places of the chain that begins at a DEQUANTIZE, if it is a table; else none."""
    chain = [place]
    while len(chain) < LONGEST:
        made = graph.steps[chain[-1]].outputs[0]
        following = readers.get(made, [])
        if len(following) != 1 or following[0] < 0 or not _elementwise(graph, graph.steps[following[0]], made):
            return []
        chain.append(following[0])
        if graph.steps[chain[-1]].operation == "QUANTIZE":
            return chain if _dtype(graph, graph.steps[chain[-1]].outputs[0]) in BYTES else []
    return []


def _elementwise(graph: g.Graph, step: g.Step, source: str) -> bool:
    if step.operation in UNARY:
        return len(step.inputs) == 1
    others = [graph.values.get(name) for name in step.inputs if name != source]
    if step.operation not in BINARY or len(step.inputs) != 2 or len(others) != 1:
        return False
    (other,) = others
    return other is not None and other.constant and other.shape is not None and math.prod(other.shape) == 1


def _dtype(graph: g.Graph, name: str) -> str:
    value = graph.values.get(name)
    return "" if value is None or value.constant else value.dtype
