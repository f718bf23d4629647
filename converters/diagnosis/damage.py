"""What a layer of a file would be if nothing of it were damaged, and a float graph run again from a change.

Rounding moves a weight by a step between two codes at most, the correction of biases moves one by what the rounding of
weights shifts, and a range holds the values that it was made for. What is farther off did not come from quantization:
the file, its calibration or its quantizer is wrong there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np

from edgepress.converters.arrays import Array
from edgepress.converters.diagnosis.matched import Matched, Rounding
from edgepress.converters.graph.program import Program, run_step
from edgepress.converters.graph.step import WEIGHTED, Step

BEYOND = 2.0
"""Steps by which rounding moves no weight: to the nearest code it is half a step, and to the best one of two, one."""
CERTAIN = 16.0
"""Steps from which on an isolated weight is wrong, whatever it costs on the items at hand."""
ISOLATED = 0.25
"""Largest share of a layer's weights that are so far off for them to count as isolated."""
SHIFTED = 3.0
"""Steps of a layer's output that no correction of a bias exceeds."""
DEVIATIONS = 4.0
"""Standard deviations of what the rounding of a layer's weights changes that no correction of a bias exceeds."""
EXCESS = 9.0
"""Noise of a range to that of one that fits the values, from which on it is wrong: three times as wide, or it cuts."""
MISPLACED = 3.0
"""The same ratio where codes are left over at one end while values are cut at the other."""
UNUSED = 0.1
"""Share of the codes that are left over at one end if the zero point is wrong."""
FEW_BEYOND = 4
"""Values beyond a range from which on it is wrong: some of a few new items exceed what a few others had."""
COVERED = 0.5
"""Share of the values' extent that a range must hold: items reach a little farther than those of the calibration."""


@dataclass(frozen=True)
class Extent:
    """What a tensor of the float graph holds.

    Attributes:
        low: Its smallest value, or 0.
        high: Its largest value, or 0.
        power: Mean of its values, squared.
    """

    low: float = 0.0
    high: float = 0.0
    power: float = 0.0


@dataclass(frozen=True)
class Sound:
    """A layer as quantization leaves it if nothing goes wrong.

    Attributes:
        constants: Its constants without what is damaged, by name; only those that are.
        rounding: How its output would be rounded to the same number of codes; None if it is not, by fixed codes.
        weights: Largest distance of one of its weights from the float graph's, in steps between two codes.
        bias: Largest distance of one of its biases, in steps of its output or, without any, shares of its values.
        certain: Whether few of its weights are wrong, and by so much that the graph that they are compared with is not.
        fillers: Whether weights that only fill a layout are wrong by as much; what they cost is not known.
    """

    constants: Mapping[str, Array] = field(default_factory=dict)
    rounding: Rounding | None = None
    weights: float = 0.0
    bias: float = 0.0
    certain: bool = False
    fillers: bool = False


def extents_of(program: Program, batches: Iterable[Array]) -> dict[str, Extent]:
    """The extent of every float tensor of a graph, by name, over items in batches (n, *item shape)."""
    extents: dict[str, Extent] = {}
    items = 0
    for batch in batches:
        for part in program.batches(batch):
            for name, value in program.run(part).items():
                values = np.asarray(value)
                if values.dtype.kind == "f" and values.size:
                    old = extents.get(name, Extent())
                    share = len(part) / (items + len(part))
                    power = old.power + (float(np.square(values, dtype=np.float64).mean()) - old.power) * share
                    low = min(old.low, float(values.min()))
                    high = max(old.high, float(values.max()))
                    extents[name] = Extent(low, high, power)
            items += len(part)
    return extents


def sound_of(step: Step, held: Matched, extents: Mapping[str, Extent], *, fixed: bool) -> Sound:
    """A layer without what is damaged.

    Args:
        step: Its operation.
        held: What the file makes of the graph.
        extents: What the graph's tensors hold.
        fixed: Whether the range of its output does not come from its values.
    """
    rounding = held.roundings.get(step.output)
    static = rounding if rounding is not None and rounding.kind == "static" else None
    sound = Sound(rounding=static)
    if static is not None and not fixed and step.output in extents:
        sound = replace(sound, rounding=fitting(static, extents[step.output]))
    if not step.weights or step.output in held.unknown:
        return sound
    off = _weights_off(step, held)
    constants: dict[str, Array] = {}
    if off is not None and off.max() > BEYOND:
        constants[step.weights] = np.where(off > BEYOND, step.constants[1], held.constants[step.weights])
        certain = bool(off.max() > CERTAIN and (off > BEYOND).mean() < ISOLATED)
        sound = replace(sound, weights=float(off.max()), certain=certain)
    if (filler := held.fillers.get(step.weights, 0.0)) > CERTAIN:
        sound = replace(sound, weights=max(sound.weights, filler), fillers=True)
    if step.bias in held.constants:
        stored = held.constants[step.bias]
        own = step.constants[2]
        moved = np.abs(stored - own)
        unit = sound.rounding.scale if sound.rounding is not None else _width(extents.get(step.output)) / 255
        usual = DEVIATIONS * _deviation(step, held, constants, extents) + SHIFTED * unit
        if (moved > usual).any():
            constants[step.bias] = np.where(moved > usual, own, stored)
            sound = replace(sound, bias=float((moved / max(unit, np.finfo(np.float32).tiny)).max()))
    return replace(sound, constants=constants)


