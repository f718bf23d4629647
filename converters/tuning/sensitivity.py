"""What quantizing each layer costs: alone in a float graph, and what keeping it float regains in a quantized one.

A quantized file rounds the weights of a layer and what the layer makes. `sensitivity` rounds the same in a program, of
any choice of layers, and compares the answers with the float ones. Inputs of a layer count for the layer that makes
them.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np
import numpy.typing as npt

from edgepress.converters.graph.program import Program
from edgepress.converters.graph.simulate import Rounding, Scales
from edgepress.converters.graph.step import Step
from edgepress.converters.graph.tflite_scales import scales_of_tflite
from edgepress.converters.tuning.layers import Layer, layers_of, macs

Array = npt.NDArray[Any]
BUDGET_MACS = 1.5e11
"""Multiplications of one call; the number of items follows from it, so that it does not depend on the machine."""
FEWEST_ITEMS = 8
TINY = 1e-12
ENDS = ("SOFTMAX", "LOGISTIC")
"""Last operations, in front of which the answers are compared: they hide differences where they saturate."""


@dataclass(frozen=True)
class Loss:
    """How far answers are from the float ones on the same items.

    Attributes:
        agreement: Share of items with the same top label, 0-1.
        divergence: Kullback-Leibler divergence of the probabilities from the float ones, mean over the items, nats; of
            outputs that are no probabilities, the noise's share of their power.
        sqnr_db: Power of the float answers to that of the difference, dB.
    """

    agreement: float
    divergence: float
    sqnr_db: float


@dataclass(frozen=True)
class LayerLoss:
    """What a layer costs.

    Attributes:
        layer: The layer.
        alone: The loss where nothing but this layer is quantized.
        without: The loss where all is quantized but this layer.
    """

    layer: Layer
    alone: Loss
    without: Loss


@dataclass(frozen=True)
class Sensitivity:
    """The losses of all layers that are quantized, in the order of the graph.

    Attributes:
        layers: Layer by layer.
        whole: The loss where all is quantized.
        items: Number of items that it was measured on.
    """

    layers: tuple[LayerLoss, ...]
    whole: Loss
    items: int

    def regained(self, of: LayerLoss) -> float:
        """Part of the divergence of the whole that is regained by keeping a layer float; negative if it grows."""
        return self.whole.divergence - of.without.divergence

    @property
    def worst(self) -> list[LayerLoss]:
        """The layers, that which costs most alone first."""
        return sorted(self.layers, key=lambda one: -one.alone.divergence)


def sensitivity(
    program: Program,
    quantized: bytes,
    items: Array,
    *,
    budget_macs: float = BUDGET_MACS,
) -> Sensitivity:
    """Measure what quantizing each layer costs.

    Args:
        program: The float program.
        quantized: A file that litert-quantizer made of the same graph, without rewrites, so that the names of tensors
            are the program's; its scales are used.
        items: Items of shape (n, *item shape), of which as many are used as the budget allows, at least 8.
        budget_macs: Multiplications that the measurement may take.
    """
    simulation = LayerSimulation(program, scales_of_tflite(program, quantized))
    simulation.use(affordable(program, items, 2 * len(simulation.layers) + 2, budget_macs))
    every, found = {*simulation.names}, []
    for layer, names in simulation.layers.items():
        found.append(LayerLoss(layer, simulation.loss(names), simulation.loss(every.difference(names))))
    return Sensitivity(tuple(found), simulation.loss(every), len(simulation.items))


def affordable(program: Program, items: Array, runs: int, budget_macs: float) -> Array:
    """As many items, spread over those given, as a number of runs may take; at least `FEWEST_ITEMS`."""
    count = int(budget_macs // (runs * max(1, sum(map(macs, program.steps)))))
    places = np.linspace(0, len(items) - 1, min(len(items), max(count, FEWEST_ITEMS))).astype(int)
    chosen: Array = items[places]
    return chosen


class LayerSimulation:
    """A program in which any choice of tensors is rounded.

    Args:
        program: The float program.
        scales: How the quantized file stores the tensors.

    Attributes:
        program: As given.
        grids: How the file stores the tensors that are computed and the constants, by name.
        layers: The names of the tensors that each layer rounds, its weights first; layers that round none are left out.
        items: The items in use.
    """

    def __init__(self, program: Program, scales: Scales) -> None:
        self.program, self._reads = program, scales.reads
        self.grids: dict[str, Rounding] = {**scales.constants, **scales.tensors}
        self.layers = {layer: names for layer in layers_of(program) if (names := self._rounded_by(layer))}
        source = self.grids.get(program.source)
        if source is not None and float(np.max(source.scale)) != 1.0:  # raw pixels are exact
            self.layers[Layer("input", (), (), 0, 0)] = [program.source]
        self.names = tuple(name for names in self.layers.values() for name in names)
        self._function: Any = None

    def _rounded_by(self, layer: Layer) -> list[str]:
        """The tensors that a layer rounds: not those with the grid of its input, whose values are on it already."""
        found = [name for name in layer.weights if name in self.grids]
        for step in layer.steps:
            if step is self.program.steps[-1] and step.kind in ENDS:
                continue
            before = None if step.weights else self.grids.get(step.inputs[0])
            grids = {name: self.grids[name] for name in step.outputs if name in self.grids}
            found += [name for name, grid in grids.items() if before is None or grid.key != before.key]
        return found

    def use(self, items: Array) -> None:
        """Compare on these items from now on."""
        self.items = items
        self._float = self._outputs(())

    def loss(self, rounded: Collection[str]) -> Loss:
        """The loss on the items in use where the tensors of these names are rounded."""
        return loss_of(self._float, self._outputs(rounded))

    def _outputs(self, rounded: Collection[str]) -> Array:
        mask = np.array([name in rounded for name in self.names])
        parts = [self._run(part, mask) for part in self.program.batches(self.items)]
        return np.concatenate([np.asarray(part) for part in parts]).reshape(len(self.items), -1)

    def _run(self, items: Array, mask: Array) -> Any:
        import tensorflow as tf

        if self._function is None:  # traced once for all choices of layers
            self._function = tf.function(self._compute, autograph=False, reduce_retracing=True)
        return self._function(tf.constant(items), tf.constant(mask))

    def _compute(self, items: Any, mask: Any) -> Any:
        """The answers, or the logits that they are computed from, with rounding where the mask says so."""
        import tensorflow as tf

        places, held = {name: place for place, name in enumerate(self.names)}, self.program.constants

        def rounded(name: str, value: Any) -> Any:
            if name not in places:
                return value
            return tf.cond(mask[places[name]], lambda: self.grids[name].apply(value), lambda: value)

        def reread(step: Step, place: int, value: Any) -> Any:
            name = step.inputs[place]
            again = self._reads.get((step.output, place), ()) if name in places else ()
            if not again:
                return value
            return tf.cond(mask[places[name]], lambda: reduce(lambda x, r: r.apply(x), again, value), lambda: value)

        constants = {name: rounded(name, tf.constant(held[name])) for name in self.names if name in held}
        values = self.program.run(items, constants=constants, after=rounded, before=reread)
        last = self.program.steps[-1]
        return values[last.inputs[0] if last.kind in ENDS else self.program.sink]


def loss_of(true: Array, found: Array) -> Loss:
    """How far logits or other outputs of shape (items, outputs) are from the float ones."""
    noise, power = float(np.mean((true - found) ** 2)), float(np.mean(true**2))
    sqnr = float(10 * np.log10(max(power, TINY) / max(noise, TINY)))
    if true.shape[1] == 1:  # a single label: the logit of its probability
        true, found = (np.concatenate([np.zeros_like(values), values], 1) for values in (true, found))
    return Loss(float(np.mean(true.argmax(1) == found.argmax(1))), _divergence(true, found), sqnr)


def _divergence(true: Array, found: Array) -> float:
    p, q = (_log_softmax(values.astype(np.float64)) for values in (true, found))
    return float(np.mean(np.sum(np.exp(p) * (p - q), 1)))


def _log_softmax(logits: Array) -> Array:
    moved = logits - logits.max(1, keepdims=True)
    found: Array = moved - np.log(np.exp(moved).sum(1, keepdims=True))
    return found
