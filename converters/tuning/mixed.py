"""Choose the layers that a file of mixed precision keeps in float.

Layers are added in the order of `frontier` until the real file, made by litert-quantizer and run by LiteRT, keeps the
limit on the validation items; then those are taken out again without which it still does.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from edgepress.converters.calibration import Batches, tflite_statistics
from edgepress.converters.errors import ConversionError
from edgepress.converters.graph.program import Program, UnknownOperationError
from edgepress.converters.graph.tflite_scales import scales_of_tflite
from edgepress.converters.kept import NOTHING, KeepOptions, Kept, KeptLayer, matching
from edgepress.converters.schemes import SCHEMES
from edgepress.converters.statistics import Choice
from edgepress.converters.to_tflite import passes
from edgepress.converters.to_tflite.convert import with_scheme
from edgepress.converters.tuning.frontier import Frontier, State
from edgepress.converters.tuning.judge import Judge, answers_before_end
from edgepress.converters.tuning.layers import Layer
from edgepress.converters.tuning.methods import first_items, trials
from edgepress.converters.tuning.sensitivity import BUDGET_MACS, LayerSimulation, affordable
from edgepress.runtime.decisions import softmax
from edgepress.runtime.input_spec import InputSpec

Array = npt.NDArray[Any]
MAX_DROP_PP = 0.5
"""Limit unless the user gives one, percentage points."""
SIMULATED = 200
"""Calibration items on which losses are simulated, at most."""
PRUNINGS = 24
"""Layers that are tried to be taken out again, at most."""
NAMED = "named by --keep-float"


def kept_layers(
    model: bytes, options: KeepOptions, calibration: Batches, judge: Judge, item: InputSpec, choice: Choice
) -> Kept:
    """Choose the layers to keep in float, in files that litert-quantizer makes of a graph.

    Args:
        model: The float `.tflite` that the int8 file would be made from.
        options: What the user says.
        calibration: Returns the calibration items.
        judge: Scores files on validation items.
        item: The input.
        choice: The methods of ranges.

    Raises:
        ConversionError: See `choose`.
    """
    ranges = tflite_statistics(model, calibration, None if item.is_integer else item.value_range).ranges(choice)

    def make(kept: Kept) -> bytes:
        return with_scheme(model, SCHEMES["tflite-mixed"], ranges, uint8=item.is_image, kept=kept)

    return choose(model, make, judge, first_items(calibration, SIMULATED), options)


def choose(
    model: bytes, make: Callable[[Kept], bytes], judge: Judge, items: Array, options: KeepOptions | None = None
) -> Kept:
    """Choose the layers to keep in float.

    Args:
        model: The float `.tflite`.
        make: Makes the real `.tflite` file that keeps some layers in float.
        judge: Scores files on validation items.
        items: Calibration items of shape (n, *item shape), on which losses are simulated.
        options: What the user says.

    Raises:
        ConversionError: No choice keeps the limit, a name matches nothing, or the graph can't be simulated.
    """
    options = options or KeepOptions()
    try:
        search = _Search(Program(model), model, make, judge)
        start = search.named(options.pattern) if options.pattern else State()
        if options.max_drop_pp is None and options.pattern:
            return search.kept(start, start)
        return search.within(MAX_DROP_PP if options.max_drop_pp is None else options.max_drop_pp, start, items)
    except UnknownOperationError as e:
        raise ConversionError(
            f"Mixed precision can't be chosen for this model, because edgepress can't simulate it: {e}.",
            "Use int8, int16x8 or float16 schemes.",
        ) from e


def _without(state: State, part: State) -> State:
    return State(state.layers - part.layers, state.weights - part.weights - part.layers)


class _Search:
    def __init__(self, program: Program, model: bytes, make: Callable[[Kept], bytes], judge: Judge) -> None:
        self._program, self._model, self._make, self._judge = program, model, make, judge
        self._plain = make(NOTHING)
        self._simulation = LayerSimulation(program, scales_of_tflite(program, self._plain))
        self._frontier = Frontier(self._simulation, dict.fromkeys(self._simulation.names, 0.0))
        self._drops: dict[State, tuple[float, float]] = {}

    def named(self, pattern: str) -> State:
        layers = self._frontier.layers
        chosen = matching(pattern, [layer.name for layer in layers])
        numbers = frozenset(number for number, layer in enumerate(layers) if layer.name in chosen)
        weighted = frozenset(number for number in numbers if layers[number].weights)
        return State(self._frontier.between(numbers), weighted)

    def within(self, limit: float, start: State, items: Array) -> Kept:
        """The cheapest choice found that keeps the limit."""
        if self._judge.score_file(self._plain).agreement is None:
            raise ConversionError(
                "The outputs are no scores of labels, so there is no accuracy to keep.",
                "Name the layers to keep in float with --keep-float.",
            )
        if self._drop(start) <= limit:
            return self.kept(start, start, limit=limit)
        simulation = self._simulation
        simulation.use(affordable(self._program, items, len(simulation.names) + 1, BUDGET_MACS))
        losses = {name: simulation.loss({name}).divergence for name in simulation.names}
        self._frontier.losses.update(losses)
        states = list(self._frontier.states(start))
        if self._drop(states[-1]) > limit:
            left = [layer.name for n, layer in enumerate(self._frontier.layers) if n not in states[-1].layers]
            raise ConversionError(
                f"With {len(states[-1].layers)} layers in float and {len(left)} in 8 bits ({', '.join(left[:3])}), "
                f"it loses {self._drop(states[-1]):.2f} pp of {self._measure}; the limit is {limit:g}.",
                "Give a larger --max-drop, or use a scheme with more bits.",
            )
        failing, holding = 0, len(states) - 1
        while holding - failing > 1:
            middle = (failing + holding) // 2
            failing, holding = (failing, middle) if self._drop(states[middle]) <= limit else (middle, holding)
        return self.kept(self._pruned(states[holding], start, limit), start, limit=limit)

    def _pruned(self, state: State, start: State, limit: float) -> State:
        """The state without what the limit does not need: float32 weights, or whole layers, the costliest first."""
        cost = self._frontier.cost
        steps = [State(weights=state.weights - start.weights)]  # what may be taken out at once
        steps += [State(frozenset({n}), frozenset({n})) for n in state.layers - start.layers]
        steps += [State(weights=frozenset({n})) for n in state.weights - start.weights]
        steps[1:] = sorted(
            steps[1:], key=lambda step: (cost(_without(state, step)), sorted(step.layers | step.weights))
        )
        tries = min(PRUNINGS, trials(self._model, len(self._judge.items), len(self._simulation.names)))
        for step in steps[: tries + 1]:
            less = _without(state, step)
            if less != state and cost(less) <= cost(state) and self._drop(less) <= limit:
                state = less
        return state

    @property
    def _measure(self) -> str:
        return "agreement with the source model" if self._judge.labels is None else "accuracy"

    def _file(self, state: State) -> bytes:
        return self._make(self._chosen(state)) if state.layers else self._plain

    def _drop(self, state: State) -> float:
        """Loss of a state's real file that counts, percentage points."""
        return max(self._losses(state))

    def _losses(self, state: State) -> tuple[float, float]:
        """What a state's real file loses on the items, and what it is expected to lose on others, percentage points.

        On few items as many labels may become right by chance as become wrong, so with labels, the larger counts.
        """
        if state not in self._drops:
            file = self._file(state)
            score = self._judge.score_file(file)
            if self._judge.labels is None:
                measured = expected = 100 * (1 - (score.agreement or 0))
            else:
                measured = 100 * (self._float_accuracy - (score.accuracy or 0))
                expected = 100 * self._expected(file)
            self._drops[state] = (measured, expected)
        return self._drops[state]

    def _expected(self, file: bytes) -> float:
        """Accuracy that a file is expected to lose, 0-1: what the float graph prefers its own label by, on average."""
        true, found = (self._true_answers, answers_before_end(file, self._judge.items))
        if true.shape[1] == 1:
            true, found = (np.concatenate([np.zeros_like(values), values], 1) for values in (true, found))
        elif passes.last_operation(self._model) == "LOGISTIC":
            return 0.0  # several labels may be true
        chances = softmax(true)
        rows = np.arange(len(true))
        return float(np.mean(chances[rows, true.argmax(1)] - chances[rows, found.argmax(1)]))

    @cached_property
    def _true_answers(self) -> npt.NDArray[np.float32]:
        return answers_before_end(self._model, self._judge.items)

    @cached_property
    def _float_accuracy(self) -> float:
        return self._judge.score_file(self._model).accuracy or 0.0

    def _chosen(self, state: State, start: State | None = None) -> Kept:
        return Kept(tuple(self._layer(n, state, start) for n in sorted(state.layers)))

    def _layer(self, number: int, state: State, start: State | None) -> KeptLayer:
        layer = self._frontier.layers[number]
        stored = ("float32" if number in state.weights else "int8") if layer.weights else ""
        why = NAMED if start and number in start.layers else self._why(layer)
        return KeptLayer(layer.name, layer.outputs, layer.scopes, stored, why)

    def _why(self, layer: Layer) -> str:
        losses = self._frontier.losses
        whole = sum(losses.values())
        own = sum(losses.get(name, 0.0) for name in (*layer.weights, *layer.outputs))
        share = 100 * own / whole if whole else 0.0
        return f"its rounding is {share:.1f} % of the loss" if share >= 0.05 else "it stands between such layers"

    def kept(self, state: State, start: State, *, limit: float | None = None) -> Kept:
        """The choice with what was measured and remarks."""
        layers = tuple(
            layer
            for layer, number in zip(self._chosen(state, start).layers, sorted(state.layers), strict=True)
            if number in start.layers or self._frontier.is_rounded(self._frontier.layers[number])
        )
        record: dict[str, Any] = {
            "layers": [{"name": layer.name, "weights": layer.weights, "why": layer.why} for layer in layers],
            "of_layers": len(self._frontier.layers),
        }
        notes = []
        if limit is not None:
            (now, likely), (before, feared) = self._losses(state), self._losses(State())
            record |= {
                "max_drop_pp": limit,
                "measure": self._measure,
                "items": len(self._judge.items),
                "drop_pp": [round(before, 3), round(now, 3)],
                "expected_drop_pp": [round(feared, 3), round(likely, 3)],
            }
            of = f"{self._measure} on {record['items']} items"
            expected = "" if self._judge.labels is None else f" ({likely:.2f} pp are expected on other items)"
            if not state.layers:
                notes.append(
                    f"nothing is kept in float: int8 loses {now:.2f} pp of {of}{expected}; the limit is {limit:g} pp"
                )
            else:
                notes.append(
                    f"it loses {now:.2f} pp of {of}{expected}, int8 loses {before:.2f} pp; the limit is {limit:g} pp"
                )
        if layers:
            named = ", ".join(layer.name for layer in layers[:6]) + (", ..." if len(layers) > 6 else "")
            notes.append(f"kept in float, {len(layers)} of {record['of_layers']} layers: {named}")
        return Kept(layers, tuple(notes), record)
