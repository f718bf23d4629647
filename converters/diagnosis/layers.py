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

from edgepress.converters.arrays import Array
from edgepress.converters.diagnosis.damage import Extent, effect, extents_of, is_tied, sound_of
from edgepress.converters.diagnosis.layer import DEAD, FIXED, INPUT, OUTLIER, QuantizedLayer, Sums, layer_of
from edgepress.converters.diagnosis.matched import Matched, Rounding
from edgepress.converters.graph.operations import OPERATIONS
from edgepress.converters.graph.program import Program, run_step
from edgepress.converters.graph.step import OperationFunction, Step
from edgepress.converters.numeric.metrics import Decision, agreement, squared_margins

PASSING = ("MAX_POOL_2D", "AVERAGE_POOL_2D", "MEAN", "RESHAPE", "SQUEEZE", "EXPAND_DIMS", "TRANSPOSE", "PAD", "RELU")
"""Kinds of operations whose channels have ranges in proportion to those of what they read."""


@dataclass(frozen=True)
class _BatchValues:
    """What some items show.

    Attributes:
        base: The float graph's tensors.
        rounded: The same as the file rounds them.
        real: Those that the file computes.
        reference: The float graph's scores.
    """

    base: Mapping[str, Any]
    rounded: Mapping[str, Any]
    real: Mapping[str, Array]
    reference: Array


@dataclass(frozen=True)
class Measured:
    """The layers of a graph, and the scores of both sides.

    Attributes:
        layers: Those that the file quantizes: those with a fault, which can be fixed, first, and then the costliest.
        scores: The float graph's, before softmax or sigmoid, (n, outputs).
        together: The same with all layers quantized in the simulation.
    """

    layers: tuple[QuantizedLayer, ...]
    scores: Array
    together: Array


def measure_layers(
    program: Program,
    held: Matched,
    items: Array,
    *,
    decision: Decision = "one",
    on_progress: Callable[[float], None] | None = None,
    extents: Mapping[str, Extent] | None = None,
) -> Measured:
    """Measure every layer.

    Args:
        program: The float graph.
        held: What a file makes of it.
        items: Items of shape (n, *item shape) that both take.
        decision: What is decided from the scores.
        on_progress: Called with the share that is done, 0-1.
        extents: What the graph's tensors hold, of more items; None takes these.
    """
    extents = extents_of(program, [items]) if extents is None else extents
    measurement = _Measurement(program, held, decision, extents)
    steps = measurement.steps
    scores = []
    together = []
    for batch in program.batches(items):
        values = measurement.run(batch)
        scores.append(values.reference)
        together.append(measurement.run_rounded(batch))
        for number, step in enumerate(steps):
            measurement.add(step, values)
            if on_progress:
                on_progress((sum(map(len, scores[:-1])) + len(batch) * (number + 1) / len(steps)) / len(items))
    return Measured(measurement.layers(len(items)), np.concatenate(scores), np.concatenate(together))


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


