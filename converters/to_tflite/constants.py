"""Constants of a TFLite graph: computed once where they follow from others, finite, on the grids of what they meet.

A constant without axes has a written shape: litert-quantizer 0.11 copies a constant for operations that it quantizes
otherwise, and gives the copy of one without a shape that of its bytes.

Quantizers round what an operation reads, also if all of it is constant: a dense layer of the zeros that a recurrent net
begins with becomes one that LiteRT refuses, and the places that a sampler reads move. An infinite constant, such as the
mask of an attention, gives its tensor a range without end.

Constants that a quantized TFLite model compares values with, on the grids of these values.

A value may mark something, such as the steps that a Masking layer leaves out. In a file of integers it is rounded to
the grid of its tensor, and the constant that it is compared with to a grid of its own: -1 is -0.996 on one and -1 on
the other, so the mark is never found. Here the constant gets the grid of the values, on which it is the same integer
as its mark. Other bounds stay as they are: rounded to that grid, 0.001 would be 0, which many values are.

Values in steps of 1 or more, such as pixels of 0-255, are compared for equality in float: LiteRT 2.3 aborts at a scale
of exactly 1, and its answers are wrong above it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np

from edgepress.converters.arrays import Array, Floats
from edgepress.converters.numeric.statistics import Ranges
from edgepress.converters.to_tflite import flatbuffer as flat
from edgepress.converters.to_tflite.flatbuffer import FLOAT32
from edgepress.converters.to_tflite.graph import Graph

INFINITE = 1e9
"""What stands for infinity. Less any score, its exponential is 0."""
MASKING = ("ADD", "SUB", "SELECT", "SELECT_V2", "PADV2")
"""Kinds whose constants may be masks; a bound of a MAXIMUM is none."""
HUGE = 1e30
"""Size from which a constant stands for infinity, such as the largest number of float32."""
LARGEST = 4096
"""Values that a constant may have although what it follows from has fewer."""
GROWTH = 1.25
"""Share of the values that it follows from that a larger constant may have: a mel matrix is padded by one frequency."""
LARGEST_KERNEL = 1 << 20
"""The same of a MATRIX_DIAG, of which Keras' `extract_patches` makes the kernel of a convolution."""
READERS = ("ADD", "SUB", "MUL", "FULLY_CONNECTED", "CONCATENATION")
"""Kinds that only read states, and do not write into them."""
LARGEST_STATE = 1 << 20
"""Values of a state that is made a constant."""
RANDOM = ("RANDOM_UNIFORM", "RANDOM_STANDARD_NORMAL", "MULTINOMIAL")
"""Kinds whose results differ from run to run."""


def with_plain_constants(model: bytes) -> bytes:
    """A float graph with all that follows from constants computed, no infinite mask, and shapes of all constants.

    If nothing is to be changed, these are the same bytes.
    """
    graph = Graph(model)
    is_changed = _write_shapes(graph) | _make_finite(graph) | _fill_unset(graph)
    if places := _constant_operations(graph):
        is_changed |= _fold(graph, model, places)
    return graph.to_bytes() if is_changed else model


def _make_finite(graph: Graph) -> bool:
    """Make infinite values of what is added or chosen finite; whether there were any."""
    new: dict[int, int] = {}
    for op in graph.operators:
        for index in (int(i) for i in op.inputs if graph.kind(op) in MASKING):
            values = graph.constant(index)
            if index not in new and values is not None and (finite := finite_values(values)) is not None:
                new[index] = graph.add_constant(finite)
        if graph.kind(op) in MASKING:
            op.inputs = [new.get(int(index), int(index)) for index in op.inputs]
    return bool(new)


def _fill_unset(graph: Graph) -> bool:
    """Make constants of zeros of tensors that nothing sets, such as the states that a GRU begins with."""
    computed = {int(index) for op in graph.operators for index in op.outputs} | {int(i) for i in graph.table.inputs}
    readers = graph.readers()
    is_changed = False
    for index, tensor in enumerate(graph.table.tensors):
        is_unset = index in readers and index not in computed and tensor.type == FLOAT32 and not _has_data(graph, index)
        is_read = all(op is not None and graph.kind(op) in READERS for op in readers.get(index, []))
        shape = graph.shape(index)
        if is_unset and is_read and min(shape, default=1) > 0 and math.prod(shape) <= LARGEST_STATE:
            tensor.buffer = flat.add_buffer(graph.root, np.zeros(shape, np.float32))
            tensor.isVariable = False
            is_changed = True
    return is_changed


