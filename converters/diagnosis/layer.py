"""One layer of a quantized file: its figures, from what was added up over the items, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from edgepress.converters.diagnosis.matching import Matched
from edgepress.converters.diagnosis.rounding import Rounding
from edgepress.converters.graph.step import WEIGHTED, Step

Array = npt.NDArray[Any]
DEAD, SMALL = 1e-6, 0.02
"""Shares of the largest channel's size below which a channel is dead, and below which errors of its weights count for
nothing."""
INPUT = "INPUT"
"""Kind of the layer that stands for the input."""
OUTLIER, WIDE, CLIPPED, WRONG = 8.0, 0.25, 0.05, 0.5
"""Largest range of a channel / median one from which on it is an outlier; share of the codes below which a range is too
wide; share of the values beyond it from which on it is too narrow; error of weights from which on they are wrong."""
LEAST, TRACE, FLAGRANT = 0.005, 1e-4, 2.5
"""Share of the error below which a layer has no fault; the same of a fault that exceeds its limit by the factor
FLAGRANT (an outlier) or its root (a range). Healthy nets have none of these, so they are named even if they cost
little."""
FIXED = ("SOFTMAX", "LOGISTIC", "LOG_SOFTMAX", "TANH", "L2_NORMALIZATION", INPUT)
"""Kinds of operations whose range does not come from calibration."""
Fault = Literal["weights", "range", "clipped", "outlier", ""]


@dataclass(frozen=True, kw_only=True)
class Layer:
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
        fault: What is wrong with it, if it costs enough to count: "weights": those of a channel are wrong by more
            than half of their size; "range": it is over four times as wide as its values; "clipped": its values exceed
            it; "outlier": a channel has a range of over eight times that of the median one. "" for nothing.
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


@dataclass
class Sums:
    """What is added up for one layer, over the items; arrays have a value for each channel."""

    size: int
    count: int = 0
    values: int = 0
    clipped: int = 0
    agreed: float = 0.0
    scores: float = 0.0
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


def layer_of(step: Step, sums: Sums, held: Matched, items: int, total: float, *, tied: bool) -> Layer:
    """A layer's figures.

    Args:
        step: Its operation.
        sums: What was added up for it.
        held: What the file makes of the graph.
        items: Number of items.
        total: Error of all layers together.
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
    found = Layer(
        name=step.output,
        kind=step.kind,
        stored="dynamic" if sums.dynamic else _stored(step, held),
        cost=sums.scores / total,
        agreement=sums.agreed / max(items, 1),
        added_db=decibels(float(sums.signal.sum()), float(sums.noise.sum())),
        channel_db=float(np.median(known)) if known else None,
        sqnr_db=decibels(float(sums.signal.sum()), sums.whole) if sums.seen else None,
        from_weights=sums.weights / both if both else 0.0,
        range_used=_used(static, float(sums.low.min()), float(sums.high.max())) if static else None,
        clipped=sums.clipped / max(sums.values, 1) if static else None,
        channels=sums.size,
        dead=int((~live).sum()),
        lost=int((live & (ranges < 2 * static.scale)).sum()) if static else 0,
        spread=float(ranges[widest] / np.median(ranges[live])) if live.any() else 1.0,
        widest=widest,
        weights_spread=_weights_spread(step),
        weights_error=weights_error(step, held),
        fault="",
    )
    return replace(found, fault=fault_of(found, tied=tied, blamed=sums.blamed > sums.scores / 2))


def _used(rounding: Rounding, low: float, high: float) -> float:
    """Share of the codes of a range that values use; of a symmetric one, of those on the side of the larger values."""
    first, last = rounding.limits
    if rounding.zero == 0 and rounding.low < 0:
        return min(max(abs(low), abs(high)) / last, 1.0)
    return min(max(min(high, last) - max(low, first), 0.0) / (last - first), 1.0)


def fault_of(layer: Layer, *, tied: bool, blamed: bool) -> Fault:
    """What is wrong with a layer, whose own fault is left out.

    Args:
        layer: Its figures.
        tied: Whether its output has the scale of another tensor.
        blamed: Whether most of its error comes from the channels with the largest values.
    """
    if layer.cost < TRACE:
        return ""
    costly = layer.cost >= LEAST
    if costly and layer.weights_error is not None and layer.weights_error > WRONG:
        return "weights"
    wide = WIDE if costly else WIDE / np.sqrt(FLAGRANT)
    if layer.kind not in FIXED and not tied and layer.range_used is not None and layer.range_used < wide:
        return "range"
    if costly and layer.clipped is not None and layer.clipped > CLIPPED:
        return "clipped"
    shared = layer.stored not in ("float16", "float32")  # one scale for all channels
    outlier = OUTLIER if costly else OUTLIER * FLAGRANT
    return "outlier" if layer.spread > outlier and (shared or blamed) else ""


def _stored(step: Step, held: Matched) -> str:
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


def weights_error(step: Step, held: Matched, over: Callable[[Array], Any] = np.max) -> float | None:
    """Error of a step's weights in a file, as a share of their size, over the output's channels that count.

    Args:
        step: The step.
        held: What a file makes of the graph.
        over: Makes one number of those of the channels.
    """
    if not step.weights or step.output in held.unknown:
        return None
    if step.weights not in held.constants:
        return 0.0
    axis = WEIGHTED[step.kind]
    plain, stored = (
        np.moveaxis(v, axis, 0).reshape(v.shape[axis], -1) for v in (step.constants[1], held.constants[step.weights])
    )
    sizes, errors = np.linalg.norm(plain, axis=1), np.linalg.norm(stored - plain, axis=1)
    live = sizes > SMALL * np.max(sizes)
    return float(over(errors[live] / sizes[live])) if live.any() else 0.0


def decibels(signal: float, noise: float) -> float | None:
    """Ratio of two powers in dB; None where one of them is 0."""
    return float(10 * np.log10(signal / noise)) if signal > 0 and noise > 0 else None
