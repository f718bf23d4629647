"""What each layer of a quantized file adds to its error: measured on the float graph, with that layer alone rounded.

The error that a layer adds is what rounding its weights and its output, as the file does, changes in its output where
its input is that of the float graph, rounded. What it inherits from the layers before is so left out, and a layer that
only passes values on adds nothing. It is then added to the float graph's own values, and the graph is run on from
there: the change of the scores is what this layer costs. Costs of independent errors add up, so they have shares.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from edgepress.converters.diagnosis.matching import Matched
from edgepress.converters.diagnosis.replay import computed, effect, scores_of
from edgepress.converters.diagnosis.rounding import Rounding
from edgepress.converters.graph.program import Program
from edgepress.converters.graph.step import WEIGHTED, Step

Array = npt.NDArray[Any]
DEAD = 1e-6
"""Share of the largest channel's range below which a channel is dead."""
PASSING = ("MAX_POOL_2D", "AVERAGE_POOL_2D", "MEAN", "RESHAPE", "SQUEEZE", "EXPAND_DIMS", "TRANSPOSE", "PAD", "RELU")
"""Kinds of operations whose channels have ranges in proportion to those of what they read."""
INPUT = "INPUT"
"""Kind of the layer that stands for the input."""


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


@dataclass
class _Sums:
    """What is added up for one layer, over the items; arrays have a value for each channel."""

    size: int
    count: int = 0
    values: int = 0
    clipped: int = 0
    agreed: int = 0
    scores: float = 0.0
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


@dataclass(frozen=True)
class Measured:
    """The layers of a graph, and the scores of both sides.

    Attributes:
        layers: Those that the file quantizes, the costliest first.
        scores: The float graph's, before softmax or sigmoid, (n, outputs).
        together: The same with all layers quantized in the simulation.
    """

    layers: tuple[Layer, ...]
    scores: Array
    together: Array


def measured(program: Program, held: Matched, items: Array) -> Measured:
    """Measure every layer.

    Args:
        program: The float graph.
        held: What a file makes of it.
        items: Items of shape (n, *item shape) that both take.
    """
    import tensorflow as tf

    end = scores_of(program)
    source = Step(INPUT, (), (program.source,), None, program.shapes[program.source], program.dtype, (), {})
    steps = [step for step in (source, *program.steps) if _is_quantized(step, held)]
    sums = {step.output: _Sums(_channels(program.shapes[step.output])) for step in steps}
    files = {name: tf.constant(value) for name, value in held.constants.items()}
    scores, together = [], []
    for batch in program.batches(items):
        base = program.run(batch)
        rounded = {name: r.apply(base[name]) for name, r in held.roundings.items() if r.kind != "dynamic"}
        real = held.values(program, batch)
        truth = _flat(base[end], len(batch))
        scores.append(truth)
        together.append(_flat(_all_rounded(program, held, batch, files)[end], len(batch)))
        for step in steps:
            _add(sums[step.output], program, held, step, files, base, rounded, real, truth, end)
    total = sum(s.scores for s in sums.values()) or 1.0
    wrong = [step for step in steps if sums[step.output].noise.any()]
    layers = [_layer(step, sums[step.output], held, len(items), total) for step in wrong]
    layers.sort(key=lambda layer: -layer.cost)
    return Measured(tuple(layers), np.concatenate(scores), np.concatenate(together))


def _is_quantized(step: Step, held: Matched) -> bool:
    fixed = [r for name in step.outputs if (r := held.roundings.get(name)) is not None]
    if step.kind in PASSING:  # what reads the output rounds it while it runs: the layer before is to blame
        fixed = [r for r in fixed if r.kind != "dynamic"]
    # The output may be passed on to what rounds it.
    weighted = bool(step.weights) or step.kind == INPUT
    return bool(fixed) or weighted or any(name in held.constants for name in step.inputs)


def _channels(shape: tuple[int, ...]) -> int:
    return shape[-1] if len(shape) > 1 else 1


def _flat(values: Any, items: int) -> Array:
    return np.asarray(values, np.float32).reshape(items, -1)


def _reading(
    program: Program, held: Matched, base: Mapping[str, Any], name: str, value: Any
) -> dict[tuple[str, str], Any]:
    """What steps read of a tensor, or of what only passes it on, that they round while they run."""
    if not any(r.kind == "dynamic" for r in held.roundings.values()):
        return {}
    found, passed = {}, {name: value}
    for step in program.steps:
        if step.kind in PASSING and step.inputs[0] in passed:
            passed |= computed(step, passed, base)
        elif step.inputs[:1] and step.inputs[0] in passed and held.rounds_while_running(step):
            rounding = held.roundings.get(step.inputs[0])
            if rounding is not None and rounding.kind == "dynamic":
                found[step.output, step.inputs[0]] = rounding.apply(passed[step.inputs[0]])
    return found


