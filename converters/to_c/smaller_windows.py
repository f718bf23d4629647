"""Let layers compute from windows that take less memory, where those of the faster kernels would decide the arena."""

from __future__ import annotations

from dataclasses import replace

from edgepress.converters.to_c.lowering import Program
from edgepress.converters.to_c.placement import blocks_of, needs
from edgepress.converters.to_c.step import Step

SLACK = 0.1
"""Share by which faster kernels may make the arena larger than the smallest one."""


def with_smaller_windows(program: Program) -> Program:
    """The same answers, with `Step.smaller` where a step would need more memory than `SLACK` allows."""
    whole = needs(blocks_of(program)[1])
    by_step = whole[1:]
    least = [need - _saved(step) for need, step in zip(by_step, program.steps, strict=False)]
    limit = (1 + SLACK) * max(whole[0], whole[-1], *least)
    steps = tuple(
        step.smaller if step.smaller is not None and need > limit else step
        for need, step in zip(by_step, program.steps, strict=False)
    )
    return replace(program, steps=steps) if steps != program.steps else program


def _saved(step: Step) -> int:
    return (step.scratch or 0) - (step.smaller.scratch or 0) if step.smaller is not None else 0
