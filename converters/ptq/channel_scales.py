"""Sets of channels that one positive factor may scale without a change of answers, and the ranges of all channels.

The weights that make a channel are divided by its factor and those that read it multiplied by it. This is what
cross-layer equalization needs (Nagel et al. 2019, arXiv:1906.04721), here for whole graphs: through residual additions,
concatenations, gates, pools and reshapes. What can be scaled alike can also be removed alike.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from edgepress.converters.arrays import Array, Doubles
from edgepress.converters.graph.program import Program
from edgepress.converters.graph.step import Step
from edgepress.converters.numeric.statistics import SMALLEST, Ranges
from edgepress.converters.ptq.channel_links import (
    PINNED,
    Ids,
    Links,
    has_channels,
    input_channels,
    output_channels,
    scaling_links,
)

Factors = Doubles


@dataclass(frozen=True)
class ScaleGroups:
    """The scale groups of a program.

    Attributes:
        of: Number of the group of each channel, by tensor; 0 stands for channels that can't be scaled.
        count: Number of groups, with group 0.
        bounded: Whether a ReLU6 makes channels of the group, shape (count,): its factor must keep them off the bound.
    """

    program: Program = field(repr=False)
    of: Mapping[str, Ids] = field(repr=False)
    count: int
    bounded: npt.NDArray[np.bool_] = field(repr=False)

    def scale_constants(self, factors: Factors) -> dict[str, Array]:
        """Constants that make each channel its value divided by the factor of its group, by name.

        Args:
            factors: Positive numbers, shape (count,), the first of them 1.
        """
        changed: dict[str, Array] = {}
        for step in self.program.steps:
            for place, values in self._adapt(step, factors).items():
                if not np.array_equal(values, step.constants[place]):
                    changed[step.inputs[place]] = values.astype(np.float32)
        return changed

    def _adapt(self, step: Step, factors: Factors) -> dict[int, Array]:
        """New constants of a step by place."""
        out = factors[self.of[step.output]]
        if step.weights:
            source = self.of.get(step.inputs[0])
            weights = step.constants[1] / out[output_channels(step)]
            if source is not None and (index := input_channels(step, len(source))) is not None:
                weights = weights * factors[source][index]
            return {1: weights} | ({2: step.constants[2] / out} if step.bias else {})
        if step.kind in ("ADD", "SUB"):
            return {place: c / out for place, c in step.constants.items() if has_channels(c, len(out))}
        if step.kind == "MUL" and step.constants:
            ((place, constant),) = step.constants.items()
            if has_channels(constant, len(out)):
                return {place: constant * factors[self.of[step.inputs[1 - place]]] / out}
        return {}


def scale_groups(program: Program) -> ScaleGroups:
    """Find the scale groups of a program."""
    links = scaling_links(program)
    _decide_products(links, program)
    groups = links.components()
    # Groups of tensors are numbered in the order of the graph; channels of constants only have none.
    bounded = np.zeros(int(np.max(groups)) + 1, np.bool_)
    for ids in links.bounded:
        bounded[groups[ids]] = True
    bounded[PINNED] = False
    return ScaleGroups(program, {name: groups[ids] for name, ids in links.ids.items()}, len(bounded), bounded)


def _decide_products(links: Links, program: Program) -> None:
    """Let each product of two tensors take the factors of one, beside the other, which is pinned.

    A factor that is pinned already, such as a gate's sigmoid, leaves the other free. If none is, the smaller one is
    pinned, by channel.
    """

    def sides(step: Step) -> list[Ids]:
        """The channels of its factors, the larger tensor first."""
        return [links.ids[name] for name in sorted(step.inputs, key=lambda name: -np.prod(program.shapes[name]))]

    left = list(links.products)
    while left:
        groups = links.components()
        decided = [step for step in left if _try_product(links, step, sides(step), groups)]
        if not decided:
            decided = left[:1]
            _try_product(links, left[0], sides(left[0]), groups, force=True)
        left = [step for step in left if not any(step is other for other in decided)]


def _try_product(links: Links, step: Step, sides: list[Ids], groups: Ids, *, force: bool = False) -> bool:
    """Link the channels of a product if at least one factor of each is pinned, or if forced to; whether it was done."""
    out = links.ids[step.output]
    if any(len(side) != len(out) for side in sides):  # one channel times many
        links.pin(*step.inputs, step.output)
        return True
    pinned = [groups[side] == groups[PINNED] for side in sides]
    if not force and not np.all(pinned[0] | pinned[1]):
        return False
    # If both are free, the second is pinned. A product of a tensor and itself pins it.
    open_ = ~(pinned[0] | pinned[1])
    links.tie(sides[1][open_], np.full(1, PINNED))
    by_second = pinned[0] & ~pinned[1]
    links.tie(out, np.where(by_second, sides[1], sides[0]))
    return True


ChannelRanges = Mapping[str, tuple[Doubles, Doubles]]
"""Smallest and largest values by tensor, each of shape (channels,)."""


def channel_ranges(program: Program, items: Array) -> ChannelRanges:
    """Measure the range of each channel, that is each index of the last axis, of every float tensor.

    Args:
        program: The float program.
        items: Calibration items (n, *item shape).
    """
    import tensorflow as tf

    def measure(batch: Any) -> dict[str, tuple[Any, Any]]:
        rows = {
            name: tf.reshape(value, [-1, (program.shapes[name] or (1,))[-1]])
            for name, value in program.run(batch).items()
            if value.dtype == tf.float32
        }
        return {name: (tf.reduce_min(row, 0), tf.reduce_max(row, 0)) for name, row in rows.items()}

    # An unrolled loop takes its items one by one: hundreds of calls of a thousand small operations.
    measured = measure if program.batched else tf.function(measure, autograph=False)
    ranges: dict[str, tuple[Array, Array]] = {}
    for batch in program.batches(items):
        for name, (low, high) in measured(batch).items():
            old = ranges.get(name, (np.inf, -np.inf))
            ranges[name] = np.minimum(old[0], low), np.maximum(old[1], high)
    return {name: (low.astype(np.float64), high.astype(np.float64)) for name, (low, high) in ranges.items()}


def tensor_ranges(channels: ChannelRanges, source: str, source_range: tuple[float, float] | None) -> Ranges:
    """Ranges of whole tensors, for litert-quantizer.

    Args:
        channels: Ranges of the channels.
        source: Name of the input.
        source_range: Range of the input, if it is known beforehand.
    """
    ranges = {}
    for name, (low, high) in channels.items():
        least = float(np.min(low))
        most = float(np.max(high))
        ranges[name] = least, max(most, least + SMALLEST)
    if source_range is not None:
        ranges[source] = source_range
    return ranges


def move_ranges(
    ranges: ChannelRanges, *, factors: Mapping[str, Doubles] | None = None, shifts: Mapping[str, Doubles] | None = None
) -> ChannelRanges:
    """Ranges once channels are divided by factors, and shifts subtracted, by tensor."""
    by = factors or {}
    less = shifts or {}

    def move(name: str, side: Doubles) -> Doubles:
        return np.asarray(side / by.get(name, 1.0) - less.get(name, 0.0), np.float64)

    return {name: (move(name, low), move(name, high)) for name, (low, high) in ranges.items()}
