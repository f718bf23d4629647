"""Constants of a float TFLite graph: what follows from constants alone is computed once, and infinite masks are finite.

A constant without axes has a written shape: litert-quantizer 0.11 copies a constant for operations that it quantizes
otherwise, and gives the copy of one without a shape that of its bytes.

Quantizers round what an operation reads, also if all of it is constant: a dense layer of the zeros that a recurrent net
begins with becomes one that LiteRT refuses, and the places that a sampler reads move. An infinite constant, such as the
mask of an attention, gives its tensor a range without end.
"""

from __future__ import annotations

import math

import numpy as np

from edgepress.converters.arrays import Array, Floats
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
