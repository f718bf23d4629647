"""One layer of a quantized file: its figures, from what was added up over the items, and what is wrong with it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np

from edgepress.converters.arrays import Array
from edgepress.converters.diagnosis.damage import Extent, Sound, fault_of_range, held_part
from edgepress.converters.diagnosis.matched import Matched, Rounding
from edgepress.converters.graph.step import WEIGHTED, Step
from edgepress.converters.numeric.metrics import decibels

DEAD = 1e-6
"""Share of the largest channel's size below which a channel is dead."""
SMALL = 0.02
"""Share of the largest channel's size below which errors of its weights do not count."""
INPUT = "INPUT"
"""Kind of the layer that stands for the input."""
OUTLIER = 8.0
"""Largest range of a channel / median one from which on it is an outlier."""
WIDE = 0.25
"""Share of the codes below which a range is too wide."""
WRONG = 0.5
"""Error of weights from which on they are wrong where the steps between codes are unknown."""
MIN_ERROR_SHARE = 0.005
"""Share of the error below which a layer has no fault."""
FLAGRANT = 2.5
"""Factor by which an outlier, and its root by which a range, exceeds its limit in a flagrant fault."""
TRACE = 1e-4
"""Share of the error below which a layer has no flagrant fault, either. Healthy nets have none of these, so they are
named even if they cost little."""
FIXED = ("SOFTMAX", "LOGISTIC", "LOG_SOFTMAX", "TANH", "L2_NORMALIZATION", INPUT)
"""Kinds of operations whose range does not come from calibration."""
Fault = Literal["weights", "bias", "range", "zero point", "clipped", "outlier", ""]


@dataclass(frozen=True, kw_only=True)
class QuantizedLayer:
    """One operation of the float graph, and what its quantization does.

    Attributes:
        name: Name of the tensor that it makes.
        kind: Its kind in the TFLite schema.
        stored: How the file holds its output: "int8", "uint8", "int16", "float16", "dynamic" or "float32".
        cost: Its share of the error of the scores, 0-1, if it alone were quantized, among all layers.
        agreement: Share of the items with the same top label when it alone is quantized, 0-1.
        added_db: Its output to the error that it adds itself, dB; None without error.
        channel_db: The same for the median channel.
        sqnr_db: Its output to the whole error of it in the file, dB, what it inherits included; None if unknown.
        from_weights: Share of the error that it adds which comes from its weights, 0-1.
        range_used: Share of the codes between its smallest and largest value, 0-1; None without fixed codes.
        clipped: Share of the values beyond the codes' range, 0-1; None without fixed codes.
        channels: Number of its channels.
        dead: Number of channels that never change.
        lost: Number of channels that change, but by less than two steps of its codes.
        spread: Largest range of a channel / median one.
        widest: The channel with the largest range.
        weights_spread: Largest weight of a channel / that of the median one; None without weights.
        weights_error: Largest error of a channel's weights, as a share of their size; None without weights.
        fault: What is wrong with it, if it costs enough to count: "weights": some are farther from the model's than
            rounding moves them; "bias": so is a bias; "range": it is far wider than its values; "zero point": codes are
            left over at one end, and values beyond the other; "clipped": its values exceed it; "outlier": a channel has
            a range of over eight times that of the median one. "" for nothing.
        excess: Share of the error of the scores that would go if the layer were quantized as it should be, 0-1.
        weights_steps: Largest distance of one of its weights from the model's, in steps between two codes; 0 if it is
            as rounding leaves it.
        bias_steps: The same of one of its biases, in steps of its output.
        reach: How far its values reach to where its range ends, on the side where they exceed it most; None without
            fixed codes.
    """

    name: str
    kind: str
    stored: str
    cost: float
    agreement: float
    added_db: float | None
    channel_db: float | None
    sqnr_db: float | None
    from_weights: float
    range_used: float | None
    clipped: float | None
    channels: int
    dead: int
    lost: int
    spread: float
    widest: int
    weights_spread: float | None
    weights_error: float | None
    fault: Fault
    excess: float = 0.0
    weights_steps: float = 0.0
    bias_steps: float = 0.0
    reach: float | None = None

    @property
    def damaged(self) -> bool:
        """Whether its fault did not come from what the model's values are."""
        return self.fault not in ("outlier", "")


