"""A model's graph, independent of its format: tensor lifetimes, constant values, parameters.

A reader (`tflite_file`, `onnx_file`, `keras_graph`) turns its file into an `InspectedGraph`. Shapes are those of
batch 1.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from edgepress.converters.numeric.macs import LEFT_OUT, Shape

FLOATS = ("float32", "float16", "float64", "bfloat16")
BITS = {"bool": 8, "int2": 2, "uint2": 2, "int4": 4, "uint4": 4, "complex64": 64, "complex128": 128, "bfloat16": 16}
"""Bits of an element of types whose name does not end with them."""

MEMORY_MODEL = (
    "Batch 1. A tensor lives from the step that makes it to the last step that reads it; inputs live from the start, "
    "outputs to the end. No alignment, no gaps between tensors, no sharing in place, no scratch memory of kernels."
)


@dataclass(frozen=True)
class Value:
    """A tensor of a graph.

    Attributes:
        shape: Its shape for one item; None if the file does not tell it.
        dtype: Type of its elements, in NumPy's words.
        constant: Whether it is stored in the file.
        quantized: Whether it has a scale.
        per_channel: Whether it has several.
        variable: Whether it keeps its value between runs.
    """

    shape: tuple[int, ...] | None
    dtype: str
    constant: bool = False
    quantized: bool = False
    per_channel: bool = False
    variable: bool = False

    @property
    def elements(self) -> int | None:
        """Number of elements; None if the shape is unknown."""
        return None if self.shape is None else math.prod(self.shape)

    @property
    def size_bytes(self) -> int | None:
        """Memory that it takes; None if the shape or the size of the type is unknown."""
        bits = bits_of(self.dtype)
        return None if self.elements is None or not bits else -(-self.elements * bits // 8)

    @property
    def real(self) -> bool:
        """Whether it holds real numbers, as floats or quantized; shapes, axes and indices do not."""
        return self.dtype in FLOATS or self.quantized


def shape_of(value: Value | None) -> Shape:
    """The shape of a tensor that an operation reads, or of one that is left out."""
    return LEFT_OUT if value is None else value.shape


@dataclass(frozen=True)
class InspectedStep:
    """An operation of a graph.

    Attributes:
        operation: Its kind: "CONV_2D", "Conv", "Conv2D".
        name: What its author would call it: the layer or the tensor that it makes.
        inputs: Names of tensors read, "" for one that is left out.
        outputs: Names of tensors made.
        weights: Positions in `inputs` where parameters may stand; None is anywhere.
        version: Version of the operation, where the format has one.
        macs: Multiply-accumulates for one item; None if they can't be counted.
        index: Its place in the file.
    """

    operation: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    weights: tuple[int, ...] | None = None
    version: int | None = None
    macs: int | None = 0
    index: int = 0


@dataclass(frozen=True)
class InspectedGraph:
    """Steps in the order in which they run, and their tensors by name."""

    steps: tuple[InspectedStep, ...]
    values: Mapping[str, Value]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


@dataclass(frozen=True)
class Peak:
    """The most memory that activations take at a time.

    Attributes:
        size_bytes: The memory; None if a tensor's size is not known.
        step: The step during which it is reached; None in an empty graph.
        unknown: Names of tensors whose size is not known.
    """

    size_bytes: int | None
    step: InspectedStep | None
    unknown: tuple[str, ...] = ()


def bits_of(dtype: str) -> int:
    """Bits of an element; 0 if its type has no fixed size."""
    digits = dtype.lstrip("uintfloa").partition("e")[0]  # float8e4m3fn
    return BITS.get(dtype) or (int(digits) if digits.isdigit() else 0)


def known_beforehand(graph: InspectedGraph) -> set[str]:
    """Names of tensors that do not depend on the input: constants, and what is computed only from constants."""
    known = {name for name, value in graph.values.items() if value.constant and not value.variable} - {*graph.inputs}
    for step in graph.steps:
        present = [name for name in step.inputs if name]
        if present and known.issuperset(present):
            known.update(step.outputs)
    return known


def peak_memory(graph: InspectedGraph) -> Peak:
    """The peak of activation memory under `MEMORY_MODEL`. Tensors that are known beforehand are not activations."""
    known = known_beforehand(graph)
    end = len(graph.steps)
    first = dict.fromkeys(graph.inputs, 0)
    last: dict[str, int] = {}
    for place, step in enumerate(graph.steps):
        for name in step.outputs:
            first.setdefault(name, place)
            last.setdefault(name, place)
        for name in filter(None, step.inputs):
            if name in graph.values and graph.values[name].variable:
                first[name] = 0
                last[name] = end
            else:
                last[name] = place
    last |= dict.fromkeys(graph.outputs, end)
    changes = [0] * (end + 2)
    unknown = []
    for name, start in first.items():
        size = graph.values[name].size_bytes if name in graph.values else None
        if name in known or not name:
            continue
        if size is None:
            unknown.append(name)
            continue
        changes[start] += size
        changes[last.get(name, start) + 1] -= size
    most = 0
    place = 0
    alive = 0
    for at, change in enumerate(changes[:end]):
        alive += change
        if alive > most:
            most = alive
            place = at
    return Peak(None if unknown else most, graph.steps[place] if graph.steps else None, tuple(unknown))


def unpacked_bytes(graph: InspectedGraph) -> int:
    """Memory for constants that the engine converts before it uses them: unpacked float16 or int8."""
    known = known_beforehand(graph)
    values = graph.values
    total = 0
    for step in graph.steps:
        types = {values[name].dtype for name in step.inputs if name in values and values[name].real}
        unpacked = [values[name] for name in step.outputs if name in known and name in values]
        total += sum(v.size_bytes or 0 for v in unpacked if v.real and types and v.dtype not in types)
    return total


def fixed_batch(graph: InspectedGraph) -> int:
    """Batch size of a graph: the first dimension of all its inputs, if its outputs have the same one."""
    shapes = [graph.values[name].shape if name in graph.values else None for name in graph.inputs]
    first = {shape[0] if shape and len(shape) > 1 else 1 for shape in shapes}
    items = first.pop() if len(first) == 1 else 1
    output_shapes = [graph.values[name].shape for name in graph.outputs if name in graph.values]
    return max(items, 1) if all(shape is None or shape[:1] == (items,) for shape in output_shapes) else 1


def parameters(graph: InspectedGraph) -> list[int]:
    """Parameters of each step: elements of the real constants that it reads, each counted where it is first read.

    A constant that is only unpacked (dequantized, cast, transposed) is counted at the step that uses the result.
    """
    known = known_beforehand(graph)
    seen = set[str]()
    counts = []
    for step in graph.steps:
        count = 0
        if not step.outputs or not known.issuperset(filter(None, step.outputs)):
            for place, name in enumerate(step.inputs):
                if name in known and name not in seen and (step.weights is None or place in step.weights):
                    seen.add(name)
                    value = graph.values[name]
                    count += (value.elements or 0) if value.real else 0
        counts.append(count)
    return counts


def weights_of(graph: InspectedGraph, step: InspectedStep, known: Collection[str]) -> Value | None:
    """The first real tensor of rank 2 or more that a step reads and that is known beforehand: its weights."""
    names = [n for i, n in enumerate(step.inputs) if n in known and (step.weights is None or i in step.weights)]
    values = [graph.values[n] for n in names if n in graph.values and graph.values[n].real]
    return next((v for v in values if len(v.shape or ()) > 1), values[0] if values else None)


def activations_of(graph: InspectedGraph, step: InspectedStep, known: Collection[str]) -> list[Value]:
    """The tensors that a step reads and that depend on the input; without the state that it keeps."""
    values = [graph.values[n] for n in step.inputs if n and n not in known and n in graph.values]
    return [v for v in values if not v.variable]
