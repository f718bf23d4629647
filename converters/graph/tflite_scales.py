"""Read from a quantized TFLite file how it rounds the tensors of its float graph, which have the same names."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from edgepress.converters.graph.program import Program
from edgepress.converters.graph.simulate import HALVES, REPEATS, Scales, TensorGrid
from edgepress.converters.to_tflite.graph import Graph

INTEGER_LIMITS = {17: (-8, 7), 9: (-128, 127), 3: (0, 255), 7: (-32768, 32767), 2: (-(2**31), 2**31 - 1)}
"""Smallest and largest value of int4, int8, uint8, int16 and int32, by the schema's `TensorType`."""
INT4 = 17


def scales_of_tflite(program: Program, quantized: bytes) -> Scales:
    """Read how a TFLite file rounds the tensors of the program that it was made from.

    Args:
        program: The float graph that litert-quantizer was given.
        quantized: What it made, with any data types of its input and output (`to_tflite.convert.with_scheme`).
    """
    graph = Graph(quantized)
    makers = graph.makers()
    steps = {step.output: step for step in program.steps}
    computed = {program.source, *(name for step in program.steps for name in step.outputs)}

    def grids_up_to(index: int, name: str) -> tuple[TensorGrid, ...]:
        """The grids to which the file rounds a tensor of the program, in order, up to a tensor of the file."""
        grids: list[TensorGrid] = []
        while index >= 0:
            grid = grid_of(graph, index)
            op = makers.get(index)
            if grid is not None and (not grids or grids[0].key != grid.key):
                grids[:1] = [grid, *(_second_grid(grid, later) for later in grids[:1])]
            if graph.name(index) == name or (op is None and name in program.constants):
                return tuple(grids)
            index = int(op.inputs[0]) if op is not None and graph.kind(op) in REPEATS else -1
        return ()  # the file's tensor does not come from this tensor of the program

    def further_grids(index: int, name: str) -> tuple[TensorGrid, ...]:
        """The same without the first grid if `tensors` has it."""
        grids = grids_up_to(index, name)
        return grids[1:] if name in tensors else grids

    tensors: dict[str, TensorGrid] = {}
    reads: dict[tuple[str, int], tuple[TensorGrid, ...]] = {}
    for index in range(len(graph.table.tensors)):
        name = graph.name(index)
        if name in computed and (grid := grid_of(graph, index)) is not None:
            step = steps.get(name)
            tensors[name] = replace(grid, halves=HALVES.get(step.kind, "even")) if step else grid
    for op in graph.operators:
        step = None if graph.kind(op) in REPEATS else steps.get(graph.output_name(op))
        if step is None:
            continue
        if step.kind == "CONV_2D" and graph.table.tensors[int(op.inputs[1])].type == INT4:
            grids = [grid_of(graph, int(i)) for i in (*op.inputs[:2], op.outputs[0])]
            if len(present := [grid for grid in grids if grid is not None]) == len(grids):
                tensors[step.output] = _int4_convolution_grid(*present)
        for position, (name, index) in enumerate(zip(step.inputs, op.inputs, strict=False)):
            if name and (further := further_grids(int(index), name)):
                reads[step.output, position] = further
    if further := further_grids(int(graph.table.outputs[0]), program.sink):
        tensors[program.sink] = further[0]
    return _merge_reads(program, tensors, reads)


def grid_of(graph: Graph, index: int) -> TensorGrid | None:
    """The grid to which a file rounds one of its tensors; None if it does not store integers of at most 32 bits."""
    tensor, (scales, zero_points) = graph.table.tensors[index], graph.scales(index)
    if not scales or tensor.type not in INTEGER_LIMITS:
        return None
    shape = [1] * len(graph.shape(index))
    if len(scales) > 1:
        shape[tensor.quantization.quantizedDimension] = len(scales)
    scale = np.array(scales, np.float32).reshape(shape if len(scales) > 1 else ())
    return TensorGrid(scale, zero_points[0], *INTEGER_LIMITS[tensor.type])


def _int4_convolution_grid(source: TensorGrid, weights: TensorGrid, output: TensorGrid) -> TensorGrid:
    """The grid of the output of a convolution with 4-bit weights, which LiteRT's own kernels compute.

    These kernels round sums twice: they multiply by a factor in [0.5, 1) and round, then divide by a power of two and
    round again (`MultiplyByQuantizedMultiplier` in kernels/internal/common.h).
    """
    _, exponent = np.frexp(np.ravel(source.scale * weights.scale) / output.scale)
    return replace(output, halves="up", parts=np.exp2(np.maximum(-exponent, 0)).astype(np.float32))


def _second_grid(first: TensorGrid, second: TensorGrid) -> TensorGrid:
    """The second of two grids that a tensor is rounded to, one after the other.

    From int8 to int8, XNNPACK multiplies by a factor of 8 binary places (src/qs8-vcvt).
    """
    if second.high - second.low != 255 or first.high - first.low != 255:
        return second
    factor = float(first.scale / second.scale)
    return replace(second, halves="up", gain=round(256 * factor) / 256 / factor)


def _merge_reads(
    program: Program, tensors: dict[str, TensorGrid], reads: dict[tuple[str, int], tuple[TensorGrid, ...]]
) -> Scales:
    """Make `Scales`.

    Where all readers read a tensor or a constant with the same grid, the grid moves from `reads` to it.
    """
    constants: dict[str, TensorGrid] = {}
    readers: dict[str, list[tuple[str, int]]] = {}
    for step in program.steps:
        for position, name in enumerate(step.inputs):
            readers.setdefault(name, []).append((step.output, position))
    for name, readers_of_name in readers.items():
        grids = [reads.get(reader, ()) for reader in readers_of_name]
        keys = {tuple(grid.key for grid in grids_of_reader) for grids_of_reader in grids}
        if len(keys) == 1 and len(grids[0]) == 1 and name not in tensors:
            (constants if name in program.constants else tensors)[name] = grids[0][0]
            for reader in readers_of_name:
                del reads[reader]
    return Scales(tensors, constants, reads)
