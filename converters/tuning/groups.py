"""Scale groups: sets of channels of a float graph that one positive factor may scale without a change of its answers.

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

from edgepress.converters.graph.program import Program
from edgepress.converters.graph.step import Step
from edgepress.converters.tuning.channels import input_channels, output_channels
from edgepress.converters.tuning.links import PINNED, Ids, Links, has_channels, scaling_links

Array = npt.NDArray[Any]
Factors = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Groups:
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

    def scaled(self, factors: Factors) -> dict[str, Array]:
        """Constants that make each channel its value divided by the factor of its group, by name.

        Args:
            factors: Positive numbers, shape (count,), the first of them 1.
        """
        changed: dict[str, Array] = {}
        for step in self.program.steps:
            for place, values in self._adapted(step, factors).items():
                if not np.array_equal(values, step.constants[place]):
                    changed[step.inputs[place]] = values.astype(np.float32)
        return changed

    def _adapted(self, step: Step, factors: Factors) -> dict[int, Array]:
        """New constants of a step by place."""
        out = factors[self.of[step.output]]
        if step.weights:
            source, weights = self.of.get(step.inputs[0]), step.constants[1] / out[output_channels(step)]
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


def scale_groups(program: Program) -> Groups:
    """Find the scale groups of a program."""
    links = scaling_links(program)
    _decide_products(links, program)
    found = links.components()
    # Groups of tensors are numbered in the order of the graph; channels of constants only have none.
    bounded = np.zeros(int(np.max(found)) + 1, np.bool_)
    for ids in links.bounded:
        bounded[found[ids]] = True
    bounded[PINNED] = False
    return Groups(program, {name: found[ids] for name, ids in links.ids.items()}, len(bounded), bounded)


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
        found = links.components()
        decided = [step for step in left if _try_product(links, step, sides(step), found)]
        if not decided:
            decided = left[:1]
            _try_product(links, left[0], sides(left[0]), found, force=True)
        left = [step for step in left if not any(step is other for other in decided)]


def _try_product(links: Links, step: Step, sides: list[Ids], found: Ids, *, force: bool = False) -> bool:
    """Link the channels of a product if at least one factor of each is pinned, or if forced to; whether it was done."""
    out = links.ids[step.output]
    if any(len(side) != len(out) for side in sides):  # one channel times many
        links.pin(*step.inputs, step.output)
        return True
    pinned = [found[side] == found[PINNED] for side in sides]
    if not force and not np.all(pinned[0] | pinned[1]):
        return False
    # If both are free, the second is pinned. A product of a tensor and itself pins it.
    open_ = ~(pinned[0] | pinned[1])
    links.tie(sides[1][open_], np.full(1, PINNED))
    by_second = pinned[0] & ~pinned[1]
    links.tie(out, np.where(by_second, sides[1], sides[0]))
    return True
