"""Derive the operations with their types, and the peak memory, from a file's graph; and what becomes of float islands.

An island is a chain from a DEQUANTIZE of 8 bits to a QUANTIZE to 8 bits. If what is between depends on one value only,
XNNPACK computes the results of all 256 values when the file is opened and looks them up from then on
(`rewrites/lookup_islands.py` names the place in its source).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from edgepress.converters.inspection import graph as g
from edgepress.converters.inspection.report import Node
from edgepress.converters.to_tflite.convert import ISLAND

TABLE = "look-up table"
KERNEL = "float kernel"
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


def describe(
    graph: g.InspectedGraph,
    *,
    conversions: Sequence[str],
    as_run: Mapping[int, g.InspectedStep | None] | None = None,
    dynamic: Collection[int] = (),
    islands: Mapping[int, str] | None = None,
    main: int | None = None,
    items: int = 1,
) -> dict[str, Any]:
    """The fields of `Inspection` that follow from a graph.

    Args:
        graph: The file's graph, as its reader built it.
        conversions: Kinds of operations that only convert one type to another.
        as_run: Steps that the engine runs differently from the file, by position; None if it skips them.
        dynamic: Positions of steps whose data are quantized while the model runs.
        islands: What the engine makes of steps of float islands, by position (`island_implementations`).
        main: Number of steps that run one after another; the others are the bodies of control flow.
        items: Batch size of the graph's shapes. Multiply-accumulates are divided by it; the memory for one item does
            not follow from it.
    """
    known = g.known_beforehand(graph)
    counts = g.parameters(graph)
    steps = [(as_run or {}).get(position, step) for position, step in enumerate(graph.steps)]
    labels = islands or {}
    values = dict(graph.values)
    for name in unmade(graph, labels):
        values[name] = dataclasses.replace(values[name], shape=(0,))
    run = dataclasses.replace(graph, steps=tuple(s for s in steps[:main] if s), values=values)
    peak = g.peak_memory(run)
    nodes = []
    for position, (written, step, count) in enumerate(zip(graph.steps, steps, counts, strict=True)):
        types, kind = _types(graph, step or written, known, conversions)
        node = Node(
            operation=written.operation,
            name=written.name,
            version=written.version,
            data_types=types,
            computes_in="dynamic" if position in dynamic else kind,
            parameters=count,
            macs=None if written.macs is None or written.macs % items else written.macs // items,
            becomes=labels.get(position, ""),
        )
        nodes.append(node)
    notes: tuple[str, ...] = ()
    if peak.unknown:
        notes = (f"The size of {len(peak.unknown)} tensors is not known, so neither is the peak.",)
    if items > 1:
        peak_of_all = "" if peak.size_bytes is None else f"; for all it is {peak.size_bytes} bytes"
        notes += (
            f"The first dimension of its inputs and outputs is {items}, taken as a batch that can't be changed: "
            f"multiply-accumulates are for one item, the peak for one is not known{peak_of_all}.",
        )
    return {
        "nodes": tuple(nodes),
        "peak_activation_bytes": None if items > 1 else peak.size_bytes,
        "peak_node": peak.step.name if peak.step and items == 1 else "",
        "unpacked_weights_bytes": g.unpacked_bytes(run),
        "notes": notes,
    }


def _types(
    graph: g.InspectedGraph, step: g.InspectedStep, known: Collection[str], conversions: Sequence[str]
) -> tuple[str, str]:
    """The types of a step's data, weights and result as text, and the type that it computes in."""
    data = g.activations_of(graph, step, known)
    weights = g.weights_of(graph, step, known)
    value = next((graph.values[n] for n in step.outputs if n in graph.values), None)
    read = list(dict.fromkeys(v.dtype for v in data if v.real or not any(d.real for d in data)))
    text = " x ".join([*read, *([weights.dtype] if weights else [])]) + f" -> {value.dtype if value else '?'}"
    if not data:
        return text, "constant" if step.outputs else ""
    if step.operation in conversions:
        return text, "conversion"
    real = [v for v in (*data, value) if v and v.real] if value is None or value.real else []
    floats = [v.dtype for v in real if v.dtype in g.FLOATS]
    if floats:
        return text, "dynamic" if weights is not None and weights.dtype not in g.FLOATS else floats[0]
    return text, real[0].dtype if real else "other"


def island_implementations(graph: g.InspectedGraph) -> Mapping[int, str]:
    """How the engine computes steps of float islands, by position: "look-up table" or "float kernel"."""
    readers: dict[str, list[int]] = {name: [-1] for name in graph.outputs}
    for position, step in enumerate(graph.steps):
        for name in dict.fromkeys(step.inputs):
            readers.setdefault(name, []).append(position)
    kinds: dict[int, str] = {}
    for position, step in enumerate(graph.steps):
        if step.operation == "DEQUANTIZE" and _dtype(graph, step.inputs[0]) in BYTES:
            kinds |= dict.fromkeys(_table(graph, position, readers), TABLE)
        elif ISLAND.match(step.name) and step.operation != "QUANTIZE":
            kinds.setdefault(position, KERNEL)
    return kinds


def unmade(graph: g.InspectedGraph, islands: Mapping[int, str]) -> list[str]:
    """Names of the tensors inside tables, which take no memory."""
    inside = [graph.steps[position] for position, name in islands.items() if name == TABLE]
    return [name for step in inside if step.operation != "QUANTIZE" for name in step.outputs]


def _table(graph: g.InspectedGraph, position: int, readers: Mapping[str, list[int]]) -> list[int]:
    """The positions of the chain that begins at a DEQUANTIZE, if it is a table; else none."""
    chain = [position]
    while len(chain) < LONGEST:
        output = graph.steps[chain[-1]].outputs[0]
        following = readers.get(output, [])
        if len(following) != 1 or following[0] < 0 or not _elementwise(graph, graph.steps[following[0]], output):
            return []
        chain.append(following[0])
        if graph.steps[chain[-1]].operation == "QUANTIZE":
            return chain if _dtype(graph, graph.steps[chain[-1]].outputs[0]) in BYTES else []
    return []


def _elementwise(graph: g.InspectedGraph, step: g.InspectedStep, source: str) -> bool:
    if step.operation in UNARY:
        return len(step.inputs) == 1
    others = [graph.values.get(name) for name in step.inputs if name != source]
    if step.operation not in BINARY or len(step.inputs) != 2 or len(others) != 1:
        return False
    (other,) = others
    return other is not None and other.constant and other.shape is not None and math.prod(other.shape) == 1


def _dtype(graph: g.InspectedGraph, name: str) -> str:
    value = graph.values.get(name)
    return "" if value is None or value.constant else value.dtype
