"""What several rewrites need: windows of convolutions, zeros around an input, weights, tensors of 8 bits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from edgepress.converters.arrays import Array
from edgepress.converters.to_tflite import flatbuffer as flat
from edgepress.converters.to_tflite.flatbuffer import TYPES
from edgepress.converters.to_tflite.graph import Graph, same_padding

SAME = 0
"""Of the schema's `Padding`."""
VALID = 1
"""Of the schema's `Padding`."""
FUSED = (0, 1, 2, 3)
"""Of the schema's `ActivationFunctionType`, those that XNNPACK fuses: none, RELU, RELU_N1_TO_1 and RELU6."""
Pads = tuple[int, int]
"""Zeros before and after one axis; below 0, what is cut off."""


class Axis(NamedTuple):
    """A window on one axis.

    Attributes:
        size: Size of the input.
        kernel: Number of taps.
        stride: Step from one output to the next.
        dilation: Step from one tap to the next.
        pads: Zeros around the input.
    """

    size: int
    kernel: int
    stride: int
    dilation: int
    pads: Pads

    @property
    def out(self) -> int:
        """Size of the output."""
        return (self.size + sum(self.pads) - self.dilation * (self.kernel - 1) - 1) // self.stride + 1

    def inside(self, more: Pads) -> float:
        """Share of the taps, over all outputs, that read the input, and not one of the `more` zeros at its ends."""
        places = (
            np.arange(self.out)[:, np.newaxis] * self.stride - self.pads[0] + np.arange(self.kernel) * self.dilation
        )
        return float(((places >= more[0]) & (places < self.size - more[1])).mean())

    @property
    def is_same(self) -> bool:
        """Whether `padding: SAME` gives this output: the zeros before are equal, and it has as many values."""
        before, _ = same_padding(self.size, self.kernel, self.stride, self.dilation)
        return (-(-self.size // self.stride), before) == (self.out, self.pads[0])


def operand(op: Any) -> int:
    """The tensor that an operation of one tensor takes."""
    (index,) = op.inputs
    return int(index)


def result(op: Any) -> int:
    """The tensor that an operation of one result makes."""
    (index,) = op.outputs
    return int(index)


def is_image(graph: Graph, index: int) -> bool:
    """Whether a tensor has four axes, all of a known size."""
    shape = graph.shape(index)
    return len(shape) == 4 and min(shape) > 0


def float_constant(graph: Graph, index: int) -> Array | None:
    """Values of a constant of float32; None if the tensor is something else."""
    values = graph.constant(index)
    return values if values is not None and values.dtype == np.float32 else None


def activation(op: Any) -> int:
    """The activation that an operation applies to its result; 0 if none."""
    return int(getattr(op.builtinOptions, "fusedActivationFunction", 0))


def axes_of(graph: Graph, op: Any) -> tuple[Axis, Axis]:
    """The rows and columns of a CONV_2D or DEPTHWISE_CONV_2D."""
    options = op.builtinOptions
    shape = graph.shape(int(op.inputs[0]))
    taps = graph.shape(int(op.inputs[1]))
    numbers = (options.strideH, options.dilationHFactor), (options.strideW, options.dilationWFactor)
    rows, columns = (
        Axis(size, kernel, *steps, same_padding(size, kernel, *steps) if options.padding == SAME else (0, 0))
        for size, kernel, steps in zip(shape[1:3], taps[1:3], numbers, strict=True)
    )
    return rows, columns


def absorb_pad(graph: Graph, op: Any) -> tuple[int, tuple[Axis, Axis]]:
    """The input and the axes of a convolution; a PAD that only it reads is removed, and its zeros join the axes."""
    source = int(op.inputs[0])
    axes = axes_of(graph, op)
    before: Any = graph.makers().get(source)
    pads = spatial_pads(graph, before) if op.builtinOptions.padding == VALID else None
    if pads is None or len(graph.readers()[source]) != 1:
        return source, axes
    source = int(before.inputs[0])
    graph.operators.remove(before)
    rows, columns = (
        Axis(size, axis.kernel, axis.stride, axis.dilation, pair)
        for size, axis, pair in zip(graph.shape(source)[1:3], axes, pads, strict=True)
    )
    return source, (rows, columns)


def spatial_pads(graph: Graph, op: Any) -> tuple[Pads, Pads] | None:
    """The zeros that a PAD puts around rows and columns; None if it is another operation, or pads other axes too."""
    if op is None or graph.kind(op) != "PAD" or (values := graph.constant(int(op.inputs[1]))) is None:
        return None
    if values.shape != (4, 2) or values[[0, 3]].any():
        return None
    return (int(values[1, 0]), int(values[1, 1])), (int(values[2, 0]), int(values[2, 1]))


def frame_tensor(graph: Graph, index: int, windows: Sequence[Axis], name: str) -> tuple[int, list[Any]]:
    """The tensor that a convolution of these windows reads, and the operations that make it of another one.

    None are needed if `padding: SAME` gives the right zeros. A PAD costs nothing in XNNPACK, which lets a convolution
    pad by itself if it is the only reader (`xnn_subgraph_fusion` in src/subgraph.c).
    """
    if all(window.is_same for window in windows):
        return index, []
    return pad_tensor(graph, index, [window.pads for window in windows], name)


def pad_tensor(graph: Graph, index: int, pads: Sequence[Pads], name: str) -> tuple[int, list[Any]]:
    """A tensor with zeros around its rows and columns, or with some cut off, and the SLICE and PAD that make it."""
    operations: list[Any] = []
    for kind, sign in (("SLICE", -1), ("PAD", 1)):
        amounts = np.zeros((4, 2), np.int32)
        amounts[1:3] = [[max(0, sign * n) for n in pair] for pair in pads]
        if not amounts.any():
            continue
        shape = np.array(graph.shape(index), np.int32) + sign * amounts.sum(1, dtype=np.int32)
        constants = [amounts] if kind == "PAD" else [amounts[:, 0].copy(), shape]
        new = graph.add_tensor(shape.tolist(), f"{name}_{kind.lower()}")
        operations.append(graph.operator(kind, [index, *(graph.add_constant(c) for c in constants)], new))
        index = new
    return index, operations


def conv(
    graph: Graph, kind: str, inputs: Sequence[int], output: int, *, windows: Sequence[Axis], **options: Any
) -> Any:
    """A convolution of windows whose zeros are those of `padding: SAME`, or in its input (`frame_tensor`)."""
    rows, columns = windows
    if kind == "DEPTHWISE_CONV_2D":
        options = {"depthMultiplier": 1} | options
    operation = graph.operator(
        kind,
        inputs,
        output,
        padding=SAME if rows.is_same and columns.is_same else VALID,
        strideH=rows.stride,
        strideW=columns.stride,
        dilationHFactor=rows.dilation,
        dilationWFactor=columns.dilation,
        **options,
    )
    if kind == "DEPTHWISE_CONV_2D" and max(rows.dilation, columns.dilation) > 1:
        code = graph.root.operatorCodes[operation.opcodeIndex]
        code.version = max(code.version, 2)  # (LiteRT, tflite/tools/versioning/op_version.cc)
    return operation


def takes_channels(graph: Graph, op: Any, channels: int) -> bool:
    """Whether an operation is a convolution with constant float weights, and of groups only if it is depthwise."""
    if graph.kind(op) not in ("CONV_2D", "DEPTHWISE_CONV_2D"):
        return False
    kernel = float_constant(graph, int(op.inputs[1]))
    if kernel is None or graph.constant(int(op.inputs[2])) is None:
        return False
    return graph.kind(op) == "DEPTHWISE_CONV_2D" or kernel.shape[3] == channels


def fold_affine(graph: Graph, op: Any, a: Array, b: Array) -> tuple[Array, Array]:
    """Kernel and bias of a convolution that computes from x what this one computes from a x + b."""
    _, *constants = (int(i) for i in op.inputs)
    kernel, bias = (graph.constant(i) for i in constants)
    assert kernel is not None
    assert bias is not None
    if graph.kind(op) == "CONV_2D":
        return kernel * a, bias + (kernel * b).sum((1, 2, 3))
    each = kernel.shape[3] // len(a)
    return kernel * a.repeat(each), bias + (kernel * b.repeat(each)).sum((0, 1, 2))


def set_weights(graph: Graph, op: Any, kernel: Array, bias: Array) -> None:
    """Give a convolution another kernel and bias."""
    new = (graph.add_constant(np.ascontiguousarray(values, np.float32)) for values in (kernel, bias))
    op.inputs = [int(op.inputs[0]), *new]


def is_int8(graph: Graph, *tensors: int) -> bool:
    """Whether all of the tensors are int8, each with one scale."""
    return all(graph.dtype(tensor) == np.int8 and has_one_scale(graph, tensor) for tensor in tensors)


def has_one_scale(graph: Graph, tensor: int) -> bool:
    """Whether a tensor is quantized with one scale, which is a positive number."""
    scales, zeros = graph.scales(tensor)
    return len(scales) == len(zeros) == 1 and bool(0 < scales[0] < np.inf)


def real_values(graph: Graph, tensor: int) -> Array | None:
    """The real values of a constant with one scale, float32; None if the tensor is none."""
    values = graph.constant(tensor)
    if values is None:
        return None
    (scale,), (zero,) = graph.scales(tensor)
    return (values.astype(np.float32) - np.float32(zero)) * np.float32(scale)


def add_int8(graph: Graph, shape: tuple[int, ...], name: str, *, scale: float, zero: int) -> int:
    """Add an int8 tensor that an operation will make; returns its index."""
    return _quantize(graph, graph.add_tensor(shape, name), scale, zero)


def add_scalar(graph: Graph, value: float) -> int:
    """Add a constant of one positive number in int8; returns its index."""
    return add_int8_constant(graph, np.array([127], np.int8), value / 127)


def add_int8_constant(graph: Graph, values: Array, scale: float) -> int:
    """Add a constant whose zero point is 0; returns its index."""
    return _quantize(graph, graph.add_constant(values), scale, 0)


def _quantize(graph: Graph, tensor: int, scale: float, zero: int) -> int:
    entry = graph.table.tensors[tensor]
    entry.type = TYPES[np.dtype(np.int8)]
    entry.quantization = flat.quantization([scale], [zero])
    return tensor
