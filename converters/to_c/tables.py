"""Merge operations that compute each number from one number of one tensor into look-up tables.

Files write activations such as hard-swish as chains of ADD and MUL. Of a tensor of 8 bits, such a chain is a function
of 256 values, which the operations' own arithmetic in NumPy gives.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from edgepress.converters.to_c.arithmetic import Integers
from edgepress.converters.to_c.graph import Tensor
from edgepress.converters.to_c.lowering import Program
from edgepress.converters.to_c.placement import TRIES, Placement, place
from edgepress.converters.to_c.smaller_windows import with_smaller_windows
from edgepress.converters.to_c.step import Step

VALUES = 256
"""Values of 8 bits."""
_BY_NUMBER = ("add", "mul", "table")
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
    needed = {program.of(program.output).index}
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
