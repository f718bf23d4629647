"""Units: sets of channels of a graph that can only leave together, and families of units of the same layers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from edgepress.converters.graph.program import Program
from edgepress.converters.pruning.links import removal_links
from edgepress.converters.ptq.channel_links import Ids

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
