"""Tensors that a file keeps from one call to the next: resource variables, as files that take a stream have them.

The first graph of such a file begins with CALL_ONCE, whose graph gives the variables their first values. VAR_HANDLE
names a variable; READ_VARIABLE and ASSIGN_VARIABLE read and write it. Here a variable is a block of the arena: what is
read is that memory itself, and its new value is written by the step that makes it, once nothing reads the old one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from edgepress.converters.to_c.arithmetic import Integers, Range
from edgepress.converters.to_c.graph import Operation, State, Tensor, unsupported
from edgepress.converters.to_c.step import SEPARATE, Step
from edgepress.converters.to_tflite.flatbuffer import VARIABLES
from edgepress.converters.to_tflite.metadata import FlatTable

CALL_ONCE, VAR_HANDLE, READ, ASSIGN = VARIABLES
MOST_STATES = 256
"""Variables of a file at most."""


class Variables:
    """The variables of a file, while its operations are read in order."""

    def __init__(self, first_number: int) -> None:
        self.states: dict[str, State] = {}
        self._next = first_number
        self._handles: dict[int, str] = {}
        self._values: dict[str, Tensor] = {}
        self._is_begun = False

    def begin(
        self, tables: Sequence[tuple[str, FlatTable, tuple[int, ...], tuple[int, ...]]], tensors: Sequence[Tensor]
    ) -> None:
        """Take the first values from the graph that CALL_ONCE runs.

        Args:
            tables: Its operations: kind, table, inputs and outputs.
            tensors: Its tensors.

        Raises:
            ModelFileError: It does something else.
        """
        self._is_begun = True
        handles: dict[int, str] = {}
        for kind, table, inputs, outputs in tables:
            if kind == VAR_HANDLE:
                handles[outputs[0]] = _name_of(table)
            elif kind == ASSIGN:
                value = tensors[inputs[1]]
                self._add(handles[inputs[0]], value)
            else:
                raise unsupported("this file", f"the graph of CALL_ONCE has {kind}; accepted: constants into variables")

    def _add(self, name: str, value: Tensor) -> None:
        if value.data is None or value.dtype != "int8" or len(value.scales) != 1:
            raise unsupported("this file", f"the first value of a variable is {value.dtype}; accepted: constant int8")
        if name in self.states or len(self.states) >= MOST_STATES:
            raise unsupported("this file", f"it gives a variable two values, or has more than {MOST_STATES} of them")
        self.states[name] = State(replace(value, index=self._next, data=None), value.data)
        self._next += 1

    def operation(
        self, number: int, kind: str, table: FlatTable, inputs: Sequence[Tensor], outputs: Sequence[Tensor]
    ) -> Operation | None:
        """What stands for an operation on variables: reading as another name, writing as a copy; None: nothing."""
        if kind == CALL_ONCE:
            if number or not self._is_begun:
                raise unsupported(f"operation {number} ({kind})", "it is not the first one of two graphs")
            return None
        if kind == VAR_HANDLE:
            self._handles[outputs[0].index] = _name_of(table)
            return None
        name = self._handles[inputs[0].index]
        if name not in self.states:
            raise unsupported(f"operation {number} ({kind})", "nothing gives its variable a first value")
        state = self.states[name].tensor
        if kind == READ:
            return Operation(number, READ, (self._values.get(name, state),), (outputs[0],), {})
        value = inputs[1]
        if name in self._values:
            raise unsupported(f"operation {number} ({kind})", "it writes a variable for the second time")
        self._values[name] = value
        return Operation(number, ASSIGN, (value,), (state,), {})


def _name_of(handle: FlatTable) -> str:
    options = handle.table(4)
    return f"{options.string(0)}\0{options.string(1)}"


def assign(operation: Operation, inputs: Range) -> Step:
    """The copy of a value into its state.

    Raises:
        ModelFileError: The value has another size or scale.
    """
    value = operation.activation()
    state = operation.output
    same = (value.scale, value.zero_point) == (state.scale, state.zero_point)
    if value.shape != state.shape or not same:
        raise operation.refuse(
            f"it writes {list(value.shape)} into a variable of {list(state.shape)}, or another scale"
        )
    layer = {"rows": 1, "whole": value.size, "first": 0, "bytes": value.size}

    def answer(values: Integers) -> Integers:
        return values

    return Step(operation, "slice", (value,), state, layer, (SEPARATE,), inputs, answer)


def settle(
    steps: Sequence[Step], place: Mapping[int, Tensor], states: Mapping[int, State]
) -> tuple[list[Step], dict[int, Tensor]]:
    """Write each state behind all that read its old value, and without a copy if the value is made there.

    Args:
        steps: The steps in the order of the file; those that write a state copy a value.
        place: For each activation, the tensor that its memory is.
        states: The states by their number.

    Returns:
        The steps and the places.

    Raises:
        ModelFileError: A state gets the old value of another one.
    """
    ordered = list(steps)
    places = dict(place)
    for index in states:
        write = next((step for step in ordered if step.output.index == index), None)
        if write is None:
            continue
        root = place[write.inputs[0].index]
        if root.index in states:
            raise write.operation.refuse("it writes the old value of a variable into another one")
        root = places[root.index]
        position = ordered.index(write)
        ordered.remove(write)
        last_read = max((n for n, step in enumerate(ordered) if _reads(step, index, places)), default=-1)
        maker = next((n for n, step in enumerate(ordered) if step.output.index == root.index), None)
        if maker is None or root.index in states or maker <= last_read:
            ordered.insert(max(position, last_read + 1), write)
            continue
        state = replace(states[index].tensor, shape=ordered[maker].output.shape)
        ordered[maker] = _writing(ordered[maker], state)
        places = {key: state if tensor.index == root.index else tensor for key, tensor in places.items()}
        places[index] = state
    return ordered, places


def _writing(step: Step, output: Tensor) -> Step:
    """A step that writes its output to a place of its own."""
    smaller = None if step.smaller is None else _writing(step.smaller, output)
    return replace(step, output=output, distances=(SEPARATE,) * len(step.distances), smaller=smaller)


def _reads(step: Step, index: int, places: Mapping[int, Tensor]) -> bool:
    return any(tensor.data is None and places[tensor.index].index == index for tensor in step.inputs)


def first_values(states: Mapping[int, State]) -> dict[int, Integers]:
    """What the states hold before the first call, by number."""
    return {index: state.first.astype(np.int64) for index, state in states.items()}