def _write_shapes(graph: Graph) -> bool:
    """Give constants without axes their shape, where the file leaves it out; whether there were any."""
    tensors = [tensor for index, tensor in enumerate(graph.table.tensors) if _has_data(graph, index)]
    unwritten = [tensor for tensor in tensors if tensor.shape is None]
    for tensor in unwritten:
        tensor.shape = []
    return bool(unwritten)


def _has_data(graph: Graph, index: int) -> bool:
    data = graph.root.buffers[graph.table.tensors[index].buffer].data
    return data is not None and len(data) > 0


def finite_values(values: Array) -> Floats | None:
    """A float32 constant with `INFINITE` in the place of values that stand for infinity; None if there are none."""
    if values.dtype != np.float32 or not (np.abs(values) > HUGE).any():
        return None
    return np.where(np.abs(values) > HUGE, np.copysign(np.float32(INFINITE), values), values)


def _constant_operations(graph: Graph) -> list[int]:
    """Places of the operations that read constants alone, or what such operations make; none that makes the output."""
    sizes = {
        index: int(np.prod(graph.shape(index))) for index in range(len(graph.table.tensors)) if _has_data(graph, index)
    }
    sink = int(graph.table.outputs[0])
    places = []
    for place, op in enumerate(graph.operators):
        inputs = [int(i) for i in op.inputs if i >= 0]
        output_sizes = {int(i): int(np.prod(graph.shape(int(i)))) for i in op.outputs}
        is_constant = (
            bool(inputs) and sizes.keys() >= {*inputs} and graph.kind(op) not in RANDOM and sink not in output_sizes
        )
        largest = LARGEST_KERNEL if graph.kind(op) == "MATRIX_DIAG" else LARGEST
        if is_constant and sum(output_sizes.values()) <= max(largest, GROWTH * sum(sizes[i] for i in inputs)):
            sizes |= output_sizes
            places.append(place)
    return places


def _fold(graph: Graph, model: bytes, places: list[int]) -> bool:
    """Replace the operations at some places by the constants that LiteRT computes; whether it can."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    part = Graph(model)
    part.table.operators = [part.operators[place] for place in places]
    part.table.outputs = needed = [int(i) for op in part.operators for i in op.outputs]
    part.root.signatureDefs = []
    try:
        # XNNPACK does not make what it takes for weights.
        plain = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
        interpreter = Interpreter(model_content=part.to_bytes(), experimental_op_resolver_type=plain)
        interpreter.allocate_tensors()
        interpreter.invoke()
    except (RuntimeError, ValueError):  # the file itself will say what LiteRT does not know
        return False
    for index, details in zip(needed, interpreter.get_output_details(), strict=True):
        values = interpreter.get_tensor(details["index"])
        tensor = graph.table.tensors[index]
        tensor.buffer = flat.add_buffer(graph.root, values)
        tensor.shape = list(values.shape)
        tensor.shapeSignature = None
    graph.table.operators = [op for place, op in enumerate(graph.operators) if place not in {*places}]
    return True


EQUALITIES = ("EQUAL", "NOT_EQUAL")
COMPARISONS = (*EQUALITIES, "GREATER", "GREATER_EQUAL", "LESS", "LESS_EQUAL")
"""Operations that compare two values."""
NEAR = 1e-5
"""Distance between equal values, as a share of their range."""
BEYOND = 3
"""Steps behind the ends of a grid of 8 bits at which constants lie that no value can equal: their own scales may be so
large that LiteRT's EQUAL takes all values for equal."""


def with_marks_on_grids(model: bytes, float_model: bytes, ranges: Ranges) -> bytes:
    """A quantized model in which marks are compared on the grid of the values, and those of wide steps in float.

    The same bytes are returned if there are none.

    Args:
        model: A quantized model with its last types of input and output.
        float_model: The float model that it was made of, whose tensors have the same names.
        ranges: Ranges of its tensors by name.
    """
    graph = Graph(model)
    source = Graph(float_model)
    constants = {source.name(index): index for index in range(len(source.table.tensors))}
    makers = graph.makers()
    changed = False
    for op in [*graph.operators]:
        if graph.kind(op) not in COMPARISONS:
            continue
        for place, other in ((0, 1), (1, 0)):
            stored, compared = int(op.inputs[place]), int(op.inputs[other])
            values_range = ranges.get(graph.name(compared).removesuffix("_quantized"))
            if graph.constant(stored) is None or graph.constant(compared) is not None or values_range is None:
                continue
            exact = source.constant(constants.get(graph.name(stored), -1))
            mark = _real_values(graph, stored) if exact is None else exact
            new = _add_mark(
                graph, makers, compared, mark, values_range=values_range, is_equality=graph.kind(op) in EQUALITIES
            )
            if new is not None:
                op.inputs = [new if i == place else int(index) for i, index in enumerate(op.inputs)]
                changed = True
        if graph.kind(op) in EQUALITIES and _is_wide(graph, op):
            _compare_in_float(graph, op)
            changed = True
    return graph.to_bytes() if changed else model


