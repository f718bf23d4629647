"""Bias absorption: shift channels without activation so that zero is in the middle of each one's range.

A tensor's range reaches from the lowest to the highest value of any channel. Where channels lie at different places,
such as in the bottlenecks of MobileNetV2, shifting each to the middle makes the range narrower. The shift is taken off
the bias of the convolution that makes the channel; it passes additions, and the biases of the convolutions that read
the sum take it up. This is exact for all inputs where these do not pad with zeros. It is the linear case of absorbing
high biases (Nagel et al. 2019, arXiv:1906.04721, section 4.1.3), which was not worth it behind ReLU: of thousands of
channels, none was above zero at all places of all items.
"""

from __future__ import annotations

import numpy as np

from edgepress.converters.arrays import Array
from edgepress.converters.graph.layers import ACTIVATIONS
from edgepress.converters.graph.program import Program
from edgepress.converters.graph.step import WEIGHTED, Step
from edgepress.converters.ptq.channel_links import input_channels
from edgepress.converters.ptq.channel_ranges import ChannelRanges

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