@dataclass
class Sums:
    """What is added up for one layer, over the items; arrays have a value for each channel."""

    size: int
    count: int = 0
    values: int = 0
    clipped: int = 0
    agreed: float = 0.0
    scores: float = 0.0
    fair: float = 0.0
    range_noise: float = 0.0
    range_fair: float = 0.0
    range_cut: float = 0.0
    blamed: float = 0.0
    rounding: float = 0.0
    weights: float = 0.0
    whole: float = 0.0
    seen: bool = False
    dynamic: bool = False
    signal: Array = field(init=False)
    noise: Array = field(init=False)
    low: Array = field(init=False)
    high: Array = field(init=False)

    def __post_init__(self) -> None:
        self.signal, self.noise = np.zeros(self.size), np.zeros(self.size)
        self.low, self.high = np.full(self.size, np.inf), np.full(self.size, -np.inf)

    def add_errors(self, values: Any, error: Any, from_weights: Any, rounding: Rounding | None) -> None:
        """Add up the errors of a layer's output.

        Args:
            values: The float graph's values.
            error: What is added to them.
            from_weights: The part of it that comes from weights.
            rounding: How the file rounds them.
        """
        floats, noise, weights = (
            np.asarray(array, np.float64).reshape(-1, self.size) for array in (values, error, from_weights)
        )
        self.signal += np.square(floats).sum(axis=0)
        self.noise += np.square(noise).sum(axis=0)
        self.weights += float(np.square(weights).sum())
        self.rounding += float(np.square(noise - weights).sum())
        self.low = np.minimum(self.low, floats.min(axis=0))
        self.high = np.maximum(self.high, floats.max(axis=0))
        self.values += floats.size
        if rounding is not None and rounding.kind == "static":
            low, high = rounding.limits
            half = rounding.scale / 2
            self.clipped += int(((floats < low - half) | (floats > high + half)).sum())

    def fault_of_range(self, rounding: Rounding, extent: Extent) -> Literal["range", "zero point", "clipped", ""]:
        """What is wrong with the range of the layer's output, if it was compared with one that fits."""
        if not self.range_noise:
            return ""
        excess = self.range_noise / max(self.range_fair, float(np.finfo(np.float32).tiny))
        return fault_of_range(rounding, extent, excess, self.range_cut / self.range_noise, self.clipped)


def layer_of(
    step: Step, sums: Sums, held: Matched, *, items: int, total: float, sound: Sound, extent: Extent, tied: bool
) -> QuantizedLayer:
    """A layer's figures.

    Args:
        step: Its operation.
        sums: What was added up for it.
        held: What the file makes of the graph.
        items: Number of items.
        total: Error of all layers together.
        sound: The layer without what is damaged.
        extent: What its output holds.
        tied: Whether its output has the scale of another tensor.
    """
    rounding = held.roundings.get(step.output)
    ranges = sums.high - sums.low
    widest = int(np.argmax(ranges))
    live = ranges > DEAD * ranges[widest]
    static = rounding if rounding is not None and rounding.kind == "static" else None
    channel_db = [decibels(s, n) for s, n in zip(sums.signal[live], sums.noise[live], strict=True)]
    known = [v for v in channel_db if v is not None]
    both = sums.weights + sums.rounding
    layer = QuantizedLayer(
        name=step.output,
        kind=step.kind,
        stored="dynamic" if sums.dynamic else _how_stored(step, held),
        cost=sums.scores / total,
        agreement=sums.agreed / max(items, 1),
        added_db=decibels(float(sums.signal.sum()), float(sums.noise.sum())),
        channel_db=float(np.median(known)) if known else None,
        sqnr_db=decibels(float(sums.signal.sum()), sums.whole) if sums.seen else None,
        from_weights=sums.weights / both if both else 0.0,
        range_used=_used_share(static, extent.low, extent.high) if static else None,
        clipped=sums.clipped / max(sums.values, 1) if static else None,
        channels=sums.size,
        dead=int((~live).sum()),
        lost=int((live & (ranges < 2 * static.scale)).sum()) if static else 0,
        spread=float(ranges[widest] / np.median(ranges[live])) if live.any() else 1.0,
        widest=widest,
        weights_spread=_weights_spread(step),
        weights_error=weights_error(step, held),
        fault="",
        excess=max(sums.scores - sums.fair, 0.0) / total,
        weights_steps=sound.weights,
        bias_steps=sound.bias,
        reach=1 / max(held_part(static, extent), 1e-6) if static else None,
    )
    of_range = sums.fault_of_range(static, extent) if static is not None else ""
    if sound.fillers or (sound.certain and layer.cost >= TRACE):
        return replace(layer, fault="weights")
    return replace(layer, fault=fault_of(layer, of_range, tied=tied, blamed=sums.blamed > sums.scores / 2))


