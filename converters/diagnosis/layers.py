"""What each layer of a quantized file adds to its error: measured on the float graph, with that layer alone rounded.

The error that a layer adds is what rounding its weights and its output, as the file does, changes in its output where
its input is that of the float graph, rounded. What it inherits from the layers before is so left out, and a layer that
only passes values on adds nothing. It is then added to the float graph's own values, and the graph is run on from
there: the change of the scores is what this layer costs. Costs of independent errors add up, so they have shares.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgepress.converters.diagnosis.harm import Choice, agreement, harm
from edgepress.converters.diagnosis.layer import DEAD, INPUT, OUTLIER, Layer, Sums, layer_of
from edgepress.converters.diagnosis.matching import Matched
from edgepress.converters.diagnosis.replay import computed, effect, scores_of
from edgepress.converters.diagnosis.rounding import Rounding
from edgepress.converters.graph.program import Program
from edgepress.converters.graph.step import Step

Array = npt.NDArray[Any]
PASSING = ("MAX_POOL_2D", "AVERAGE_POOL_2D", "MEAN", "RESHAPE", "SQUEEZE", "EXPAND_DIMS", "TRANSPOSE", "PAD", "RELU")
"""Kinds of operations whose channels have ranges in proportion to those of what they read."""


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
    sums = {step.output: Sums(_channels(program.shapes[step.output])) for step in steps}
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
    layers = [
        layer_of(step, sums[step.output], held, len(items), total, tied=_is_tied(program, held, step)) for step in wrong
    ]
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
    sums: Sums,
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


def _blame_outliers(program: Program, held: Matched, steps: Sequence[Step], sums: Mapping[str, Sums]) -> None:
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
        widest = int(np.argmax(ranges))
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