def _all_rounded(program: Program, held: Matched, items: Array, files: Mapping[str, Any]) -> dict[str, Any]:
    """Every tensor of the graph with all that the file rounds rounded."""

    def after(name: str, value: Any) -> Any:
        rounding = held.roundings.get(name)
        return value if rounding is None or value.dtype.name != "float32" else rounding.apply(value)

    return program.run(items, constants=files, after=after)


def _add(
    sums: _Sums,
    program: Program,
    held: Matched,
    step: Step,
    files: Mapping[str, Any],
    base: Mapping[str, Any],
    rounded: Mapping[str, Any],
    real: Mapping[str, Array],
    truth: Array,
    end: str,
) -> None:
    """Add what some items show of one layer."""
    if step.kind == INPUT:
        plain = stored = {step.output: base[step.output]}
    else:
        own = {name: files[name] for name in step.inputs if name in files}
        plain = computed(step, rounded, base)
        stored = computed(step, own, rounded, base) if own else plain
    changed: dict[str, Any] = {}
    reads: dict[tuple[str, str], Any] = {}
    for name in step.outputs:
        rounding = held.roundings.get(name)
        fixed = rounding is not None and rounding.kind != "dynamic" and base[name].dtype.name == "float32"
        after = rounding.apply(stored[name]) if rounding is not None and fixed else stored[name]
        if base[name].dtype.name != "float32":
            continue
        changed[name] = base[name] + (after - plain[name])
        reads |= _reading(program, held, base, name, changed[name])
    if not changed:
        return
    name = step.output
    found = _flat(effect(program, base, changed, reads, end), len(truth))
    sums.count += len(truth)
    sums.scores += float(np.square(found - truth, dtype=np.float64).sum())
    sums.agreed += int((_top(found) == _top(truth)).sum())
    values = np.asarray(base[name], np.float64).reshape(-1, sums.size)
    from_weights = np.asarray(stored[name] - plain[name], np.float64).reshape(values.shape)
    noise = np.asarray(changed[name] - base[name], np.float64).reshape(values.shape)
    if reads:  # what the readers round is this layer's, too
        sums.dynamic = True
        noise += np.asarray(Rounding("dynamic").apply(changed[name]) - changed[name], np.float64).reshape(values.shape)
    sums.signal += np.square(values).sum(axis=0)
    sums.noise += np.square(noise).sum(axis=0)
    sums.weights += float(np.square(from_weights).sum())
    sums.rounding += float(np.square(noise - from_weights).sum())
    sums.low, sums.high = np.minimum(sums.low, values.min(axis=0)), np.maximum(sums.high, values.max(axis=0))
    sums.values += values.size
    if (rounding := held.roundings.get(name)) is not None and rounding.kind == "static":
        low, high = rounding.limits
        beyond = (values < low - rounding.scale / 2) | (values > high + rounding.scale / 2)
        sums.clipped += int(beyond.sum())
    if name in real:
        sums.seen = True
        sums.whole += float(np.square(real[name].reshape(values.shape) - values).sum())


def _top(scores: Array) -> Array:
    return scores.argmax(axis=1) if scores.shape[1] > 1 else scores[:, 0] > 0


def _layer(step: Step, sums: _Sums, held: Matched, items: int, total: float) -> Layer:
    rounding = held.roundings.get(step.output)
    ranges = sums.high - sums.low
    widest = int(ranges.argmax())
    live = ranges > DEAD * ranges[widest]
    static = rounding is not None and rounding.kind == "static"
    used = lost = None
    if rounding is not None and static:
        low, high = rounding.limits
        covered = min(float(sums.high.max()), high) - max(float(sums.low.min()), low)
        used = min(max(covered, 0.0) / (high - low), 1.0) if high > low else 1.0
        lost = int((live & (ranges < 2 * rounding.scale)).sum())
    channel_db = [_db(s, n) for s, n in zip(sums.signal[live], sums.noise[live], strict=True)]
    known = [v for v in channel_db if v is not None]
    both = sums.weights + sums.rounding
    return Layer(
        name=step.output,
        kind=step.kind,
        stored="dynamic" if sums.dynamic else _stored(step, held),
        cost=sums.scores / total,
        agreement=sums.agreed / max(items, 1),
        added_db=_db(float(sums.signal.sum()), float(sums.noise.sum())),
        channel_db=float(np.median(known)) if known else None,
        sqnr_db=_db(float(sums.signal.sum()), sums.whole) if sums.seen else None,
        from_weights=sums.weights / both if both else 0.0,
        range_used=used,
        clipped=sums.clipped / max(sums.values, 1) if static else None,
        channels=sums.size,
        dead=int((~live).sum()),
        lost=lost or 0,
        spread=float(ranges[widest] / np.median(ranges[live])) if live.any() else 1.0,
        widest=widest,
        weights_spread=_weights_spread(step),
    )


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


def _db(signal: float, noise: float) -> float | None:
    return float(10 * np.log10(signal / noise)) if signal > 0 and noise > 0 else None