def fitting(rounding: Rounding, extent: Extent) -> Rounding:
    """A rounding to as many codes, symmetric if the given one is, whose range is that of some values."""
    codes = rounding.high - rounding.low
    if rounding.zero == 0 and rounding.low < 0 and rounding.high > 127:  # 16 bits have no zero point
        return replace(rounding, scale=max(-extent.low, extent.high, _tiny_width(rounding)) / rounding.high)
    scale = max(_width(extent), _tiny_width(rounding)) / codes
    return replace(
        rounding, scale=scale, zero=int(np.clip(round(rounding.low - extent.low / scale), rounding.low, rounding.high))
    )


def _tiny_width(rounding: Rounding) -> float:
    """A width for tensors that hold nothing but 0."""
    return rounding.scale * 1e-6


def _width(extent: Extent | None) -> float:
    return extent.high - extent.low if extent is not None else 0.0


def _weights_off(step: Step, held: Matched) -> Array | None:
    """Distance of each weight from the float graph's in steps; None where scales are unknown."""
    if step.weights not in held.constants or step.weights not in held.scales:
        return None
    own = step.constants[1]
    scale = held.scales[step.weights]
    shape = [1] * own.ndim
    if scale.size > 1:
        shape[WEIGHTED[step.kind]] = scale.size
    scale = np.maximum(scale.reshape(shape), np.finfo(np.float32).tiny)
    return np.asarray(np.abs(held.constants[step.weights] - own) / scale)


def other_weights(step: Step, held: Matched) -> float:
    """Share of a step's weights, 0-1, that rounding did not make of the float graph's."""
    off = _weights_off(step, held)
    return float((off > BEYOND).mean()) if off is not None else 0.0


def _deviation(step: Step, held: Matched, sound: Mapping[str, Array], extents: Mapping[str, Extent]) -> Array:
    """How far the rounding of its weights moves each channel of a layer's output, usually."""
    own = step.constants[1]
    error = sound.get(step.weights, held.constants.get(step.weights, own)) - own
    rows = np.moveaxis(error, WEIGHTED[step.kind], 0).reshape(own.shape[WEIGHTED[step.kind]], -1)
    power = extents[step.inputs[0]].power if step.inputs[0] in extents else 0.0
    return np.asarray(np.linalg.norm(rows, axis=1) * np.sqrt(power))


def fault_of_range(
    rounding: Rounding, extent: Extent, excess: float, cut: float, beyond: int = FEW_BEYOND
) -> Literal["range", "zero point", "clipped", ""]:
    """What is wrong with a range; "" for nothing.

    Args:
        rounding: The rounding.
        extent: What the tensor holds.
        excess: The noise that it makes, to that of a range that fits.
        cut: Share of that noise that values beyond the range make, 0-1.
        beyond: Number of these values.
    """
    low, high = rounding.limits
    unused = max(extent.low - low, high - extent.high) / (high - low)
    symmetric = rounding.zero == 0 and rounding.low < 0
    if extent.low == 0 and -low > UNUSED * (high - low) and not symmetric:  # no calibration on ReLU's values gives that
        return "zero point"
    if cut > 1 / 2:
        if beyond < FEW_BEYOND:
            return ""
        if unused > UNUSED and excess > MISPLACED and not symmetric:
            return "zero point"
        return "clipped" if excess > EXCESS and held_part(rounding, extent) < COVERED else ""
    return "range" if excess > EXCESS else ""


def held_part(rounding: Rounding, extent: Extent) -> float:
    """The part of the way from 0 to the farthest values that a range holds, on the worse side."""
    ends = zip(rounding.limits, (extent.low, extent.high), strict=True)
    return max(min((end / farthest for end, farthest in ends if farthest), default=1.0), 0.0)


def is_tied(program: Program, held: Matched, step: Step) -> bool:
    """Whether the kernels give a tensor the scale of another, so that its range is not its own."""
    own = held.roundings.get(step.output)
    if own is None or (step.inputs and held.roundings.get(step.inputs[0]) == own):
        return True
    joined = [s for s in program.steps if s.kind == "CONCATENATION" and step.output in s.inputs]
    return any(held.roundings.get(s.output) == own for s in joined)


Values = Mapping[str, Any]


def effect(program: Program, base: Values, changed: Values, *, reads: Mapping[tuple[str, str], Any], end: str) -> Any:
    """The tensor `end` after a change, computing only what depends on it.

    Args:
        program: The float graph.
        base: Its tensors before the change, of some items, by name.
        changed: The tensors that differ.
        reads: What a step reads in place of a tensor, by the names of the step's first output and of the tensor.
        end: Name of the tensor.
    """
    new: dict[str, Any] = dict(changed)
    readers = {step for step, _ in reads}
    for step in program.steps:
        if step.output in changed:
            continue
        if step.output in readers or any(name in new for name in step.inputs):
            own = {name: value for (reader, name), value in reads.items() if reader == step.output}
            new.update(run_step(step, own, new, base))
        if end in new and end in step.outputs:
            break
    return new.get(end, base[end])
