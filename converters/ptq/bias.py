"""Biases changed for quantization: the mean error of each channel taken off, and ranges shifted around zero.

Rounding of weights and clipping of activations shift the mean of an output channel. One sweep through the operations,
in order, compares the means of the float graph with those of the simulated quantized one, whose earlier operations are
corrected already, and adds the difference to the bias (Nagel et al. 2019, arXiv:1906.04721, section 4.2; here with
means over calibration items, of the values that an activation passes). The scales are those of the real quantized file.

Bias absorption: shift channels without activation so that zero is in the middle of each one's range.

A tensor's range reaches from the lowest to the highest value of any channel. Where channels lie at different places,
such as in the bottlenecks of MobileNetV2, shifting each to the middle makes the range narrower. The shift is taken off
the bias of the convolution that makes the channel; it passes additions, and the biases of the convolutions that read
the sum take it up. This is exact for all inputs where these do not pad with zeros. It is the linear case of absorbing
high biases (Nagel et al. 2019, arXiv:1906.04721, section 4.1.3), which was not worth it behind ReLU: of thousands of
channels, none was above zero at all places of all items.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from edgepress.converters.arrays import Array
from edgepress.converters.graph.layers import ACTIVATIONS, activate
from edgepress.converters.graph.program import Program, run_step
from edgepress.converters.graph.simulate import TensorGrid
from edgepress.converters.graph.step import WEIGHTED, Step
from edgepress.converters.graph.tflite_scales import grid_of
from edgepress.converters.ptq.channel_links import input_channels
from edgepress.converters.ptq.channel_scales import ChannelRanges
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


Shifts = dict[str, Array]
VALID = 1
"""Number of the padding without zeros in the schema."""


def find_shifts(program: Program, ranges: ChannelRanges) -> Shifts:
    """What to subtract from each channel, by tensor, of those tensors that can be shifted.

    Args:
        program: A float program, of whose steps each has a bias of its own.
        ranges: Ranges of the channels on calibration data.
    """
    free = _free(program)
    shifts: Shifts = {}
    for step in program.steps:
        if step.output not in free:
            continue
        if step.kind == "ADD":
            zero = np.zeros(step.shape[-1])
            shifts[step.output] = sum((shifts.get(name, zero) for name in step.inputs), zero)
        elif step.bias:
            shifts[step.output] = _best(step, program, shifts, ranges)
    return {name: shift for name, shift in shifts.items() if shift.any()}


def absorb_shifts(program: Program, shifts: Shifts) -> dict[str, Array]:
    """Biases that subtract shifts from the channels of tensors without a change of the answers, by name."""
    changed: dict[str, Array] = {}
    for step in program.steps:
        if not step.bias:
            continue
        bias = step.constants[2].astype(np.float64)
        if step.output in shifts:
            bias = bias - shifts[step.output]
        if step.inputs[0] in shifts:
            index = input_channels(step, len(shifts[step.inputs[0]]))
            assert index is not None
            axis = WEIGHTED[step.kind]
            others = tuple(i for i in range(step.constants[1].ndim) if i != axis)
            bias = bias + (step.constants[1] * shifts[step.inputs[0]][index]).sum(axis=others)
        if step.output in shifts or step.inputs[0] in shifts:
            changed[step.bias] = bias.astype(np.float32)
    return changed


def _free(program: Program) -> set[str]:
    """Tensors that can be shifted: outputs of convolutions and of additions of such, whose readers take shifts."""
    readers = program.readers
    single = {step.bias for step in program.steps if step.bias} - program.shared
    free: set[str] = set()

    def takes(step: Step, name: str) -> bool:
        if step.kind == "ADD":
            return step.output in free
        if step.bias not in single:  # others read it as weights or as a bias, or have none of their own
            return False
        unpadded = step.kind == "FULLY_CONNECTED" or step.options.padding == VALID or _is_point(step)
        return unpadded and input_channels(step, program.shapes[name][-1]) is not None

    for step in reversed(program.steps):
        activation = ACTIVATIONS[getattr(step.options, "fusedActivationFunction", 0) or 0]
        adds = step.kind == "ADD" and not step.constants and _alike(program, step)
        if step.output == program.sink or activation or not (adds or step.bias in single):
            continue
        if all(takes(reader, step.output) for reader in readers.get(step.output, [])) and step.output in readers:
            free.add(step.output)
    return free


def _is_point(step: Step) -> bool:
    """Whether a convolution reads one place for each output, so that it never pads."""
    return step.constants[1].shape[1:3] == (1, 1)


def _alike(program: Program, step: Step) -> bool:
    return all(program.shapes[name][-1:] == step.shape[-1:] for name in step.inputs)


def _best(step: Step, program: Program, shifts: Shifts, ranges: ChannelRanges) -> Array:
    """The shift that makes this tensor, and the sum that it is part of, narrow: the middle of one, or between."""
    own = _middle(step.output, ranges)
    sums = [reader for reader in program.readers[step.output] if reader.kind == "ADD"]
    if not sums:
        return own
    (total, *_) = sums
    other = sum((shifts[name] for name in total.inputs if name in shifts), np.zeros(len(own)))
    there = _middle(total.output, ranges) - other
    return min(
        (own, there, (own + there) / 2, np.zeros(len(own))),
        key=lambda d: _width(step.output, d, ranges) * _width(total.output, d + other, ranges),
    )


def _middle(name: str, ranges: ChannelRanges) -> Array:
    low, high = ranges[name]
    return np.asarray((low + high) / 2)


def _width(name: str, shift: Array, ranges: ChannelRanges) -> float:
    low, high = ranges[name]
    return float(max(np.max(high - shift), 0) - min(np.min(low - shift), 0))
