"""Leave out channels whose output is the same for every input.

Trained nets with ReLU have such channels; intervals prove them (`bounds`). A convolution that reads one gets its share
as a part of the biases; the channel is then neither computed nor stored, and the answers stay the same, bit for bit.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from edgepress.converters.to_c.bounds import Range
from edgepress.converters.to_c.graph import Graph, Operation, Tensor
from edgepress.converters.to_c.lowering import Program, lower_graph
from edgepress.converters.to_c.step import Step

Kept = npt.NDArray[np.int64]
_PASSING = ("DEPTHWISE_CONV_2D", "AVERAGE_POOL_2D", "MAX_POOL_2D")
"""Operations that make each channel of their output from the same one of their input, if they have as many."""
_MULTIPLE = 4
"""Channels that are left are a multiple of it, so that kernels read whole words."""


def without_constant_channels(program: Program) -> Program:
    """The same answers with fewer channels."""
    steps = {step.output.index: step for step in program.steps}
    kept: dict[int, Kept] = {}
    for group in _groups(program):
        channels = _needed_channels(group, program, steps)
        if channels is not None:
            kept |= dict.fromkeys(group, channels)
    if not kept:
        return program
    ranges = {index: step.range for index, step in steps.items()}
    tensors = {index: _with_fewer_channels(steps[index].output, kept[index]) for index in kept}
    operations = tuple(_adapt_operation(each, kept, tensors, ranges) for each in program.graph.operations)
    return lower_graph(Graph(program.graph.input, program.graph.output, operations))


def _groups(program: Program) -> Iterator[list[int]]:
    """Tensors that can only lose a channel together, each group from the output of a convolution on."""
    after = {op.inputs[0].index: op for op in program.graph.operations if _passes(op) and op.inputs[0] is not None}
    for operation in program.graph.operations:
        if operation.kind == "CONV_2D":
            group = [operation.output.index]
            while (next_one := after.get(group[-1])) is not None:
                group.append(next_one.output.index)
            yield group


def _passes(operation: Operation) -> bool:
    source = operation.inputs[0] if operation.inputs else None
    return operation.kind in _PASSING and source is not None and source.shape[-1] == operation.output.shape[-1]


def _needed_channels(group: Sequence[int], program: Program, steps: Mapping[int, Step]) -> Kept | None:
    """The channels of a group that are needed; None if all are."""
    last = group[-1]
    readers = {index: [op for op in program.graph.operations if _reads(op, index)] for index in group}
    if program.graph.output.index in group or any(len(readers[index]) != 1 for index in group[:-1]):
        return None
    constant = steps[last].range.low == steps[last].range.high
    is_zero = constant & (steps[last].range.low == steps[last].output.zero_point)
    for reader in readers[last]:
        if reader.kind != "CONV_2D":
            return None
        padded = steps[reader.output.index].padded
        constant = is_zero if padded else constant
    needed = np.flatnonzero(~constant)
    missing = min(-len(needed) % _MULTIPLE or (0 if len(needed) else _MULTIPLE), int(constant.sum()))
    channels = np.sort(np.concatenate([needed, np.flatnonzero(constant)[:missing]]))
    return None if len(channels) == len(constant) or not readers[last] else channels


def _reads(operation: Operation, index: int) -> bool:
    return any(tensor is not None and tensor.index == index for tensor in operation.inputs)


def _with_fewer_channels(tensor: Tensor, kept: Kept) -> Tensor:
    return replace(tensor, shape=(*tensor.shape[:-1], len(kept)))


def _adapt_operation(
    operation: Operation, kept: Mapping[int, Kept], tensors: Mapping[int, Tensor], ranges: Mapping[int, Range]
) -> Operation:
    """The operation for the channels that are left of its input and output."""
    output = operation.outputs[0]
    source = operation.inputs[0]
    kept_outputs = kept.get(output.index)
    kept_inputs = kept.get(source.index) if source is not None else None
    if kept_outputs is None and kept_inputs is None:
        return operation
    inputs = list(operation.inputs)
    if operation.kind == "CONV_2D" and kept_inputs is not None and source is not None:
        inputs = _fold_constants(inputs, kept_inputs, ranges[source.index].low - source.zero_point)
    if operation.kind == "CONV_2D" and kept_outputs is not None:
        inputs[1:] = [_take_channels(tensor, kept_outputs, 0) for tensor in inputs[1:]]
    if operation.kind == "DEPTHWISE_CONV_2D" and kept_outputs is not None:
        inputs[1:] = [_take_channels(tensor, kept_outputs, -1) for tensor in inputs[1:]]
    inputs[0] = tensors[source.index] if source is not None and kept_inputs is not None else source
    return replace(operation, inputs=tuple(inputs), outputs=(tensors.get(output.index, output),))


def _fold_constants(inputs: list[Tensor | None], read: Kept, values: npt.NDArray[np.int64]) -> list[Tensor | None]:
    """The inputs of a convolution that reads fewer channels; the share of the others becomes a part of its biases."""
    weights = inputs[1]
    bias = inputs[2] if len(inputs) > 2 else None
    assert weights is not None
    assert weights.data is not None
    gone = np.setdiff1d(np.arange(weights.shape[3]), read)
    share = weights.data[..., gone].astype(np.int64).sum(axis=(1, 2)) @ values[gone]
    new_bias = share if bias is None or bias.data is None else bias.data.reshape(-1) + share
    left = replace(weights, data=weights.data[..., read], shape=(*weights.shape[:3], len(read)))
    none = np.zeros(0, np.float32)
    biases = Tensor(weights.index, "", new_bias.shape, "int32", none, none.astype(np.int64), 0, new_bias)
    return [inputs[0], left, biases]


def _take_channels(tensor: Tensor | None, channels: Kept, axis: int) -> Tensor | None:
    """A constant with some of its channels."""
    if tensor is None or tensor.data is None:
        return tensor
    data = np.take(tensor.data, channels, axis)
    several = len(tensor.scales) > 1
    return replace(
        tensor,
        data=data,
        shape=data.shape,
        scales=tensor.scales[channels] if several else tensor.scales,
        zero_points=tensor.zero_points[channels] if several else tensor.zero_points,
    )
