"""Which layers get weights of four bits: all but those whose noise is large for their bytes.

In mobile nets, half of the noise of four bits comes from the first few projections and expansions, which hold less than
a hundredth of the bytes (docs/decisions.md). So all layers are rounded, the noise of each one alone is measured, and
eight bits go to those with the most noise a byte, as long as the file grows little.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from edgepress.converters.arrays import Array
from edgepress.converters.graph.program import Program
from edgepress.converters.graph.step import WEIGHTED

EXTRA = 0.02
"""Bytes that layers of eight bits may add to a file of four, as a share of the weights of an int8 file."""
WORK = 5e10
"""Multiply-accumulates that measuring the noise may take, some seconds."""
FEWEST_ITEMS = 8
"""Number of items on which it is measured in any case."""
CHANNEL_BYTES = 8
"""Bytes of the scale and the bias of an output."""


def choose_four_bits(
    program: Program, names: Sequence[str], rounded: Mapping[str, Mapping[str, Array]], items: Array
) -> list[str]:
    """Those of some layers whose weights get four bits, by the names of their outputs.

    Args:
        program: The float program.
        names: The layers that may get four bits.
        rounded: The constants of each, with which it makes up for its own rounding alone.
        items: Unlabelled items (n, *item shape), of which as many are used as `WORK` allows.
    """
    steps = [step for step in program.weighted() if step.output in names]
    work = len(steps) * sum(step.macs for step in program.steps)
    items = items[: max(FEWEST_ITEMS, int(WORK / max(1, work)))]
    true = _logits(program, items, {})
    noise = {
        step.output: float(np.square(_logits(program, items, rounded[step.output]) - true).sum()) for step in steps
    }
    sizes = {step.output: step.constants[1].size // 2 for step in steps}
    whole = sum(
        step.constants[1].size + CHANNEL_BYTES * step.constants[1].shape[WEIGHTED[step.kind]]
        for step in program.weighted()
    )
    return choose_by_noise(noise, sizes, int(EXTRA * whole))


def choose_by_noise(noise: Mapping[str, float], sizes: Mapping[str, int], budget: int) -> list[str]:
    """Those of some layers that keep four bits if the others, which make most noise a byte, add few bytes.

    Args:
        noise: What each adds with four bits.
        sizes: Bytes that eight bits add to each.
        budget: Most bytes to be added.
    """
    few = dict.fromkeys(noise)
    for name in sorted(noise, key=lambda each: -noise[each] / sizes[each]):
        if sizes[name] <= budget:
            budget -= sizes[name]
            del few[name]
    return list(few) or list(noise)


def _logits(program: Program, items: Array, constants: Mapping[str, Array]) -> Array:
    parts = [program.run(part, constants=constants)[program.logits] for part in program.batches(items)]
    answers = np.concatenate([np.asarray(part) for part in parts]).reshape(len(items), -1).astype(np.float64)
    return answers - answers.mean(axis=1, keepdims=True) if program.end is not None else answers
