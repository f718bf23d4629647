"""Units: sets of channels that can only be removed together, operation by operation, and families of units.

Which channels of a graph's tensors can only be removed together, operation by operation.

Most rules are those of scaling (`ptq.channel_links`). More is allowed here: any function of single values keeps its
channels apart, also one that no factor passes, and so does a product of two tensors. Less is allowed of depthwise and
grouped convolutions, whose input and output channels belong together, and of a split into equal parts. Operations that
are not in `RULES` pin their tensors, which is always right.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from edgepress.converters.graph.program import Program
from edgepress.converters.graph.step import Step
from edgepress.converters.ptq import channel_links as scaling
from edgepress.converters.ptq.channel_links import Ids, Links, Rule, by_first, link_weighted

UNARY = [
    "ABS",
    "CEIL",
    "COS",
    "ELU",
    "EXP",
    "FLOOR",
    "GELU",
    "HARD_SWISH",
    "LEAKY_RELU",
    "LOG",
    "LOGISTIC",
    "NEG",
    "PRELU",
    "RELU",
    "RELU6",
    "RELU_0_TO_1",
    "RELU_N1_TO_1",
    "ROUND",
    "RSQRT",
    "SIGN",
    "SIN",
    "SQRT",
    "SQUARE",
    "TANH",
]
"""Kinds of operations that compute each value from the one at its place, PRELU with a constant."""
BINARY = ["ADD", "ADD_N", "DIV", "MAXIMUM", "MINIMUM", "MUL", "POW", "SQUARED_DIFFERENCE", "SUB"]
"""Kinds that compute each value from those at its place."""


def removal_links(program: Program) -> Links:
    """The channels of a program that can only leave together."""
    links = Links(program)
    for step in program.steps:
        links.apply(RULES, step)
    return links


def groups_of(step: Step) -> int:
    """Number of groups of a convolution's channels; 1 of other operations."""
    if step.kind not in ("CONV_2D", "DEPTHWISE_CONV_2D") or not step.weights:
        return 1
    return step.input_shape[-1] // (step.constants[1].shape[-1] if step.kind == "CONV_2D" else 1)


def by_channel(step: Step) -> bool:
    """Whether every output channel of a step with weights is made of one input channel, which leaves with it."""
    return step.kind == "DEPTHWISE_CONV_2D" or 1 < groups_of(step) == step.input_shape[-1]


def _link_weighted(step: Step, links: Links) -> None:
    """Groups stay equal: the same channels leave each, unless a group is one channel and leaves whole."""
    link_weighted(step, links)
    source = links.ids.get(step.inputs[0])
    out = links.ids[step.output]
    if source is None:
        return
    if by_channel(step):
        links.tie(out, np.repeat(source, len(out) // len(source)))
    else:
        for ids in (source, out):
            links.tie(ids, np.resize(ids[: len(ids) // groups_of(step)], len(ids)))


def _elementwise(step: Step, links: Links) -> None:
    """A tensor of one channel may meet others of many."""
    out = links.ids[step.output]
    for name in links.computed(step):
        if len(links.ids[name]) == len(out):
            links.tie(out, links.ids[name])
        elif len(links.ids[name]) > 1:
            links.pin(name, step.output)


def _link_reshape(step: Step, links: Links) -> None:
    if len(step.inputs) > 1 and 1 not in step.constants:  # a computed shape
        links.pin(step.inputs[0], step.output)
    else:
        scaling.RULES["RESHAPE"](step, links)


def _split(step: Step, links: Links) -> None:
    """The parts of a SPLIT stay equal; the sizes of SPLIT_V are written in the file."""
    scaling.RULES[step.kind](step, links)
    outs = [links.ids[name] for name in step.outputs]
    if step.kind == "SPLIT":
        for out in outs[1:]:
            links.tie(out, outs[0])
    elif 1 not in step.constants:
        links.pin(*step.inputs, *step.outputs)


def _link_slice(step: Step, links: Links) -> None:
    scaling.RULES[step.kind](step, links)
    if step.kind == "SLICE" and 2 not in step.constants:
        links.pin(step.inputs[0], step.output)


RULES: Mapping[str, Rule] = {
    **scaling.RULES,
    **dict.fromkeys(UNARY, by_first),
    **dict.fromkeys(BINARY, _elementwise),
    **dict.fromkeys(("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"), _link_weighted),
    "RESHAPE": _link_reshape,
    **dict.fromkeys(("SPLIT", "SPLIT_V"), _split),
    **dict.fromkeys(("SLICE", "STRIDED_SLICE"), _link_slice),
    **dict.fromkeys(("MIRROR_PAD", "SPACE_TO_BATCH_ND", "BATCH_TO_SPACE_ND"), by_first),
}
"""By the name of the kind in the schema."""


Keep = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Family:
    """Units that have channels in the same tensors, as many in each: the channels of a layer, as a user knows them.

    Attributes:
        units: Their numbers, ascending.
        channels: How many channels one of them has in each tensor.
    """

    units: npt.NDArray[np.intp]
    channels: Mapping[str, int]


@dataclass(frozen=True)
class Units:
    """What can leave a program.

    Attributes:
        of: Number of the unit of each channel, by tensor; 0 stands for channels that stay.
        count: Number of units, with unit 0.
    """

    program: Program = field(repr=False)
    of: Mapping[str, Ids] = field(repr=False)
    count: int

    @cached_property
    def families(self) -> tuple[Family, ...]:
        """All families, in the order of their first unit."""
        members: dict[int, list[tuple[str, int]]] = {}
        for name, ids in self.of.items():
            for unit, channels in zip(*np.unique(ids, return_counts=True), strict=True):
                members.setdefault(int(unit), []).append((name, int(channels)))
        members.pop(0, None)
        by_members: dict[tuple[tuple[str, int], ...], list[int]] = {}
        for unit in sorted(members):
            by_members.setdefault(tuple(members[unit]), []).append(unit)
        return tuple(Family(np.array(units), dict(channels)) for channels, units in by_members.items())

    def kept(self, name: str, keep: Keep) -> Keep:
        """Which channels of a computed tensor stay, if the units of `keep` do, shape (count,)."""
        return np.asarray(keep[self.of[name]])


def removable_units(program: Program) -> Units:
    """Find the units of a program; what would leave a tensor without any channel stays."""
    links = removal_links(program)
    components = links.components()
    for ids in links.ids.values():
        if len(set(components[ids])) == 1:
            components[components == components[ids[0]]] = 0
    used, numbers = np.unique(np.append(components, 0), return_inverse=True)
    return Units(program, {name: numbers[ids] for name, ids in links.ids.items()}, len(used))


def all_kept(units: Units) -> Any:
    """A `Keep` by which nothing leaves."""
    return np.ones(units.count, np.bool_)
