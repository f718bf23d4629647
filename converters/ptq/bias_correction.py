"""Bias correction: the mean error that quantization adds to each channel is taken off its bias.

Rounding of weights and clipping of activations shift the mean of an output channel. One sweep through the operations,
in order, compares the means of the float graph with those of the simulated quantized one, whose earlier operations are
corrected already, and adds the difference to the bias (Nagel et al. 2019, arXiv:1906.04721, section 4.2; here with
means over calibration items, of the values that an activation passes). The scales are those of the real quantized file.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from edgepress.converters.arrays import Array
from edgepress.converters.graph.layers import activate
from edgepress.converters.graph.program import Program, run_step
from edgepress.converters.graph.simulate import TensorGrid
from edgepress.converters.graph.step import WEIGHTED, Step
from edgepress.converters.graph.tflite_scales import grid_of
from edgepress.converters.to_tflite.graph import Graph

BYTES = 96 << 20
"""Memory that the activations of all items may take, of both graphs."""


class Quantized:
    """How a quantized `.tflite` file rounds the tensors of the float graph that it was made from, found by name.

    Unlike `scales_of_tflite`, it takes constants from the file, which the quantizer has rounded, and computes sums as
    all else: no kernel's own rounding shifts a mean.
    """

    def __init__(self, file: bytes) -> None:
        graph = Graph(file)
        self._grids: dict[str, TensorGrid] = {}
        self._constants: dict[str, Array] = {}
        for index in range(len(graph.table.tensors)):
            grid = grid_of(graph, index)
            values = graph.constant(index)
            if grid is None:
                continue
            if values is not None:
                integers = values.astype(np.float64) - grid.zero
                self._constants[graph.name(index)] = (integers * grid.scale).astype(np.float32)
            elif not grid.scale.ndim:
                self._grids[graph.name(index)] = grid

    def constant(self, name: str, values: Array) -> Array:
        """A constant as the file holds it."""
        return self._constants.get(name, values)

    def rounded(self, name: str, value: Any) -> Any:
        """A computed tensor as the file holds it."""
        return self._grids[name].apply(value) if name in self._grids else value


def correct_biases(program: Program, file: bytes, items: Array) -> dict[str, Array]:
    """Biases by name, for `Program.with_constants`.

    Args:
        program: The float program; its weighted steps without a constant bias of their own are left as they are.
        file: The quantized file that was made from it.
        items: Calibration items (n, *item shape), as many as `BYTES` allow of which are used.
    """
    import tensorflow as tf

    quantized = Quantized(file)
    size = max(1, BYTES // (2 * live_bytes(program))) if program.batched else 0
    source = tf.convert_to_tensor(items[:size].astype(program.dtype))
    true: dict[str, Any] = {program.source: source}
    other: dict[str, Any] = {program.source: quantized.rounded(program.source, source)}
    biases: dict[str, Array] = {}
    for step in program.steps if size else ():
        plain = step.without_activation if step.bias else step
        expected = run_step(plain, true)
        approximate = run_step(
            plain, other, {step.inputs[p]: quantized.constant(step.inputs[p], c) for p, c in step.constants.items()}
        )
        if step.bias:
            shift = _mean_error(step, expected[step.output], approximate[step.output])
            # With rounded weights, an exponential may overflow.
            shift = tf.where(tf.math.is_finite(shift), shift, 0.0)
            biases[step.bias] = (step.constants[2] + shift.numpy()).astype(np.float32)
            expected = {step.output: activate(step, expected[step.output])}
            approximate = {step.output: activate(step, approximate[step.output] + shift)}
        true |= expected
        for name, value in approximate.items():
            other[name] = quantized.rounded(name, value) if value.dtype == tf.float32 else value
        for name in step.inputs:
            if program.readers[name][-1] is step:
                true.pop(name, None), other.pop(name, None)
    return biases


def _mean_error(step: Step, expected: Any, got: Any) -> Any:
    """The mean of each channel's error before the activation, where that passes one of the two values unchanged.

    Elsewhere, such as where a ReLU makes both 0, the error has no effect.
    """
    import tensorflow as tf

    axes = list(range(len(expected.shape) - 1))
    passing = tf.cast((activate(step, expected) == expected) | (activate(step, got) == got), expected.dtype)
    return tf.reduce_sum((expected - got) * passing, axes) / tf.maximum(tf.reduce_sum(passing, axes), 1.0)


def live_bytes(program: Program) -> int:
    """The most bytes that the tensors of one item take at a time."""
    last = {name: readers[-1] for name, readers in program.readers.items()}
    sizes = {name: 4 * int(np.prod(program.shapes[name])) for step in program.steps for name in step.outputs}
    live = peak = 4 * int(np.prod(program.shapes[program.source]))
    for step in program.steps:
        live += sum(sizes[name] for name in step.outputs)
        peak = max(peak, live)
        live -= sum(sizes.get(name, 0) for name in {*step.inputs, *step.outputs} if last.get(name) is step)
    return peak


def with_own_biases(model: bytes) -> bytes:
    """A float graph in which every convolution and dense layer with constant weights has a bias that no other reads."""
    graph = Graph(model)
    used: set[int] = set()
    changed = False
    for op in graph.operators:
        weights = graph.constant(int(op.inputs[1])) if graph.kind(op) in WEIGHTED else None
        if weights is None:
            continue
        bias = int(op.inputs[2]) if len(op.inputs) > 2 else -1
        if bias in used or bias < 0:
            size = weights.shape[WEIGHTED[graph.kind(op)]]
            values = np.zeros(size, np.float32) if bias < 0 else graph.constant(bias)
            if values is not None:
                op.inputs = [*(int(i) for i in op.inputs[:2]), graph.add_constant(np.array(values))]
                changed = True
        used.add(bias)
    return graph.to_bytes() if changed else model
