"""Rounding of a graph's weights to four bits, so that its answers to unlabelled items stay.

Layers are rounded in their order (`layer_rounding`). A layer's inputs are those that the rounded layers before it
compute, its targets are the float outputs before its activation, and at last the mean error of each output is taken off
its bias (Nagel et al. 2019, arXiv:1906.04721, section 4.2), as it is where weights keep eight bits. So each layer makes
up for what those before it lost.

The largest weight of a channel lies at the end of its grid. Quantizers that take the scale from the largest weight, as
litert-quantizer and `to_onnx.grids` do, therefore find exactly this grid again.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgepress.converters.arrays import Array
from edgepress.converters.graph.layers import activate
from edgepress.converters.graph.program import Program, UnknownOperationError, run_step
from edgepress.converters.graph.step import WEIGHTED, Step
from edgepress.converters.numeric.grids import round_to_grid as eight_bits
from edgepress.converters.numeric.statistics import Ranges
from edgepress.converters.ptq.bias import live_bytes
from edgepress.converters.ptq.four_bits import choose_four_bits
from edgepress.converters.ptq.layer_rounding import best_steps, nearest, round_by_covariance, sampler
from edgepress.converters.to_tflite.graph import Graph
from edgepress.converters.to_tflite.grids import LEVELS, four_bit_candidates

LARGEST = 1 << 25
"""Values that a layer multiplies, squared, up to which its weights are rounded together."""
CHOOSING_ITEMS = 64
"""Number of items by which layers are chosen."""
LARGE = 0.2
"""Share of all weights from which on the last layer may get four bits, too: else the file would hardly be smaller."""
BYTES = 1 << 30
"""Memory that the tensors of all items may take."""


@dataclass(frozen=True)
class RoundedGraph:
    """A float graph whose weights lie on grids of four bits.

    Attributes:
        model: The file.
        layers: Names of the outputs of the layers whose weights were rounded.
        items: Number of items that were used.
    """

    model: bytes
    layers: tuple[str, ...]
    items: int


def round_weights(
    model: bytes,
    items: Array,
    ranges: Ranges | None = None,
    *,
    layers: Collection[str] | None = None,
) -> RoundedGraph:
    """Round weights of a float graph to four bits, and correct its biases.

    Args:
        model: A float `.tflite` of batch 1.
        items: Unlabelled items (n, *item shape), some hundred; fewer are used if their tensors would take over `BYTES`.
        ranges: Ranges of the tensors, by name: those given are rounded to 8 bits before layers read them.
        layers: Names of the outputs of the layers to round; None for those that `four_bits` chooses.

    Raises:
        UnknownOperationError: The graph has an operation that programs can't compute, or takes one item at a time.
    """
    program = Program(model)
    if not program.batched:
        raise UnknownOperationError("it computes one item at a time")
    items = items[: max(1, BYTES // (2 * live_bytes(program)))].astype(program.dtype)
    names = choose_layers(program, model, items[:CHOOSING_ITEMS]) if layers is None else tuple(layers)
    rounder = _Rounder(program, {*names}, ranges or {})
    rounder.run(items)
    return RoundedGraph(program.with_constants(rounder.changed), names, len(items))


def choose_layers(program: Program, model: bytes, items: Array) -> tuple[str, ...]:
    """Names of the outputs of the layers to round, of a batched program of a model, by the noise on some items."""
    graph = Graph(model)
    sizes = {step.output: step.constants[1].size for step in program.weighted()}
    order = list(sizes)
    is_large = bool(order) and sizes[order[-1]] > LARGE * sum(sizes.values())
    kept = {*order[:1], *([] if is_large else order[-1:])}
    names = [name for op in four_bit_candidates(graph) if (name := graph.output_name(op)) not in kept]
    alone = _Rounder(program, {*names}, {}, alone=True)
    alone.run(items)
    return tuple(choose_four_bits(program, names, alone.by_layer, items))


class _Rounder:
    """Computes a program in float and, beside it, with weights as they will be.

    With `alone`, each layer reads what the float program computes, and only those of `names` are changed.
    """

    def __init__(self, program: Program, names: Collection[str], ranges: Ranges, *, alone: bool = False) -> None:
        self.program = program
        self.names = names
        self.ranges = ranges
        self.alone = alone
        self.by_layer: dict[str, dict[str, Array]] = {}

    @property
    def changed(self) -> dict[str, Array]:
        """The changed constants, by name."""
        return {name: values for constants in self.by_layer.values() for name, values in constants.items()}

    def run(self, items: Array) -> None:
        """Compute all steps, and decide on the constants of each on the way."""
        import tensorflow as tf

        source = self.program.source
        true: dict[str, Any] = {source: tf.constant(items)}
        rounded: dict[str, Any] = {source: self._store(source, true[source])}
        for step in self.program.steps:
            if step.weights and (not self.alone or step.output in self.names):
                true[step.output], rounded[step.output] = self._round(step, true, rounded)
            else:
                true |= run_step(step, true)
                rounded |= true if self.alone else run_step(step, rounded)
            for name in step.outputs:
                rounded[name] = true[name] if self.alone else self._store(name, rounded[name])
            for name in {*step.inputs} & {*true}:
                if self.program.readers[name][-1] is step:
                    del true[name], rounded[name]

    def _round(self, step: Step, true: Mapping[str, Any], rounded: Mapping[str, Any]) -> tuple[Any, Any]:
        """A layer's outputs in float and as they will be, after its weights and biases were decided."""
        import tensorflow as tf

        changed = self.by_layer.setdefault(step.output, {})
        linear = step.without_activation
        expected = run_step(linear, true)[step.output]
        if step.output in self.names and step.weights not in self.program.shared:
            weights = self._four_bits(step, true[step.inputs[0]], rounded[step.inputs[0]])
            changed[step.weights] = weights
        else:
            weights = eight_bits(step.constants[1], WEIGHTED[step.kind])
        output = run_step(linear, {step.weights: tf.constant(weights)}, rounded)[step.output]
        if step.bias and step.bias not in self.program.shared:
            error = tf.reduce_mean(expected - output, axis=list(range(len(expected.shape) - 1)))
            output += error
            changed[step.bias] = np.asarray(step.constants[2] + error, np.float32)
        return activate(step, expected), activate(step, output)

    def _four_bits(self, step: Step, true: Any, rounded: Any) -> Array:
        values = step.constants[1]
        weights = values.reshape(len(values), -1)
        draw = sampler(step, len(true))
        samples = draw(rounded.numpy())
        if weights.shape[1] ** 2 > LARGEST:
            grid = best_steps(weights, np.asarray((samples**2).mean(axis=0), np.float32), LEVELS)
            return nearest(weights, grid, LEVELS).reshape(values.shape)
        return round_by_covariance(weights, samples, draw(true.numpy())).reshape(values.shape)

    def _store(self, name: str, value: Any) -> Any:
        """A tensor as eight bits hold it, if its range is known."""
        import tensorflow as tf

        if name not in self.ranges or value.dtype != tf.float32:
            return value
        low, high = self.ranges[name]
        return tf.quantization.fake_quant_with_min_max_vars(value, min(low, 0.0), max(high, 0.0))
