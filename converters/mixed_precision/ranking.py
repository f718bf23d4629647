"""The order in which layers are best kept in float: most accuracy first for the time and the bytes that they cost.

The losses of roundings are taken to add up. A tensor is free of rounding only if the layer that makes it and all that
read it compute in float; the weights of a layer are, if they are stored in float32.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from edgepress.converters.graph.step import Step
from edgepress.converters.mixed_precision.sensitivity import LayerSimulation, SourceLayer, layers_of

MAC_NS = {"CONV_2D": (1 / 58, 1 / 215), "FULLY_CONNECTED": (1 / 58, 1 / 215), "DEPTHWISE_CONV_2D": (1 / 19, 1 / 19)}
"""Nanoseconds of a multiplication in float and in 8 bits, of XNNPACK on x86-64 with VNNI (docs/speed.md)."""
ELEMENT_NS = (0.3, 0.1)
"""The same of an element of another operation."""
BORDER_NS = 0.15
"""Nanoseconds of an element that is quantized or dequantized at a border."""
OPERATION_NS = 300.0
"""Nanoseconds of every operation, whatever its size."""
FREE = 1e-4
"""Share of the whole net's time that counts as nothing."""


@dataclass(frozen=True)
class FloatSet:
    """What is in float: layers, by their places in `Ranking.layers`, and those of them with float32 weights."""

    layers: frozenset[int] = frozenset()
    weights: frozenset[int] = frozenset()


