"""Passes that make a program smaller: channels that are constant are left out, and chains of operations become tables.

Trained nets with ReLU have such channels; intervals prove them (`bounds`). A convolution that reads one gets its share
as a part of the biases; the channel is then neither computed nor stored, and the answers stay the same, bit for bit.

Merge operations that compute each number from one number of one tensor into look-up tables.

Files write activations such as hard-swish as chains of ADD and MUL. Of a tensor of 8 bits, such a chain is a function
of 256 values, which the operations' own arithmetic in NumPy gives.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from edgepress.converters.to_c.arithmetic import Integers, Range
from edgepress.converters.to_c.graph import Operation, Tensor
from edgepress.converters.to_c.lowering import Program, lower_graph
from edgepress.converters.to_c.placement import TRIES, Placement, place, with_smaller_windows
from edgepress.converters.to_c.step import Step

Kept = npt.NDArray[np.int64]
_PASSING = ("DEPTHWISE_CONV_2D", "AVERAGE_POOL_2D", "MAX_POOL_2D", "RESIZE_NEAREST_NEIGHBOR")
"""Operations that make each channel of their output from the same one of their input, if they have as many."""
_MULTIPLE = 4
"""Channels that are left are a multiple of it, so that kernels read whole words."""


def without_constant_channels(program: Program) -> Program:
    """The same answers with fewer channels."""
    steps = {step.operation.output.index: step for step in program.steps}  # also of one that writes a state itself
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
    return lower_graph(replace(program.graph, operations=operations))


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
    if any(reader.kind != "CONV_2D" for reader in readers[last]):
        return None
    constant = steps[last].range.low == steps[last].range.high
    is_zero = constant & (steps[last].range.low == steps[last].output.zero_point)
    for reader in readers[last]:
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


VALUES = 256
"""Values of 8 bits."""
_BY_NUMBER = ("add", "div", "mul", "squared_difference", "table")
"""Kernels that compute each number of their output from the numbers at the same place."""


@dataclass(frozen=True, eq=False)
class _Function:
    """A tensor as a function of another one.

    Attributes:
        source: The tensor that it is computed from.
        values: Its value for each value of the source, by the bits of the latter; shape (256,).
    """

    source: Tensor
    values: Integers


def place_smallest(program: Program, tries: int = TRIES) -> tuple[Program, Placement]:
    """Place a program with its operations merged, or not if that takes a smaller arena; windows may become smaller.

    Args:
        program: The program.
        tries: Orders that the search of each placement tries.

    Returns:
        The program that was chosen, and where its tensors lie.
    """
    program = with_smaller_windows(program)
    placed = place(program, tries)
    merged = with_tables(program)
    if merged is program:
        return program, placed
    other = place(merged, tries)
    return (merged, other) if other.arena <= placed.arena else (program, placed)


def with_tables(program: Program) -> Program:
    """The same answers, with one table for operations that compute a function of one number, if there are any."""
    functions: dict[int, _Function] = {}
    for step in program.steps:
        if (function := _function_of(step, program, functions)) is not None:
            functions[step.output.index] = function
    needed = {program.of(program.output).index, *program.states}
    for step in reversed(program.steps):
        function = functions.get(step.output.index)
        if function is None:
            needed |= {program.of(tensor).index for tensor in step.inputs if tensor.data is None}
        elif step.output.index in needed:
            needed.add(function.source.index)
    steps = []
    for step in program.steps:
        function = functions.get(step.output.index)
        if function is None:
            steps.append(step)
        elif step.output.index in needed:
            steps.append(_table_step(step, function))
    merged = len(steps) < len(program.steps) or any(
        new.kernel != old.kernel for new, old in zip(steps, program.steps, strict=True)
    )
    return replace(program, steps=tuple(steps)) if merged else program


def merged_operations(before: Program, after: Program) -> int:
    """Number of operations that tables of a program compute: those of chains, and single ones that were no tables.

    Args:
        before: The program.
        after: The same by `with_tables`.
    """
    writers = {step.output.index: step for step in before.steps}
    merged: set[int] = set()
    for table in (step for step in after.steps if step.kernel == "table"):
        source = after.of(table.inputs[0]).index
        chain = set[int]()
        reached = [table.output.index]
        while reached:
            if (index := reached.pop()) != source and (step := writers[index]).operation.index not in chain:
                chain.add(step.operation.index)
                reached += [before.of(tensor).index for tensor in step.inputs if tensor.data is None]
        if len(chain) > 1 or writers[table.output.index].kernel != "table":
            merged |= chain
    return len(merged)


def _function_of(step: Step, program: Program, functions: Mapping[int, _Function]) -> _Function | None:
    """What a step's output is a function of; None if that is not one number of one tensor."""
    if step.kernel not in _BY_NUMBER or step.output.dtype not in ("int8", "uint8"):
        return None
    read = [program.of(tensor) for tensor in step.inputs if tensor.data is None]
    if any(tensor.index in program.states for tensor in (*read, step.output)):  # whose values change in between
        return None
    if any(tensor.size != (step.output.size if tensor.data is None else 1) for tensor in step.inputs):
        return None
    known = [functions.get(tensor.index) or _identity(tensor) for tensor in read]
    if len({function.source.index for function in known}) > 1:  # of several tensors, unless it reads one alone
        known = [_identity(tensor) for tensor in read]
        if len({tensor.index for tensor in read}) > 1:
            return None
    values = iter(known)
    inputs = [np.full(VALUES, t.data.item()) if t.data is not None else next(values).values for t in step.inputs]
    return _Function(known[0].source, _evaluated(step, inputs))


def _identity(tensor: Tensor) -> _Function:
    bits = np.arange(VALUES, dtype=np.uint8)
    return _Function(tensor, bits.view(tensor.dtype).astype(np.int64))


def _evaluated(step: Step, values_of_inputs: list[Integers]) -> Integers:
    """The outputs of a step for 256 values of each input, by its own arithmetic, in parts of its tensors' size."""
    size = step.output.size
    parts = []
    for begin in range(0, VALUES, size):
        inputs = []
        for tensor, values in zip(step.inputs, values_of_inputs, strict=True):
            part = np.resize(values[begin : begin + size], tensor.size)
            inputs.append(part.reshape(tensor.shape))
        parts.append(np.asarray(step.answer(*inputs), np.int64).ravel())
    return np.concatenate(parts)[:VALUES]


def _table_step(step: Step, function: _Function) -> Step:
    """The step that looks a function up."""
    source = function.source
    output = step.output
    values = function.values
    layer = {"table": values.astype(output.dtype).view(np.int8), "count": output.size}
    return Step(
        step.operation,
        "table",
        (source,),
        output,
        layer,
        (0,),
        step.range,
        lambda inputs: values[inputs.astype(source.dtype).view(np.uint8)].reshape(output.shape),
    )
