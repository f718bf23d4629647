"""What each layer of a quantized file adds to its error: measured on the float graph, with that layer alone rounded.

The error that a layer adds is what rounding its weights and its output, as the file does, changes in its output where
its input is that of the float graph, rounded. What it inherits from the layers before is so left out, and a layer that
only passes values on adds nothing. It is then added to the float graph's own values, and the graph is run on from
there: the change of the scores is what this layer costs. Costs of independent errors add up, so they have shares.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from edgepress.converters.diagnosis.harm import Choice, agreement, harm
from edgepress.converters.diagnosis.matching import Matched
from edgepress.converters.diagnosis.replay import computed, effect, scores_of
from edgepress.converters.diagnosis.rounding import Rounding
from edgepress.converters.graph.program import Program
from edgepress.converters.graph.step import WEIGHTED, Step

Array = npt.NDArray[Any]
DEAD, SMALL = 1e-6, 0.02
"""Shares of the largest channel's size below which a channel is dead, and below which errors of its weights count for
nothing."""
INPUT = "INPUT"
"""Kind of the layer that stands for the input."""
PASSING = ("MAX_POOL_2D", "AVERAGE_POOL_2D", "MEAN", "RESHAPE", "SQUEEZE", "EXPAND_DIMS", "TRANSPOSE", "PAD", "RELU")
"""Kinds of operations whose channels have ranges in proportion to those of what they read."""
OUTLIER, WIDE, CLIPPED, WRONG = 8.0, 0.25, 0.05, 0.5
"""Largest range of a channel / median one from which on it is an outlier; share of the codes below which a range is too
wide; share of the values beyond it from which on it is too narrow; error of weights from which on they are wrong."""
LEAST = 0.005
"""Share of the error below which a layer has no fault, whatever it looks like."""
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
        fault: What is wrong with it, if it costs more than `LEAST`: "weights": those of a channel are wrong by more
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
class _Sums:
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


@dataclass(frozen=True)
class Measured:
    """The layers of a graph, and the scores of both sides.

    Attributes:
        layers: Those that the file quantizes: those with a fault, which can be mended, first, and then the costliest.
        scores: The float graph's, before softmax or sigmoid, (n, outputs).
        together: The same with all layers quantized in the simulation.
    """

    layers: tuple[Layer, ...]
    scores: Array
    together: Array


def measured(
    program: Program,
    held: Matched,
    items: Array,
    choice: Choice = "one",
    on_progress: Callable[[float], None] | None = None,
) -> Measured:
    """Measure every layer.

    Args:
        program: The float graph.
        held: What a file makes of it.
        items: Items of shape (n, *item shape) that both take.
        choice: What is decided from the scores.
        on_progress: Called with the share that is done, 0-1.
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
        for number, step in enumerate(steps):
            _add(sums[step.output], program, held, step, files, base, rounded, real, truth, end, choice)
            if on_progress:
                on_progress((sum(map(len, scores[:-1])) + len(batch) * (number + 1) / len(steps)) / len(items))
    wrong = [step for step in steps if sums[step.output].noise.any()]
    _blame_outliers(program, held, wrong, sums)
    total = sum(s.scores for s in sums.values()) or 1.0
    layers = [_layer(step, sums[step.output], held, len(items), total, _is_tied(program, held, step)) for step in wrong]
    layers.sort(key=lambda layer: (not layer.fault, -layer.cost))
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
    choice: Choice,
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
    sums.scores += float(harm(truth, found, choice).sum())
    sums.agreed += agreement(truth, found, choice) * len(truth)
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


