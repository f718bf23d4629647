"""What rounding any choice of a graph's tensors costs, simulated, and its layers as a user knows them.

A quantized file rounds the weights of a layer and what the layer makes. `LayerSimulation` rounds the same in a program,
and compares the answers with the float ones. Inputs of a layer count for the layer that makes them.

The layers of a program as a user knows them: operations of one layer of the source model, by that layer's name.

Keras adds a number to each scope when it traces a model: a layer "conv" becomes "net_1/conv_1".
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np

from edgepress.converters.arrays import Array
from edgepress.converters.float_layers import layer_name
from edgepress.converters.graph.program import Program
from edgepress.converters.graph.simulate import Scales, TensorGrid
from edgepress.converters.graph.step import Step

_TRACED = re.compile(r"_\d+$")


@dataclass(frozen=True, eq=False)
class SourceLayer:
    """The operations of one layer.

    Attributes:
        name: Its name in the source model if the file tells, unique.
        steps: Its operations in the order in which they run; none for the rounding of the graph's input.
        scopes: Scopes of its operations in the source model; none if they are in no layer.
        macs: Multiplications for one item.
        elements: Number of its weights.
    """

    name: str
    steps: tuple[Step, ...]
    scopes: tuple[str, ...]
    macs: int
    elements: int

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the tensors that it makes."""
        return tuple(name for step in self.steps for name in step.outputs)

    @property
    def weights(self) -> tuple[str, ...]:
        """Names of its constant weights."""
        return tuple(dict.fromkeys(step.weights for step in self.steps if step.weights))

    @property
    def kinds(self) -> tuple[str, ...]:
        """Kinds of its operations, without repeats."""
        return tuple(dict.fromkeys(step.kind for step in self.steps))


def layers_of(program: Program) -> tuple[SourceLayer, ...]:
    """The layers of a program in the order in which they begin."""
    named = [step.weights if _names_a_layer(step) else step.output for step in program.steps]
    scopes = [layer_name(name) for name in named]
    weighted = [scope.split("/") for step, scope in zip(program.steps, scopes, strict=True) if step.weights]
    whole = {parts[0] for parts in weighted}  # the model's own name, if all begin with it
    whole = whole if len(whole) == 1 and all(len(parts) > 1 for parts in weighted) else set()
    traced = bool(weighted) and all(_TRACED.search(part) for parts in weighted for part in parts)
    groups: dict[str, list[tuple[Step, str]]] = {}
    for step, name, scope in zip(program.steps, named, scopes, strict=True):
        parts = scope.split("/")
        if parts[0] in whole and len(parts) == 1:  # of no layer, such as "net/Mul"
            groups.setdefault(name.partition(";")[0].partition("/")[2] or name, []).append((step, ""))
            continue
        parts = parts[1:] if parts[0] in whole else parts
        readable = "/".join(_TRACED.sub("", part) for part in parts) if traced else "/".join(parts)
        groups.setdefault(readable, []).append((step, scope))
    return tuple(_layer(name, *zip(*members, strict=True)) for name, members in groups.items())


def _layer(name: str, steps: tuple[Step, ...], scopes: tuple[str, ...]) -> SourceLayer:
    elements = sum(step.constants[1].size for step in steps if step.weights)
    return SourceLayer(
        name, steps, tuple(dict.fromkeys(filter(None, scopes))), sum(step.macs for step in steps), elements
    )


def _names_a_layer(step: Step) -> bool:
    """Whether the weights' name tells the layer better than the output's, which is "Identity" for the graph's."""
    return bool(step.weights) and "/" in step.weights and "/" not in step.output


BUDGET_MACS = 1.5e11
"""Multiplications of one call; the number of items follows from it, so that it does not depend on the machine."""
FEWEST_ITEMS = 8
"""Least number of items that measure how sensitive a layer is."""


def affordable(program: Program, items: Array, runs: int, budget_macs: float) -> Array:
    """Evenly spread items, as many as the time for a number of runs allows; at least `FEWEST_ITEMS`."""
    count = int(budget_macs // (runs * max(1, sum(step.macs for step in program.steps))))
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
        self.program = program
        self._reads = scales.reads
        self.grids: dict[str, TensorGrid] = {**scales.constants, **scales.tensors}
        self.layers = {layer: names for layer in layers_of(program) if (names := self._tensors_of(layer))}
        source = self.grids.get(program.source)
        if source is not None and float(np.max(source.scale)) != 1.0:  # raw pixels are exact
            self.layers[SourceLayer("input", (), (), 0, 0)] = [program.source]
        self.names = tuple(name for names in self.layers.values() for name in names)
        self._function: Any = None

    def _tensors_of(self, layer: SourceLayer) -> list[str]:
        """The tensors that a layer rounds: not those with the grid of its input, whose values are on it already."""
        names = [name for name in layer.weights if name in self.grids]
        for step in layer.steps:
            if step.output == self.program.sink and self.program.logits != self.program.sink:
                continue
            before = None if step.weights else self.grids.get(step.inputs[0])
            grids = {name: self.grids[name] for name in step.outputs if name in self.grids}
            names += [name for name, grid in grids.items() if before is None or grid.key != before.key]
        return names

    def use(self, items: Array) -> None:
        """Compare on these items from now on."""
        self.items = items
        self._float = self._outputs(())

    def divergence(self, rounded: Collection[str]) -> float:
        """How far answers to the items in use are from the float ones where the tensors of these names are rounded.

        The Kullback-Leibler divergence of the probabilities from the float ones, mean over the items, nats.
        """
        return _divergence(self._float, self._outputs(rounded))

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

        places = {name: place for place, name in enumerate(self.names)}
        held = self.program.constants

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
        return self.program.run(items, constants=constants, after=rounded, before=reread)[self.program.logits]


def _divergence(true: Array, rounded: Array) -> float:
    """Mean Kullback-Leibler divergence of logits of shape (items, outputs) from the float ones."""
    if true.shape[1] == 1:  # a single label: the logit of its probability
        true, rounded = (np.concatenate([np.zeros_like(values), values], 1) for values in (true, rounded))
    p, q = (_log_softmax(values.astype(np.float64)) for values in (true, rounded))
    return float(np.mean(np.sum(np.exp(p) * (p - q), 1)))


def _log_softmax(logits: Array) -> Array:
    shifted = logits - logits.max(1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(1, keepdims=True)))
