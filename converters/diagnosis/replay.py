"""A float graph run again from where something in it was changed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgepress.converters.graph.operations import OPERATIONS
from edgepress.converters.graph.program import Program
from edgepress.converters.graph.step import Step

Values = Mapping[str, Any]
ENDS = ("SOFTMAX", "LOGISTIC", "LOG_SOFTMAX")
SHAPES = ("RESHAPE", "SQUEEZE", "EXPAND_DIMS")


def computed(step: Step, *sources: Values) -> dict[str, Any]:
    """The outputs of one step by name, each input from the first source that has it, or a constant of the step."""
    import tensorflow as tf

    def read(place: int, name: str) -> Any:
        if not name:
            return None
        for values in sources:
            if name in values:
                return values[name]
        return tf.constant(step.constants[place])

    found = OPERATIONS[step.kind](step, [read(place, name) for place, name in enumerate(step.inputs)])
    return dict(zip(step.outputs, found if isinstance(found, tuple) else (found,), strict=True))


def scores_of(program: Program) -> str:
    """The tensor that is compared: what goes into the softmax or sigmoid at the end, which hide errors, if any."""
    makers = {name: step for step in program.steps for name in step.outputs}
    name = program.sink
    while (step := makers.get(name)) is not None and step.kind in (*ENDS, *SHAPES):
        name = step.inputs[0]
        if step.kind in ENDS:
            return name
    return program.sink


def effect(program: Program, base: Values, changed: Values, reads: Mapping[tuple[str, str], Any], end: str) -> Any:
    """The tensor `end` after a change, computing only what depends on it.

    Args:
        program: The float graph.
        base: Its tensors before the change, of some items, by name.
        changed: The tensors that differ.
        reads: What a step reads in place of a tensor, by the names of the step's first output and of the tensor.
        end: Name of the tensor.
    """
    new: dict[str, Any] = dict(changed)
    readers = {step for step, _ in reads}
    for step in program.steps:
        if step.output in changed:
            continue
        if step.output in readers or any(name in new for name in step.inputs):
            own = {name: value for (reader, name), value in reads.items() if reader == step.output}
            new.update(computed(step, own, new, base))
        if end in new and end in step.outputs:
            break
    return new.get(end, base[end])
