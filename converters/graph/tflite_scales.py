"""How a quantized TFLite file stores the tensors of the float graph that it was made from, found by name."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from edgepress.converters.graph.program import Program
from edgepress.converters.graph.simulate import HALVES, REPEATS, Scales, TensorGrid
from edgepress.converters.to_tflite.graph import Graph

LIMITS = {17: (-8, 7), 9: (-128, 127), 3: (0, 255), 7: (-32768, 32767), 2: (-(2**31), 2**31 - 1)}
"""Smallest and largest value of int4, int8, uint8, int16 and int32, by the schema's `TensorType`."""
INT4 = 17


def scales_of_tflite(program: Program, quantized: bytes) -> Scales:
    """How a TFLite file stores the tensors of the program that it was made from.

    Args:
        program: The float graph that litert-quantizer was given.
        quantized: What it made, with any ends (`to_tflite.convert.with_scheme`).
    """
    graph = Graph(quantized)
    makers, steps = graph.makers(), {step.output: step for step in program.steps}
    own = {program.source, *(name for step in program.steps for name in step.outputs)}

    def stored(index: int, name: str) -> tuple[TensorGrid, ...]:
        """How the values of a tensor of the program are rounded, one after the other, until this tensor holds them."""
        grids: list[TensorGrid] = []
        while index >= 0:
            rounding, op = rounding_of(graph, index), makers.get(index)
            if rounding is not None and (not grids or grids[0].key != rounding.key):
                grids[:1] = [rounding, *(_convert_grid(rounding, later) for later in grids[:1])]
            if graph.name(index) == name or (op is None and name in program.constants):
                return tuple(grids)
            index = int(op.inputs[0]) if op is not None and graph.kind(op) in REPEATS else -1
        return ()  # of a tensor that the file has instead

    tensors, reads = {}, {}
    for index in range(len(graph.table.tensors)):
        name = graph.name(index)
        if name in own and (rounding := rounding_of(graph, index)) is not None:
            step = steps.get(name)
            tensors[name] = replace(rounding, halves=HALVES.get(step.kind, "even")) if step else rounding
    for op in graph.operators:
        step = None if graph.kind(op) in REPEATS else steps.get(graph.name(int(op.outputs[0])))
        if step is None:
            continue
        if step.kind == "CONV_2D" and graph.table.tensors[int(op.inputs[1])].type == INT4:
            places = [rounding_of(graph, int(i)) for i in (*op.inputs[:2], op.outputs[0])]
            if len(known := [rounding for rounding in places if rounding is not None]) == len(places):
                tensors[step.output] = _twice(*known)
        for place, (name, index) in enumerate(zip(step.inputs, op.inputs, strict=False)):
            if name and (roundings := stored(int(index), name)[name in tensors :]):
                reads[step.output, place] = roundings
    if end := stored(int(graph.table.outputs[0]), program.sink)[program.sink in tensors :]:
        tensors[program.sink] = end[0]
    return _merge_roundings(program, tensors, reads)


def rounding_of(graph: Graph, index: int) -> TensorGrid | None:
    """How a file stores one of its tensors; None if not in integers of at most 32 bits."""
    tensor, (scales, zeros) = graph.table.tensors[index], graph.scales(index)
    if not scales or tensor.type not in LIMITS:
        return None
    shape = [1] * len(graph.shape(index))
    if len(scales) > 1:
        shape[tensor.quantization.quantizedDimension] = len(scales)
    scale = np.array(scales, np.float32).reshape(shape if len(scales) > 1 else ())
    return TensorGrid(scale, zeros[0], *LIMITS[tensor.type])


def _twice(source: TensorGrid, weights: TensorGrid, output: TensorGrid) -> TensorGrid:
    """How LiteRT's own kernels, which compute convolutions of 4-bit weights, round sums.

    They multiply by a factor in [0.5, 1) and round, then divide by a power of two and round again
    (`MultiplyByQuantizedMultiplier` in kernels/internal/common.h).
    """
    _, exponent = np.frexp(np.ravel(source.scale * weights.scale) / output.scale)
    return replace(output, halves="up", parts=np.exp2(np.maximum(-exponent, 0)).astype(np.float32))


def _convert_grid(first: TensorGrid, second: TensorGrid) -> TensorGrid:
    """The second of two roundings: from int8 to int8, XNNPACK multiplies by 8 binary places (src/qs8-vcvt)."""
    if second.high - second.low != 255 or first.high - first.low != 255:
        return second
    factor = float(first.scale / second.scale)
    return replace(second, halves="up", gain=round(256 * factor) / 256 / factor)


def _merge_roundings(
    program: Program, tensors: dict[str, TensorGrid], reads: dict[tuple[str, int], tuple[TensorGrid, ...]]
) -> Scales:
    """Scales without roundings of single readers where all readers of a tensor or a constant have the same one."""
    constants: dict[str, TensorGrid] = {}
    readers: dict[str, list[tuple[str, int]]] = {}
    for step in program.steps:
        for place, name in enumerate(step.inputs):
            readers.setdefault(name, []).append((step.output, place))
    for name, places in readers.items():
        read = [reads.get(place, ()) for place in places]
        keys = {tuple(r.key for r in roundings) for roundings in read}
        if len(keys) == 1 and len(read[0]) == 1 and name not in tensors:
            (constants if name in program.constants else tensors)[name] = read[0][0]
            for reader in places:
                del reads[reader]
    return Scales(tensors, constants, reads)