class _Measurement:
    """What is added up for every layer of a graph.

    Args:
        program: The float graph.
        held: What a file makes of it.
        decision: What is decided from the scores.
        extents: What the graph's tensors hold.
    """

    def __init__(self, program: Program, held: Matched, decision: Decision, extents: Mapping[str, Extent]) -> None:
        import tensorflow as tf

        source = Step(INPUT, (), (program.source,), None, program.shapes[program.source], program.dtype, (), {})
        self.steps = [step for step in (source, *program.steps) if _is_quantized(step, held)]
        self._program = program
        self._held = held
        self._decision = decision
        self._extents = {step.output: extents.get(step.output, Extent()) for step in self.steps}
        self._sums = {step.output: Sums(_channels(program.shapes[step.output])) for step in self.steps}
        self._files = {name: tf.constant(value) for name, value in held.constants.items()}
        self._tied = {step.output: is_tied(program, held, step) for step in self.steps}
        self._sound = {
            s.output: sound_of(s, held, extents, fixed=self._tied[s.output] or s.kind in FIXED) for s in self.steps
        }

    def run(self, items: Array) -> _BatchValues:
        """The values of all tensors for some items."""
        base = self._program.run(items)
        rounded = {name: r.apply(base[name]) for name, r in self._held.roundings.items() if r.kind != "dynamic"}
        real = self._held.values(self._program, items)
        return _BatchValues(base, rounded, real, _flat(base[self._program.logits], len(items)))

    def run_rounded(self, items: Array) -> Array:
        """The scores with all that the file rounds rounded."""

        def after(name: str, value: Any) -> Any:
            rounding = self._held.roundings.get(name)
            return value if rounding is None or value.dtype.name != "float32" else rounding.apply(value)

        def step_in_file(kind: str) -> OperationFunction:
            return lambda step, values: OPERATIONS[kind](self._held.step_in_file(step), values)

        kinds = {step.kind: step_in_file(step.kind) for step in self._program.steps}
        values = self._program.run(items, constants=self._files, after=after, operations=kinds)
        return _flat(values[self._program.logits], len(items))

    def add(self, step: Step, batch: _BatchValues) -> None:
        """Add what some items show of one layer."""
        base = batch.base
        if step.kind == INPUT:
            plain = stored = values = {step.output: base[step.output]}
        else:
            own = {name: self._files[name] for name in step.inputs if name in self._files}
            plain = run_step(step, batch.rounded, base)
            stored = run_step(step, own, batch.rounded, base) if own else plain
            bare = self._held.step_in_file(step)
            values = stored if bare is step else run_step(bare, own, batch.rounded, base)
        changed: dict[str, Any] = {}
        reads: dict[tuple[str, str], Any] = {}
        for name in step.outputs:
            if base[name].dtype.name != "float32":
                continue
            rounding = self._held.roundings.get(name)
            fixed = rounding is not None and rounding.kind != "dynamic"
            after = rounding.apply(values[name]) if rounding is not None and fixed else stored[name]
            changed[name] = base[name] + (after - plain[name])
            reads |= self._reading(base, name, changed[name])
        if not changed:
            return
        name = step.output
        sums = self._sums[name]
        scores = self._scores(batch, changed, reads)
        cost = float(squared_margins(batch.reference, scores, self._decision).sum())
        sums.count += len(batch.reference)
        sums.scores += cost
        sums.agreed += agreement(batch.reference, scores, self._decision, threshold=0) * len(batch.reference)
        error = changed[name] - base[name]
        if reads:  # what the readers round is this layer's, too
            sums.dynamic = True
            error += Rounding("dynamic").apply(changed[name]) - changed[name]
        sums.add_errors(base[name], error, stored[name] - plain[name], self._held.roundings.get(name))
        sums.fair += min(self._cost_if_sound(step, batch), cost)  # behind the count of values beyond the range
        if name in batch.real:
            sums.seen = True
            sums.whole += _power(batch.real[name] - base[name])

    def _cost_if_sound(self, step: Step, batch: _BatchValues) -> float:
        """What a layer would cost if nothing of it were damaged; infinite if nothing is.

        What its range makes of the float graph's values is added up on the way.
        """
        name = step.output
        base = batch.base
        sums = self._sums[name]
        sound = self._sound[name]
        rounding = self._held.roundings.get(name)
        if sound.rounding is not None and rounding is not None and rounding != sound.rounding:
            import tensorflow as tf

            sums.range_noise += _power(rounding.apply(base[name]) - base[name])
            sums.range_fair += _power(sound.rounding.apply(base[name]) - base[name])
            sums.range_cut += _power(tf.clip_by_value(base[name], *rounding.limits) - base[name])
            if sums.fault_of_range(rounding, self._extents[name]):
                rounding = sound.rounding
        if not sound.constants and rounding == self._held.roundings.get(name):
            return float("inf")
        held = {**self._files, **sound.constants}
        constants = {n: held[n] for n in step.inputs if n in held}
        plain = run_step(step, batch.rounded, base)[name]
        value = run_step(step, constants, batch.rounded, base)[name]
        value = rounding.apply(value) if rounding is not None and rounding.kind != "dynamic" else value
        changed = {name: base[name] + value - plain}
        scores = self._scores(batch, changed, self._reading(base, name, changed[name]))
        return float(squared_margins(batch.reference, scores, self._decision).sum())

    def _scores(self, batch: _BatchValues, changed: Mapping[str, Any], reads: Mapping[tuple[str, str], Any]) -> Array:
        """The scores after a change."""
        end = self._program.logits
        return _flat(effect(self._program, batch.base, changed, reads=reads, end=end), len(batch.reference))

    def _reading(self, base: Mapping[str, Any], name: str, value: Any) -> dict[tuple[str, str], Any]:
        """What steps read of a tensor, or of what only passes it on, that they round while they run."""
        roundings = self._held.roundings
        if not any(rounding.kind == "dynamic" for rounding in roundings.values()):
            return {}
        reads: dict[tuple[str, str], Any] = {}
        passed = {name: value}
        for step in self._program.steps:
            if step.kind in PASSING and step.inputs[0] in passed:
                passed |= run_step(step, passed, base)
            elif step.inputs[:1] and step.inputs[0] in passed and self._held.quantizes_dynamically(step):
                rounding = roundings.get(step.inputs[0])
                if rounding is not None and rounding.kind == "dynamic":
                    reads[step.output, step.inputs[0]] = rounding.apply(passed[step.inputs[0]])
        return reads

    def layers(self, items: int) -> tuple[QuantizedLayer, ...]:
        """The layers, those with a fault first, and then the costliest."""
        wrong = [step for step in self.steps if self._sums[step.output].noise.any()]
        _blame_outliers(self._program, self._held, wrong, self._sums)
        total = sum(sums.scores for sums in self._sums.values()) or 1.0
        layers = [
            layer_of(
                step,
                self._sums[step.output],
                self._held,
                items=items,
                total=total,
                sound=self._sound[step.output],
                extent=self._extents[step.output],
                tied=self._tied[step.output],
            )
            for step in wrong
        ]
        return tuple(
            sorted(layers, key=lambda one: (not one.damaged, not one.fault, -(one.excess if one.damaged else one.cost)))
        )


def _power(values: Any) -> float:
    return float(np.square(np.asarray(values, np.float64)).sum())


def _blame_outliers(program: Program, held: Matched, steps: Sequence[Step], sums: Mapping[str, Sums]) -> None:
    """Move what the weights of a step cost to the layer before it where that has a channel far larger than the others.

    The weights behind such a channel are far smaller than their neighbours, and few codes are left for them.
    """
    makers = program.makers
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