def _is_wide(graph: Graph, op: Any) -> bool:
    """Whether an operation reads values in steps of 1 or more."""
    values = [int(index) for index in op.inputs if graph.constant(int(index)) is None]
    return any(scale >= 1 for index in values for scale in graph.scales(index)[0])


def _compare_in_float(graph: Graph, op: Any) -> None:
    """Let a comparison read the real values of its operands."""
    real: dict[int, int] = {}
    for index in {int(index) for index in op.inputs}:
        if (values := graph.constant(index)) is not None:
            scales, zeros = graph.scales(index)
            real[index] = graph.add_constant((values.astype(np.float32) - zeros[0]) * np.float32(scales[0]))
        else:
            real[index] = graph.add_tensor(graph.shape(index), f"{graph.name(index)}_compared")
            graph.insert_before(op, graph.operator("DEQUANTIZE", [index], real[index]))
    op.inputs = [real[int(index)] for index in op.inputs]


def _add_mark(
    graph: Graph,
    makers: Mapping[int, Any],
    compared: int,
    mark: Array,
    *,
    values_range: tuple[float, float],
    is_equality: bool,
) -> int | None:
    """Add a constant on the grid of the tensor it is compared with; None if that has none, or it is not a mark."""
    maker = makers.get(compared)
    grid = compared
    if in_float := maker is not None and graph.kind(maker) == "DEQUANTIZE":
        grid = int(maker.inputs[0])
    scales, zeros = graph.scales(grid)
    dtype = graph.dtype(grid)
    if len(scales) != 1 or dtype is None:
        return None
    to_grid = partial(on_grid, scale=scales[0], zero=zeros[0], dtype=dtype)
    integers = to_grid(mark)
    if is_mark(mark, values_range, to_grid):
        shift = 0
    elif is_equality and not in_float and dtype == np.int8 and _is_beyond(mark, values_range):
        integers = np.full_like(integers, np.iinfo(dtype).max + BEYOND)
        shift = BEYOND
    else:
        return None
    if in_float:
        return graph.add_constant(((integers - zeros[0]) * np.float32(scales[0])).astype(np.float32))
    new = graph.add_constant((integers - shift).astype(dtype))
    graph.table.tensors[new].quantization = flat.quantization(scales, [zeros[0] - shift])
    return new


def on_grid(mark: Array, scale: float, zero: float, dtype: np.dtype[Any]) -> Array:
    """The integers that values are in a tensor, float64."""
    limits = np.iinfo(dtype)
    return np.asarray(np.clip(np.rint(mark.astype(np.float64) / scale) + zero, limits.min, limits.max))


def is_mark(mark: Array, values_range: tuple[float, float], to_grid: Callable[[Array], Array]) -> bool:
    """Whether values may be exactly those of a constant, so that these are to be told from others.

    Many values are 0, the least or the largest one, so nothing else may become their integers.

    Args:
        mark: The constant.
        values_range: The least and the largest value.
        to_grid: Returns the integers of values.
    """
    low, high = values_range
    near = NEAR * (high - low)
    may_occur = (mark >= low - near) & (mark <= high + near)
    for frequent in (0.0, low, high):
        may_occur &= (np.abs(mark - frequent) <= near) | (to_grid(mark) != to_grid(np.array(frequent)))
    return bool(np.all(may_occur))


def _is_beyond(mark: Array, values_range: tuple[float, float]) -> bool:
    """Whether no value can be one of those of a constant."""
    low, high = values_range
    return bool(np.all((mark < low) | (mark > high)))


def _real_values(graph: Graph, index: int) -> Array:
    """A constant's real values."""
    values = np.asarray(graph.constant(index), np.float64)
    scales, zeros = graph.scales(index)
    return (values - zeros[0]) * scales[0] if scales else values