class Ranking:
    """The choices of float layers that give most for what they cost.

    Args:
        simulation: A simulation of the program.
        losses: What rounding each tensor alone costs, by name.
    """

    def __init__(self, simulation: LayerSimulation, losses: Mapping[str, float]) -> None:
        program = simulation.program
        self._simulation = simulation
        self._rounded = {*simulation.names}
        self.losses = dict(losses)
        self.layers = layers_of(program)
        place = {id(step): number for number, layer in enumerate(self.layers) for step in layer.steps}
        self._makers = {name: place[id(step)] for name, step in program.makers.items()}
        self._readers = program.readers
        self._place = place
        weights = {name: number for number, layer in enumerate(self.layers) for name in layer.weights}
        self._needs = {
            name: FloatSet(frozenset({weights[name]}), frozenset({weights[name]}))
            if name in weights
            else FloatSet(self._layers_around(name))
            for name in simulation.names
        }
        self._borders = [
            (self._makers.get(name, -1), frozenset(place[id(s)] for s in readers), int(np.prod(program.shapes[name])))
            for name, readers in self._readers.items()
            if name in self._makers or name == program.source
        ]
        self._names: dict[int, list[str]] = {}
        for name, need in self._needs.items():
            for number in need.layers:
                self._names.setdefault(number, []).append(name)
        self._near: dict[int, list[int]] = {}
        for border, (maker, others, _) in enumerate(self._borders):
            for number in {maker, *others}:
                self._near.setdefault(number, []).append(border)
        self._time = sum(self._step_ns(step)[1] for step in program.steps)
        self._bytes = max(1, sum(layer.elements for layer in self.layers))

    def _layers_around(self, tensor: str) -> frozenset[int]:
        """The layers that must be in float for a tensor not to be rounded."""
        layers = {self._makers[tensor]} if tensor in self._makers else set()
        left = [tensor]
        while left:
            for step in self._readers.get(left.pop(), []):
                layers.add(self._place[id(step)])
                # What has its input's grid, such as a pool, would round the tensor again.
                left += [n for n in step.outputs if n in self._simulation.grids and n not in self._rounded]
        return frozenset(layers)

    def fill_between(self, layers: frozenset[int]) -> frozenset[int]:
        """Layers that move values between these alone, such as pools, without weights or a grid of their own."""
        widened = set(layers)
        for need in self._needs.values():
            more = need.layers - widened
            if not need.weights and more and need.layers & layers and not any(self._rounds(n) for n in more):
                widened |= more
        return frozenset(widened)

    def _rounds(self, number: int) -> bool:
        layer = self.layers[number]
        return any(name in self._rounded for name in (*layer.weights, *layer.outputs))

    def loss(self, state: FloatSet) -> float:
        """The sum of the losses of what is still rounded."""
        return sum(loss for name, loss in self.losses.items() if not self._is_free(name, state))

    def _is_free(self, name: str, state: FloatSet) -> bool:
        need = self._needs[name]
        return need.layers <= state.layers and need.weights <= state.weights

    def cost(self, state: FloatSet) -> float:
        """Time beyond that of the whole net in 8 bits, as a share of it, and bytes alike, added."""
        return self._extra_cost(FloatSet(), state)

    def _gain(self, now: FloatSet, then: FloatSet) -> float:
        """Loss that is regained by a state that contains another."""
        new = (then.layers - now.layers) | (then.weights - now.weights)
        touched = dict.fromkeys(name for number in sorted(new) for name in self._names.get(number, ()))
        return sum(self.losses[n] for n in touched if self._is_free(n, then) and not self._is_free(n, now))

    def _extra_cost(self, now: FloatSet, then: FloatSet) -> float:
        """Cost that a state has beyond that of one which it contains."""
        new = then.layers - now.layers
        time = sum(slow - fast for n in new for slow, fast in map(self._step_ns, self.layers[n].steps))
        for border in {border for number in new for border in self._near.get(number, ())}:
            time += self._border_ns(border, then) - self._border_ns(border, now)
        more = sum(3 * self.layers[number].elements for number in then.weights - now.weights)
        return time / self._time + more / self._bytes

    def _border_ns(self, border: int, state: FloatSet) -> float:
        """Time that quantizing or dequantizing a tensor takes."""
        maker, readers, size = self._borders[border]
        crossed = readers - state.layers if maker in state.layers else readers & state.layers
        return BORDER_NS * size + OPERATION_NS if crossed else 0.0

    @staticmethod
    def _step_ns(step: Step) -> tuple[float, float]:
        slow, fast = MAC_NS.get(step.kind, ELEMENT_NS) if step.weights else ELEMENT_NS
        return slow * step.macs + OPERATION_NS, fast * step.macs + OPERATION_NS

    def states(self, start: FloatSet) -> Iterator[FloatSet]:
        """Ever more layers in float, beginning with a choice, as long as something is regained by one more.

        In each, a layer that has weights stays in 8 bits. The last has only one such layer: that which costs least.
        """
        now = start
        least = 1e-6 * max(sum(self.losses.values()), 1e-12)
        yield now
        while (larger := self._next(now, least)) is not None:
            now = larger
            yield now
        last = min((self._all_but(n) for n in self._weighted - start.layers), key=self.loss, default=now)
        if self.loss(last) < self.loss(now) - least:
            yield last

    def further_states(self, now: FloatSet) -> Iterator[FloatSet]:
        """More layers in float, the cheapest first, whatever the simulation says, until one with weights is left."""
        while thens := [then for then in self._larger(now) if self._weighted - then.layers]:
            now = min(thens, key=lambda then: self._extra_cost(now, then))
            yield now

    def _larger(self, now: FloatSet) -> list[FloatSet]:
        """The state with what one more tensor needs to be free of rounding, for each that is not."""
        needs = dict.fromkeys(self._needs.values())
        larger = (FloatSet(now.layers | need.layers, now.weights | need.weights) for need in needs)
        return [then for then in larger if then != now]

    def _next(self, now: FloatSet, least: float) -> FloatSet | None:
        best = None
        best_worth = 0.0
        for then in self._larger(now):
            gain = self._gain(now, then)
            worth = gain / (max(self._extra_cost(now, then), 0.0) + FREE)
            if gain > least and worth > best_worth and self._weighted - then.layers:
                best = then
                best_worth = worth
        return best

    @property
    def _weighted(self) -> frozenset[int]:
        return frozenset(number for number, layer in enumerate(self.layers) if layer.weights)

    def _all_but(self, number: int) -> FloatSet:
        return FloatSet(frozenset(range(len(self.layers))) - {number}, self._weighted - {number})

    def is_rounded(self, layer: SourceLayer) -> bool:
        """Whether an 8-bit file rounds anything of a layer: some operations stay float in any case."""
        return any(name in self._simulation.grids for name in (*layer.weights, *layer.outputs))