def _blame_outliers(program: Program, held: Matched, steps: Sequence[Step], sums: Mapping[str, _Sums]) -> None:
    """Move what the weights of a step cost to the layer before it where that has a channel far larger than the others.

    The weights behind such a channel are far smaller than their neighbours, and few codes are left for them.
    """
    makers = {step.output: step for step in program.steps}
    for step in steps:
        own = sums[step.output]
        if not step.weights or step.weights not in held.constants or step.kind == "DEPTHWISE_CONV_2D":
            continue
        name = step.inputs[0]
        while name not in sums and name in makers and makers[name].kind in PASSING:
            name = makers[name].inputs[0]
        before = sums.get(name)
        while before is not None and makers.get(name) is not None and makers[name].kind in PASSING:
            name = makers[name].inputs[0]
            before = sums.get(name)
        if before is None or step.constants[1].shape[-1] % before.size:
            continue
        ranges = before.high - before.low
        widest = int(ranges.argmax())
        live = ranges[ranges > DEAD * ranges[widest]]
        if ranges[widest] < OUTLIER * np.median(live):
            continue
        error = np.square(held.constants[step.weights] - step.constants[1], dtype=np.float64)
        power = error.reshape(-1, before.size).sum(axis=0) * before.signal
        both = own.weights + own.rounding
        moved = own.scores * power[widest] / (power.sum() or 1.0) * (own.weights / both if both else 0.0)
        own.scores -= moved
        before.scores += moved
        before.blamed += moved


def _is_tied(program: Program, held: Matched, step: Step) -> bool:
    """Whether the kernels give a tensor the scale of another, so that its range is not its own."""
    own = held.roundings.get(step.output)
    if own is None or (step.inputs and held.roundings.get(step.inputs[0]) == own):
        return True
    joined = [s for s in program.steps if s.kind == "CONCATENATION" and step.output in s.inputs]
    return any(held.roundings.get(s.output) == own for s in joined)


def _layer(step: Step, sums: _Sums, held: Matched, items: int, total: float, tied: bool) -> Layer:
    rounding = held.roundings.get(step.output)
    ranges = sums.high - sums.low
    widest = int(ranges.argmax())
    live = ranges > DEAD * ranges[widest]
    static = rounding if rounding is not None and rounding.kind == "static" else None
    channel_db = [_db(s, n) for s, n in zip(sums.signal[live], sums.noise[live], strict=True)]
    known = [v for v in channel_db if v is not None]
    both = sums.weights + sums.rounding
    found = Layer(
        name=step.output,
        kind=step.kind,
        stored="dynamic" if sums.dynamic else _stored(step, held),
        cost=sums.scores / total,
        agreement=sums.agreed / max(items, 1),
        added_db=_db(float(sums.signal.sum()), float(sums.noise.sum())),
        channel_db=float(np.median(known)) if known else None,
        sqnr_db=_db(float(sums.signal.sum()), sums.whole) if sums.seen else None,
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
    return replace(found, fault=_fault(found, tied, blamed=sums.blamed > sums.scores / 2))


def _used(rounding: Rounding, low: float, high: float) -> float:
    """Share of the codes of a range that values use; of a symmetric one, of those on the side of the larger values."""
    first, last = rounding.limits
    if rounding.zero == 0 and rounding.low < 0:
        return min(max(abs(low), abs(high)) / last, 1.0)
    return min(max(min(high, last) - max(low, first), 0.0) / (last - first), 1.0)


def _fault(layer: Layer, tied: bool, blamed: bool) -> Fault:
    if layer.cost < LEAST:
        return ""
    if layer.weights_error is not None and layer.weights_error > WRONG:
        return "weights"
    if layer.kind not in FIXED and not tied and layer.range_used is not None and layer.range_used < WIDE:
        return "range"
    if layer.clipped is not None and layer.clipped > CLIPPED:
        return "clipped"
    shared = layer.stored not in ("float16", "float32")  # one scale for all channels
    return "outlier" if layer.spread > OUTLIER and (shared or blamed) else ""


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
    live = sizes > SMALL * sizes.max()
    return float(over(errors[live] / sizes[live])) if live.any() else 0.0


def _db(signal: float, noise: float) -> float | None:
    return float(10 * np.log10(signal / noise)) if signal > 0 and noise > 0 else None
