"""Rounding of a graph's weights to four bits so that its answers stay, learned from unlabelled items.

Layers are rounded in their order (`descent`). A layer's inputs are those that the rounded layers before it compute,
its targets are the float outputs after its activation, and at last the mean error of each output is taken off its bias
(Nagel et al. 2019, arXiv:1906.04721, section 4.2), as it is where weights keep eight bits. So each layer makes up for
what those before it lost.

The largest weight of a channel lies at the end of its grid. Quantizers that take the scale from the largest weight, as
litert-quantizer and `to_onnx.four_bits` do, therefore find exactly this grid again.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgepress.converters.graph.layers import ACTIVATIONS, activated
from edgepress.converters.graph.operations import OPERATIONS
from edgepress.converters.graph.program import Program, UnknownOperationError
from edgepress.converters.graph.step import WEIGHTED, Step
from edgepress.converters.grids import rounded as eight_bits
from edgepress.converters.statistics import Ranges
from edgepress.converters.to_tflite.four_bits import LEVELS, four_bit_names
from edgepress.converters.tuning.bias import live_bytes
from edgepress.converters.tuning.descent import BOUNDS, best_steps, nearest, rounded_for_outputs
from edgepress.converters.tuning.samples import sampler

Array = npt.NDArray[Any]
LARGEST = 1 << 25
"""Values that a layer multiplies, squared, up to which its weights are rounded together."""
BYTES = 1 << 28
"""Memory that the tensors of all items may take."""


@dataclass(frozen=True)
class Rounding:
    """A float graph whose weights lie on grids of four bits.

    Attributes:
        model: The file.
        layers: Names of the outputs of the layers whose weights were rounded.
        items: Number of items that were used.
    """

    model: bytes
    layers: tuple[str, ...]
    items: int


def rounded(
    model: bytes,
    items: Array,
    ranges: Ranges | None = None,
    *,
    layers: Collection[str] | None = None,
) -> Rounding:
    """Round weights of a float graph to four bits, and correct its biases.

    Args:
        model: A float `.tflite` of batch 1.
        items: Unlabelled items (n, *item shape), some hundred; fewer are used if their tensors would take over `BYTES`.
        ranges: Ranges of the tensors, by name: those given are rounded to 8 bits before layers read them.
        layers: Names of the outputs of the layers to round; None for those that schemes of four bits round.

    Raises:
        UnknownOperationError: The graph has an operation that programs can't compute, or takes one item at a time.
    """
    program = Program(model)
    if not program.batched:
        raise UnknownOperationError("it computes one item at a time")
    names = tuple(four_bit_names(model) if layers is None else layers)
    items = items[: max(1, BYTES // (2 * live_bytes(program)))].astype(program.dtype)
    work = _Rounding(program, {*names}, ranges or {})
    work.run(items)
    return Rounding(program.with_constants(work.changed), names, len(items))


class _Rounding:
    """Computes a program in float and, beside it, with weights as they will be."""

    def __init__(self, program: Program, names: Collection[str], ranges: Ranges) -> None:
        self.program, self.names, self.ranges = program, names, ranges
        self.changed: dict[str, Array] = {}
        reading = [name for step in program.steps for name in {*step.inputs}]
        self._shared = {name for name in reading if reading.count(name) > 1}
        self._last = {name: step.output for step in program.steps for name in step.inputs}

    def run(self, items: Array) -> None:
        """Compute all steps, and decide on the constants of each on the way."""
        import tensorflow as tf

        source = self.program.source
        true: dict[str, Any] = {source: tf.constant(items)}
        found: dict[str, Any] = {source: self._stored(source, true[source])}
        for step in self.program.steps:
            if step.weights:
                true[step.output], found[step.output] = self._weighted(step, true, found)
            else:
                for values in (true, found):
                    made = OPERATIONS[step.kind](step, [self._read(name, values) for name in step.inputs])
                    values.update(zip(step.outputs, made if isinstance(made, tuple) else (made,), strict=True))
            for name in step.outputs:
                found[name] = self._stored(name, found[name])
            for name in {*step.inputs} & {*true}:
                if self._last[name] == step.output:
                    del true[name], found[name]

    def _read(self, name: str, values: Mapping[str, Any]) -> Any:
        import tensorflow as tf

        return values[name] if name in values else tf.constant(self.program.constants[name]) if name else None

    def _weighted(self, step: Step, true: Mapping[str, Any], found: Mapping[str, Any]) -> tuple[Any, Any]:
        """A layer's outputs in float and as they will be, after its weights and biases were decided."""
        import tensorflow as tf

        linear = dataclasses.replace(step, options=copy.copy(step.options))
        linear.options.fusedActivationFunction = 0
        right = OPERATIONS[step.kind](linear, [self._read(name, true) for name in step.inputs])
        if step.output in self.names and step.weights not in self._shared:
            weights = self._four_bits(step, true[step.inputs[0]], found[step.inputs[0]])
            self.changed[step.weights] = weights
        else:
            weights = eight_bits(step.constants[1], WEIGHTED[step.kind])
        inputs = [self._read(name, found) for name in step.inputs]
        inputs[1] = tf.constant(weights)
        made = OPERATIONS[step.kind](linear, inputs)
        if step.bias and step.bias not in self._shared:
            error = tf.reduce_mean(right - made, axis=list(range(len(right.shape) - 1)))
            made += error
            self.changed[step.bias] = np.asarray(step.constants[2] + error, np.float32)
        return activated(step, right), activated(step, made)

    def _four_bits(self, step: Step, true: Any, found: Any) -> Array:
        values = step.constants[1]
        weights, bias = values.reshape(len(values), -1), step.constants.get(2, np.zeros(len(values), np.float32))
        bounds = BOUNDS.get(ACTIVATIONS[step.options.fusedActivationFunction or 0], BOUNDS[""])
        draw = sampler(step, len(true))
        samples, targets = draw(found.numpy()), np.clip(draw(true.numpy()) @ weights.T + bias, *bounds)
        grid = best_steps(weights, np.asarray((samples**2).mean(axis=0), np.float32), LEVELS)
        if weights.shape[1] ** 2 > LARGEST:
            return nearest(weights, grid, LEVELS).reshape(values.shape)
        made = rounded_for_outputs(weights, bias, grid, samples, targets, bounds, LEVELS)
        return made.reshape(values.shape)

    def _stored(self, name: str, value: Any) -> Any:
        """A tensor as eight bits hold it, if its range is known."""
        import tensorflow as tf

        if name not in self.ranges or value.dtype != tf.float32:
            return value
        low, high = self.ranges[name]
        return tf.quantization.fake_quant_with_min_max_vars(value, min(low, 0.0), max(high, 0.0))
