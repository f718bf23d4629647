"""How many channels of each family stay: the least important ones leave, for what they cost, until a bound is met.

Importance is measured once for many cuts, while what a channel is worth grows as others of its layer leave. A family's
price therefore grows with the share of it that is gone, and a single plan takes at most a share of it (`CUT`).

Kernels compute channels in blocks (XNNPACK's of integers 8, 16 or more output channels at once, by the CPU, from 4 or 8
input channels), so that a wide layer is cut to a multiple of them, and one of fewer channels to `NARROW` or any number
below. Where whole blocks save much more than asked, parts of blocks stay, in as few layers as that takes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from edgepress.converters.arrays import Array, Doubles
from edgepress.converters.graph.program import Program
from edgepress.converters.graph.step import Step
from edgepress.converters.pruning.units import Family, Keep, Units, all_kept, by_channel
from edgepress.converters.ptq.score import macs

Cost = Literal["macs", "bytes"]
"""What is saved: multiply-accumulates, or weights."""
BLOCK = 8
"""Channels that kernels compute at once, by default."""
NARROW = 8
"""Number of channels below which a layer may have any."""
CUT = 0.5
"""Share of a family that one plan may take."""
NEAR = 0.95
"""Share of the bound from which on a plan is near enough: below, parts of blocks stay."""


class PruningCosts:
    """The cost of a graph of which some units stay, without making its file.

    Args:
        model: The file of `units.program`.
        units: What can leave.
        kind: What is counted.
    """

    def __init__(self, model: bytes, units: Units, kind: Cost = "macs") -> None:
        self._units = units
        self._layers = [(step, float(_cost(step, kind))) for step in units.program.weighted()]
        total = macs(model) if kind == "macs" else sum(cost for _, cost in self._layers)
        self._rest = total - sum(cost for _, cost in self._layers)
        self._sizes = {name: len(ids) for name, ids in units.of.items()}
        self._reading: dict[str, list[int]] = {}
        for number, (step, _) in enumerate(self._layers):
            for name in dict.fromkeys((step.inputs[0], step.output)):
                self._reading.setdefault(name, []).append(number)

    def layers_of(self, family: Family) -> list[int]:
        """Numbers of the layers whose cost depends on a family."""
        return sorted({number for name in family.channels for number in self._reading.get(name, ())})

    def total(self, left: Mapping[str, int], layers: list[int] | None = None) -> float:
        """Cost with so many channels of the tensors, of some layers, or of everything."""
        numbers = range(len(self._layers)) if layers is None else layers
        return (self._rest if layers is None else 0) + sum(self._layer(n, left) for n in numbers)

    def sizes(self, keep: Keep) -> dict[str, int]:
        """Channels of every tensor if the units of `keep` stay."""
        return {name: int(np.count_nonzero(keep[ids])) for name, ids in self._units.of.items()}

    def _layer(self, number: int, left: Mapping[str, int]) -> float:
        step, cost = self._layers[number]
        names = [step.output] if by_channel(step) else [step.output, step.inputs[0]]
        for name in names:
            if name in self._sizes:
                cost *= left[name] / self._sizes[name]
        return cost


def weights(program: Program) -> int:
    """Number of weights of all layers: the cost "bytes" of a whole graph."""
    return sum(_cost(step, "bytes") for step in program.weighted())


def _cost(step: Step, kind: Cost) -> int:
    return int(step.constants[1].size) if kind == "bytes" else step.macs


@dataclass
class _FamilyState:
    """A family on the way: its units by importance, how many stay, and the next cut."""

    family: Family
    order: npt.NDArray[np.intp]
    importance: Doubles
    left: int
    least: int
    layers: list[int]
    next: int = 0
    price: float = np.inf


def chosen_units(
    units: Units,
    importance: Doubles,
    costs: PruningCosts,
    bound: float,
    *,
    block: int = BLOCK,
    keep: Keep | None = None,
    cut: float = CUT,
) -> Keep | None:
    """The units that stay, shape (count,); None if even the smallest graph costs more.

    Args:
        units: What can leave.
        importance: What the loss of each unit does, shape (count,), at least 0.
        costs: The costs that are to fall.
        bound: What their sum may be.
        block: Wide layers get a multiple of so many channels; 1 for any number.
        keep: The units that are left already; None for all.
        cut: Share of a family that may leave at most.
    """
    staying = all_kept(units) if keep is None else keep.copy()
    sizes = costs.sizes(staying)
    states = []
    for family in units.families:
        mine = family.units[staying[family.units]]
        order = mine[np.argsort(importance[mine], kind="stable")]
        layers = costs.layers_of(family)
        if layers:
            least = max(1, math.ceil(len(order) * (1 - cut)))
            states.append(_FamilyState(family, order, importance[order], len(order), least, layers))
    for state in states:
        _price(state, sizes, costs, block)
    total = costs.total(sizes)
    cuts = list[tuple[_FamilyState, int]]()
    while total > bound:
        possible = sorted((s for s in states if np.isfinite(s.price)), key=lambda s: s.price)
        if not possible:
            return None
        best = next((s for s in possible if _lands(s, sizes, costs, total=total, bound=bound)), possible[0])
        cuts.append((best, best.left))
        _set(best, best.next, staying, sizes)
        touched = set(best.layers)
        for state in states:
            if touched & set(state.layers):
                _price(state, sizes, costs, block)
        total = costs.total(sizes)
    _give_back(cuts, staying, sizes, costs=costs, bound=bound)
    _fill(states, staying, sizes, costs=costs, bound=bound, block=block)
    return staying


def planned_units(
    units: Units, importance: Doubles, costs: PruningCosts, bound: float, *, block: int = BLOCK
) -> Keep | None:
    """The same, with at most a share of each family, and in blocks, if that ends near the bound; else what does."""
    best = None
    most = 0.0
    for step, cut in ((block, CUT), (block, 1.0), (1, CUT), (1, 1.0)):
        keep = chosen_units(units, importance, costs, bound, block=step, cut=cut)
        if keep is not None and (total := costs.total(costs.sizes(keep))) > most:
            best = keep
            most = total
        if most >= NEAR * bound:
            break
    return best


def _set(state: _FamilyState, left: int, staying: Keep, sizes: dict[str, int]) -> None:
    """Let so many units of a family stay."""
    staying[state.order[: len(state.order) - left]] = False
    staying[state.order[len(state.order) - left :]] = True
    for name, channels in state.family.channels.items():
        sizes[name] += channels * (left - state.left)
    state.left = left


def _give_back(
    cuts: Sequence[tuple[_FamilyState, int]], staying: Keep, sizes: dict[str, int], *, costs: PruningCosts, bound: float
) -> None:
    """Undo cuts, the last and most expensive first, that the bound does not need: others behind them saved enough."""
    final: set[int] = set()
    for state, before in reversed(cuts):
        if id(state) in final:
            continue
        now = state.left
        _set(state, before, staying, sizes)
        if costs.total(sizes) > bound:
            _set(state, now, staying, sizes)
            final.add(id(state))


def _lands(state: _FamilyState, sizes: Mapping[str, int], costs: PruningCosts, *, total: float, bound: float) -> bool:
    """Whether the next cut of a family, or a part of it, does not end far below the bound."""
    cut = state.left - state.next
    saved = -_cost_of_more(state, -cut, sizes, costs)
    return total - saved >= NEAR * bound or saved / cut <= (1 - NEAR) * bound


def _fill(
    states: Sequence[_FamilyState],
    staying: Keep,
    sizes: dict[str, int],
    *,
    costs: PruningCosts,
    bound: float,
    block: int,
) -> None:
    """Let units stay again where whole blocks have saved more than asked: by blocks, then by ever smaller parts."""
    total = costs.total(sizes)
    while total < NEAR * bound and block:
        worth: dict[int, float] = {}
        for number, state in enumerate(states):
            gone = len(state.order) - state.left
            added = _cost_of_more(state, block, sizes, costs) if block <= gone else np.inf
            if 0 < added <= bound - total:
                worth[number] = float(state.importance[gone - block : gone].sum()) / added
        if not worth:
            block //= 2
            continue
        state = states[max(worth, key=worth.__getitem__)]
        _set(state, state.left + block, staying, sizes)
        total = costs.total(sizes)


def _cost_of_more(state: _FamilyState, count: int, sizes: Mapping[str, int], costs: PruningCosts) -> float:
    """What more units of a family cost; negative for fewer."""
    after = {name: sizes[name] + channels * count for name, channels in state.family.channels.items()}
    return costs.total({**sizes, **after}, state.layers) - costs.total(sizes, state.layers)


def _price(state: _FamilyState, sizes: Mapping[str, int], costs: PruningCosts, block: int) -> None:
    """Set the next cut of a family and its harm per saved cost; none if no more units may leave."""
    state.next = _below(state.left, block)
    state.price = np.inf
    if state.next < state.least:
        return
    cut = state.left - state.next
    saved = -_cost_of_more(state, -cut, sizes, costs)
    gone = len(state.order) - state.left
    if saved > 0:
        lost = float(state.importance[gone : gone + cut].sum()) * len(state.order) / state.next
        state.price = lost / saved


def _below(left: int, block: int) -> int:
    """The next smaller number of units that a family may have; 0 if there is none."""
    for step in (block, NARROW):
        if left > step and block > 1:
            return (left - 1) // step * step
    return left - 1


def normalize(importance: Array) -> Doubles:
    """Importance whose mean is 1, so that nothing underflows."""
    values = np.asarray(importance, np.float64)
    whole = float(values[1:].sum())
    return values * ((len(values) - 1) / whole) if whole > 0 else values
