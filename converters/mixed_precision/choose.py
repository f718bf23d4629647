"""Choose the layers that a file of mixed precision keeps in float.

Layers are added in the order of `ranking` until the real file, made by litert-quantizer and run by LiteRT, keeps the
limit on the validation items; then those are taken out again without which it still does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from edgepress.converters.arrays import Array, Floats
from edgepress.converters.calibration import Batches, known_range, tflite_statistics
from edgepress.converters.errors import ConversionError
from edgepress.converters.float_layers import NOTHING, FloatLayer, FloatLayers, matching
from edgepress.converters.graph.program import Program, UnknownOperationError
from edgepress.converters.graph.tflite_scales import scales_of_tflite
from edgepress.converters.mixed_precision.ranking import FloatSet, Ranking
from edgepress.converters.mixed_precision.sensitivity import BUDGET_MACS, LayerSimulation, SourceLayer, affordable
from edgepress.converters.numeric.metrics import LEAST_FIT, fit_temperature
from edgepress.converters.numeric.statistics import CalibrationMethods
from edgepress.converters.options.conversion import ConversionOptions
from edgepress.converters.ptq.calibration import first_items, trials
from edgepress.converters.ptq.score import Score, Scorer, answers_before_end
from edgepress.converters.rewrites.table import rewrites_for, rewritten_tflite
from edgepress.converters.schemes import SCHEMES
from edgepress.converters.to_tflite import passes
from edgepress.converters.to_tflite.convert import with_scheme
from edgepress.converters.to_tflite.interface import with_pixels
from edgepress.runtime.decisions import softmax
from edgepress.runtime.input_spec import InputSpec

MAX_DROP_PP = 0.5
"""Limit unless the user gives one, percentage points."""
SIMULATED = 200
"""Most calibration items on which losses are simulated."""
PRUNINGS = 24
"""Most chosen layers that are tried in int8 again."""
NAMED = "named by --keep-float"


def choose_float_layers(
    model: bytes,
    how: ConversionOptions,
    calibration: Batches,
    scorer: Scorer,
    *,
    item: InputSpec,
    methods: CalibrationMethods,
) -> FloatLayers:
    """Choose the layers to keep in float, in files that litert-quantizer makes of a graph.

    Files are scored as they are converted, with their rewrites; losses are simulated in the graph without.

    Args:
        model: The float `.tflite` that the int8 file would be made from.
        how: Which layers to keep, or what may be lost.
        calibration: Returns the calibration items.
        scorer: Scores files on validation items.
        item: The input.
        methods: The methods of ranges.

    Raises:
        ConversionError: See `choose`.
    """
    scheme = SCHEMES["tflite-mixed"]

    def maker(graph: bytes) -> Callable[[FloatLayers], bytes]:
        ranges = tflite_statistics(graph, calibration, known_range(item)).ranges(methods)
        in_recipe = rewritten_tflite(graph, rewrites_for(scheme, "cpu", "recipe"))[1] if how.rewrites else {}
        return lambda layers: with_scheme(
            graph, scheme, ranges, in_recipe, uint8=with_pixels(item), float_layers=layers
        )

    rewritten, _ = rewritten_tflite(model, rewrites_for(scheme, "cpu", "float") if how.rewrites else ())
    items = first_items(calibration, SIMULATED)
    simulated = maker(model)(NOTHING) if rewritten != model else None
    return choose(model, maker(rewritten), scorer, items, how=how, simulated=simulated)


def choose(
    model: bytes,
    make: Callable[[FloatLayers], bytes],
    scorer: Scorer,
    items: Array,
    *,
    how: ConversionOptions,
    simulated: bytes | None = None,
) -> FloatLayers:
    """Choose the layers to keep in float.

    Args:
        model: The float `.tflite`.
        make: Makes the real `.tflite` file that keeps some layers in float.
        scorer: Scores files on validation items.
        items: Calibration items of shape (n, *item shape), on which losses are simulated.
        how: Which layers to keep, or what may be lost.
        simulated: The int8 file whose roundings are simulated, of the graph as it is; None takes what `make` makes.

    Raises:
        ConversionError: No choice keeps the limit, a name matches nothing, or the graph can't be simulated.
    """
    try:
        search = _Search(Program(model), model, make, scorer, simulated)
        start = search.find_named(how.keep_float) if how.keep_float else FloatSet()
        if how.max_drop is None and how.keep_float:
            return search.describe(start, start)
        return search.search(MAX_DROP_PP if how.max_drop is None else how.max_drop, start, items)
    except UnknownOperationError as e:
        raise ConversionError(
            f"Mixed precision can't be chosen for this model, because edgepress can't simulate it: {e}.",
            "Use int8, int16x8 or float16 schemes.",
        ) from e


def _logits(answers: Floats) -> Floats:
    """Logits of all labels, (n, labels): a single output is the logit of the second of two."""
    return np.concatenate([np.zeros_like(answers), answers], 1) if answers.shape[1] == 1 else answers


def _subtract(state: FloatSet, part: FloatSet) -> FloatSet:
    return FloatSet(state.layers - part.layers, state.weights - part.weights - part.layers)


@dataclass(frozen=True)
class _Losses:
    """What a real file loses, percentage points.

    Attributes:
        measured: On the items.
        sure: The part of that which is beyond chance.
        expected: On other items, by the float graph's own probabilities; `measured` if these are not known.
    """

    measured: float
    sure: float
    expected: float


class _Search:
    def __init__(
        self,
        program: Program,
        model: bytes,
        make: Callable[[FloatLayers], bytes],
        scorer: Scorer,
        simulated: bytes | None,
    ) -> None:
        self._program = program
        self._model = model
        self._make = make
        self._scorer = scorer
        self._plain = make(NOTHING)
        self._simulation = LayerSimulation(program, scales_of_tflite(program, simulated or self._plain))
        self._ranking = Ranking(self._simulation, dict.fromkeys(self._simulation.names, 0.0))
        self._drops: dict[FloatSet, _Losses] = {}

    def find_named(self, pattern: str) -> FloatSet:
        layers = self._ranking.layers
        chosen = matching(pattern, [layer.name for layer in layers])
        numbers = frozenset(number for number, layer in enumerate(layers) if layer.name in chosen)
        weighted = frozenset(number for number in numbers if layers[number].weights)
        return FloatSet(self._ranking.fill_between(numbers), weighted)

    def search(self, limit: float, start: FloatSet, items: Array) -> FloatLayers:
        """The cheapest choice found that keeps the limit."""
        if self._scorer.score_file(self._plain).agreement is None:
            raise ConversionError(
                "The outputs are not class scores, so there is no accuracy to keep.",
                "Name the layers to keep in float with --keep-float.",
            )
        if self._drop(start) <= limit:
            return self.describe(start, start, limit=limit)
        simulation = self._simulation
        simulation.use(affordable(self._program, items, len(simulation.names) + 1, BUDGET_MACS))
        losses = {name: simulation.divergence({name}) for name in simulation.names}
        self._ranking.losses.update(losses)
        states = list(self._ranking.states(start))
        if self._drop(states[-1]) > limit:  # the simulation misses something
            states += self._ranking.further_states(states[-1])
        if (found := self._find_holding(states, limit)) is None:
            best = min(self._drops, key=self._drop)
            left = [layer.name for n, layer in enumerate(self._ranking.layers) if n not in best.layers]
            raise ConversionError(
                f"With {len(best.layers)} layers in float and {len(left)} in 8 bits ({', '.join(left[:3])}), "
                f"it loses {self._drop(best):.2f} pp of {self._measure}; the limit is {limit:g}.",
                "Give a larger --max-drop, or use a scheme that computes in float, such as float16.",
            )
        failing = 0
        holding = found
        while holding - failing > 1:
            middle = (failing + holding) // 2
            failing, holding = (failing, middle) if self._drop(states[middle]) <= limit else (middle, holding)
        return self.describe(self._prune(states[holding], start, limit), start, limit=limit)

    def _find_holding(self, states: list[FloatSet], limit: float) -> int | None:
        """The place of the last of some states that keeps the limit: more layers in float may lose more items."""
        few = trials(self._model, len(self._scorer.items), len(self._simulation.names))
        places = range(len(states))[::-1][:few]
        return next((place for place in places if self._drop(states[place]) <= limit), None)

    def _prune(self, state: FloatSet, start: FloatSet, limit: float) -> FloatSet:
        """The state without what the limit does not need: float32 weights, or whole layers, the costliest first."""
        cost = self._ranking.cost
        steps = [FloatSet(weights=state.weights - start.weights)]  # what may be taken out at once
        steps += [FloatSet(frozenset({n}), frozenset({n})) for n in state.layers - start.layers]
        steps += [FloatSet(weights=frozenset({n})) for n in state.weights - start.weights]
        steps[1:] = sorted(
            steps[1:], key=lambda step: (cost(_subtract(state, step)), sorted(step.layers | step.weights))
        )
        tries = min(PRUNINGS, trials(self._model, len(self._scorer.items), len(self._simulation.names)))
        for step in steps[: tries + 1]:
            less = _subtract(state, step)
            if less != state and cost(less) <= cost(state) and self._drop(less) <= limit:
                state = less
        return state

    @property
    def _measure(self) -> str:
        return "agreement with the source model" if self._scorer.labels is None else "accuracy"

    def _file(self, state: FloatSet) -> bytes:
        return self._make(self._describe_layers(state)) if state.layers else self._plain

    def _drop(self, state: FloatSet) -> float:
        """Loss of a state's real file that counts, percentage points.

        A few items prove little: as many labels may become right by chance as become wrong, and one may be a share of
        the items that is above the limit. So what counts is what is surely lost, or what is expected, if that is more.
        """
        losses = self._losses(state)
        return max(losses.sure, losses.expected)

    def _losses(self, state: FloatSet) -> _Losses:
        if state not in self._drops:
            file = self._file(state)
            score = self._scorer.score_file(file)
            if self._scorer.labels is None:
                measured = 1 - (score.agreement or 0)
            else:
                measured = (self._float_score.accuracy or 0) - (score.accuracy or 0)
            expected = self._expect_loss(file)
            sure = score.lost(self._float_score)
            if expected is None:
                expected = measured
            self._drops[state] = _Losses(100 * measured, 100 * sure, 100 * expected)
        return self._drops[state]

    def _expect_loss(self, file: bytes) -> float | None:
        """Accuracy that a file is expected to lose, 0-1: what the float graph prefers its own label by, on average.

        None if labels do not exclude each other.
        """
        chances = self._probabilities
        if chances is None:
            return None
        labels = _logits(answers_before_end(file, self._scorer.items)).argmax(1)
        return float(np.mean(chances.max(1) - chances[np.arange(len(chances)), labels]))

    @cached_property
    def _probabilities(self) -> Floats | None:
        """The labels' probabilities by the float graph, (n, labels); None if labels do not exclude each other.

        They are calibrated where labels are known: a net that is too sure of its answers expects too large a loss.
        """
        answers = answers_before_end(self._model, self._scorer.items)
        if answers.shape[1] > 1 and passes.last_operation(self._model) == "LOGISTIC":
            return None
        chances = softmax(_logits(answers))
        labels = self._scorer.labels
        if labels is None or len(labels) < LEAST_FIT:
            return chances
        return fit_temperature(chances, labels.reshape(-1).astype(np.int64)).probabilities(chances)

    @cached_property
    def _float_score(self) -> Score:
        return self._scorer.score_file(self._model)

    def _describe_layers(self, state: FloatSet, start: FloatSet | None = None) -> FloatLayers:
        return FloatLayers(tuple(self._layer(n, state, start) for n in sorted(state.layers)))

    def _layer(self, number: int, state: FloatSet, start: FloatSet | None) -> FloatLayer:
        layer = self._ranking.layers[number]
        stored = ("float32" if number in state.weights else "int8") if layer.weights else ""
        why = NAMED if start and number in start.layers else self._why(layer)
        return FloatLayer(layer.name, layer.outputs, layer.scopes, stored, why)

    def _why(self, layer: SourceLayer) -> str:
        losses = self._ranking.losses
        whole = sum(losses.values())
        own = sum(losses.get(name, 0.0) for name in (*layer.weights, *layer.outputs))
        share = 100 * own / whole if whole else 0.0
        return f"its rounding is {share:.1f} % of the loss" if share >= 0.05 else "it stands between such layers"

    def describe(self, state: FloatSet, start: FloatSet, *, limit: float | None = None) -> FloatLayers:
        """The choice with what was measured and remarks."""
        layers = tuple(
            layer
            for layer, number in zip(self._describe_layers(state, start).layers, sorted(state.layers), strict=True)
            if number in start.layers or self._ranking.is_rounded(self._ranking.layers[number])
        )
        record: dict[str, Any] = {
            "layers": [{"name": layer.name, "weights": layer.weights, "why": layer.why} for layer in layers],
            "of_layers": len(self._ranking.layers),
        }
        notes = []
        if limit is not None:
            now = self._losses(state)
            before = self._losses(FloatSet())
            record |= {
                "max_drop_pp": limit,
                "measure": self._measure,
                "items": len(self._scorer.items),
                "drop_pp": [round(before.measured, 3), round(now.measured, 3)],
                "expected_drop_pp": [round(before.expected, 3), round(now.expected, 3)],
            }
            of = f"{self._measure} on {record['items']} items"
            drop = f"{now.measured:.2f} pp of {of} ({now.expected:.2f} pp are expected on other items)"
            if not state.layers:
                notes.append(f"nothing is kept in float: the drop of int8 is {drop}; the limit is {limit:g} pp")
            else:
                notes.append(f"its drop is {drop}, that of int8 {before.measured:.2f} pp; the limit is {limit:g} pp")
        if layers:
            names = ", ".join(layer.name for layer in layers[:6]) + (", ..." if len(layers) > 6 else "")
            notes.append(f"kept in float, {len(layers)} of {record['of_layers']} layers: {names}")
        return FloatLayers(layers, tuple(notes), record)
