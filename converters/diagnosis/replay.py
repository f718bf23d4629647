"""A float graph run again from where something in it was changed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgepress.converters.graph.program import Program, run_step

Values = Mapping[str, Any]


def effect(program: Program, base: Values, changed: Values, *, reads: Mapping[tuple[str, str], Any], end: str) -> Any:
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
            new.update(run_step(step, own, new, base))
        if end in new and end in step.outputs:
            break
    return new.get(end, base[end])