def _used_share(rounding: Rounding, low: float, high: float) -> float:
    """Share of the codes of a range that values use; of a symmetric one, of those on the side of the larger values."""
    first, last = rounding.limits
    if rounding.zero == 0 and rounding.low < 0:
        return min(max(abs(low), abs(high)) / last, 1.0)
    return min(max(min(high, last) - max(low, first), 0.0) / (last - first), 1.0)


def fault_of(layer: QuantizedLayer, of_range: Fault = "", *, tied: bool, blamed: bool) -> Fault:
    """What is wrong with a layer, whose own fault is left out.

    Args:
        layer: Its figures.
        of_range: What is wrong with the range of its output, if it makes far more noise than one that fits.
        tied: Whether its output has the scale of another tensor.
        blamed: Whether most of its error comes from the channels with the largest values.
    """
    if layer.cost < TRACE:
        return ""
    if layer.excess >= MIN_ERROR_SHARE:
        weights = layer.weights_error is not None and layer.weights_error > WRONG
        if layer.weights_steps or weights:
            return "weights"
        if layer.bias_steps:
            return "bias"
        if of_range:
            return of_range
    costly = layer.cost >= MIN_ERROR_SHARE
    wide = WIDE if costly else WIDE / np.sqrt(FLAGRANT)
    if layer.kind not in FIXED and not tied and layer.range_used is not None and layer.range_used < wide:
        return "range"
    shared = layer.stored not in ("float16", "float32")  # one scale for all channels
    outlier = OUTLIER if costly else OUTLIER * FLAGRANT
    return "outlier" if layer.spread > outlier and (shared or blamed) else ""


def _how_stored(step: Step, held: Matched) -> str:
    rounding = held.roundings.get(step.output)
    if rounding is None:
        return "float32"
    if rounding.kind != "static":
        return rounding.kind
    return f"{'int' if rounding.low else 'uint'}{(rounding.high - rounding.low + 1).bit_length() - 1}"


def _weights_spread(step: Step) -> float | None:
    if not step.weights:
        return None
    weights = np.moveaxis(step.constants[1], WEIGHTED[step.kind], 0)
    largest = np.abs(weights).reshape(len(weights), -1).max(axis=1)
    live = largest[largest > DEAD * largest.max()]
    return float(live.max() / np.median(live)) if len(live) else 1.0


def weights_error(step: Step, held: Matched) -> float | None:
    """Largest error of an output channel's weights in a file, as a share of their size; None if there are none."""
    if not step.weights or step.output in held.unknown:
        return None
    if step.weights not in held.constants:
        return 0.0
    axis = WEIGHTED[step.kind]
    plain, stored = (
        np.moveaxis(v, axis, 0).reshape(v.shape[axis], -1) for v in (step.constants[1], held.constants[step.weights])
    )
    sizes = np.linalg.norm(plain, axis=1)
    errors = np.linalg.norm(stored - plain, axis=1)
    live = sizes > SMALL * np.max(sizes)
    return float(np.max(errors[live] / sizes[live])) if live.any() else 0.0
