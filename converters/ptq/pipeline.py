"""How a graph is repaired for each kind of files: its stages in order, each of which is scored (`repair`)."""

from __future__ import annotations

import dataclasses
import traceback
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np

from edgepress.converters.calibration import Batches, InputRange, tflite_statistics
from edgepress.converters.errors import ConversionError
from edgepress.converters.graph.program import Program, UnknownOperationError
from edgepress.converters.numeric.statistics import CalibrationMethod, CalibrationMethods, Ranges
from edgepress.converters.ptq.adaround import round_weights
from edgepress.converters.ptq.bias import absorb_shifts, correct_biases, find_shifts, with_own_biases
from edgepress.converters.ptq.calibration import ChosenMethods, choose_methods, first_items, trials
from edgepress.converters.ptq.channel_scales import (
    ChannelRanges,
    Factors,
    channel_ranges,
    move_ranges,
    scale_groups,
    tensor_ranges,
)
from edgepress.converters.ptq.equalization import equalizing_factors, find_fixed, limit_factors
from edgepress.converters.ptq.score import Score, Scorer, scoring_items
from edgepress.converters.ptq.stages import CALIBRATED, KEPT_UNLESS_WORSE, RECIPES, Repaired, Stage, StageName
from edgepress.converters.schemes import SCHEMES, RepairKind
from edgepress.converters.to_tflite.grids import four_bit_names
from edgepress.runtime.errors import first_line

MACS = 2e10
"""Multiply-accumulates that one pass over calibration items may take, about a second."""


@dataclass(frozen=True)
class _Change:
    """A changed graph, the ranges of its tensors and of their channels, and what was changed, in words."""

    model: bytes
    ranges: Ranges
    measured: ChannelRanges
    what: str


@dataclass(frozen=True)
class _ScoredGraph:
    """A graph, the ranges of its tensors and of their channels, and its score."""

    model: bytes
    ranges: Ranges
    measured: ChannelRanges
    score: Score


class Pipeline:
    """Repairs one graph.

    Attributes:
        model: The float graph.
        stages: The repairs that were tried, in order.
        notes: Notes for the user.
        is_changed: Whether the graph is another one than the model's, so that files are made of it in any case.
    """

    def __init__(
        self, model: bytes, batches: Batches, scorer: Scorer, *, input_range: InputRange, repairs: bool
    ) -> None:
        self.model = model
        self.batches = batches
        self.scorer = scorer
        self.input_range = input_range
        self._scores: dict[tuple[str, bytes], Score] = {}
        self.is_changed = False
        self.stages: list[Stage] = []
        self.notes: list[str] = []
        self.program: Program | None = None
        self._programs: dict[bytes, Program] = {}
        self._by_scales: dict[tuple[str, ...], _Change | None] = {}
        self.measured: ChannelRanges = {}
        if repairs:
            self.items = first_items(batches, scoring_items(model, MACS))
            try:
                self.program = self._programs[model] = Program(model)
                self.measured = channel_ranges(self.program, self.items)
                if not all(np.isfinite(side).all() for pair in self.measured.values() for side in pair):
                    raise ConversionError("A tensor is NaN or infinite on calibration data.")
            except UnknownOperationError as e:
                self.notes.append(
                    f"no repairs were tried: the graph is of a form or has an operation that they do not know ({e})"
                )
            except ConversionError:
                raise
            except Exception as e:  # a bug of ours or of a library must not cost a conversion that works without
                self._note_failure(e)

    def _note_failure(self, error: Exception) -> None:
        traceback.print_exc()
        self.program = None
        self.notes.append(f"repairs failed unexpectedly: {type(error).__name__}: {first_line(error)}")

    def run(self, kinds: Collection[RepairKind], method: CalibrationMethod) -> Repaired:
        """Repair the graph for each kind; one that fails is left as it is, with a note."""
        models: dict[RepairKind, bytes] = dict.fromkeys(kinds, self.model) if self.is_changed else {}
        chosen: ChosenMethods | None = None
        for kind in kinds:
            recipe = RECIPES[kind]
            equalized = self._guard(partial(self._reuse_equalized, recipe.tensorwise))
            if not recipe.last and equalized is None:
                continue
            try:
                current = self.score_plain(kind)
                if equalized is not None and not current.score.sound:
                    current = self._try("equalization", kind, current, equalized)
                if kind in CALIBRATED:
                    if not current.score.sound and (change := self._guard(partial(self._absorb_biases, current))):
                        current = self._try("bias-absorption", kind, current, change)
                    current, chosen = self._with_methods(kind, current, method, chosen)
                make = self._round_weights if recipe.last == "adaround" else self._correct_biases
                if recipe.last and not current.score.sound and (change := self._guard(partial(make, kind, current))):
                    methods = chosen.methods if chosen and kind in CALIBRATED else None
                    current = self._try(recipe.last, kind, current, change, methods)
                # Methods of single tensors hold for ONNX files only if these have the graph's names for them.
                if current.model is not self.model or (chosen and chosen.methods.tensors and kind in CALIBRATED):
                    models[kind] = current.model
            except ConversionError as e:
                self.notes.append(f"the graph was not repaired for {kind}: {e.message}")
        return Repaired(models, tuple(self.stages), chosen, tuple(self.notes))

    def _guard(self, make: Callable[[], _Change | None]) -> _Change | None:
        """What a repair makes; None if repairs are off, or if it fails: that must not cost the conversion."""
        if self.program is None:
            return None
        try:
            return make()
        except ConversionError:
            raise
        except Exception as e:
            self._note_failure(e)
            return None

    def _with_methods(
        self,
        kind: RepairKind,
        current: _ScoredGraph,
        method: CalibrationMethod,
        chosen: ChosenMethods | None,
    ) -> tuple[_ScoredGraph, ChosenMethods]:
        """The graph with ranges of all calibration items, and the methods they follow from: chosen unless named."""
        statistics = tflite_statistics(current.model, self.batches, self.input_range)

        def score(methods: CalibrationMethods, scored: RepairKind = kind) -> Score:
            return self._score_or_worst(scored, current.model, statistics.ranges(methods))

        if chosen is not None:
            final = score(chosen.methods)
        elif method == "auto":
            # The noise of 4-bit weights hides what ranges do, so the choice is that of int8 files made beside them.
            other: RepairKind = "int8" if kind == "int4" else kind
            first = current.score if other == kind else self._score_or_worst(other, current.model, current.ranges)
            number = 1 if first.sound else trials(current.model, len(self.scorer.items), len(statistics.names))
            chosen = choose_methods(statistics, partial(score, scored=other), number)
            final = chosen.score if other == kind else score(chosen.methods)
        else:
            methods = CalibrationMethods(method)
            final = score(methods)
            chosen = ChosenMethods(methods, final, final, 1)
        return _ScoredGraph(current.model, statistics.ranges(chosen.methods), current.measured, final), chosen

    def score_plain(self, kind: RepairKind) -> _ScoredGraph:
        """The graph as it is, with its score."""
        if self.program is None:
            ranges = tflite_statistics(self.model, self.batches, self.input_range).ranges()
        else:
            ranges = self._ranges(self.measured)
        return _ScoredGraph(self.model, ranges, self.measured, self._score_or_worst(kind, self.model, ranges))

    def _try(
        self,
        name: StageName,
        kind: RepairKind,
        current: _ScoredGraph,
        change: _Change,
        methods: CalibrationMethods | None = None,
    ) -> _ScoredGraph:
        """The state after a change, or before it if it is not kept.

        With `methods`, ranges are measured again, so that what is scored is what will be written.
        """
        try:
            if methods is not None:
                ranges = tflite_statistics(change.model, self.batches, self.input_range).ranges(methods)
                change = dataclasses.replace(change, ranges=ranges)
            score = self._score(kind, change.model, change.ranges)
        except (ConversionError, RuntimeError) as e:  # also what LiteRT says of a file that it refuses
            self.notes.append(f"a repair ({name}) was left out: {first_line(e)}")
            return current
        worse = current.score.better_than(score)
        kept = not worse if name in KEPT_UNLESS_WORSE else score.better_than(current.score)
        self.stages.append(Stage(name, kind, kept, current.score, score, change.what))
        return _ScoredGraph(change.model, change.ranges, change.measured, score) if kept else current

    def _score_or_worst(self, kind: RepairKind, model: bytes, ranges: Ranges) -> Score:
        """The score of a graph's file; the worst if it can't be made, so that a repair that makes it possible is kept.

        Scales that are too far apart are what equalization changes.
        """
        try:
            return self._score(kind, model, ranges)
        except (ConversionError, RuntimeError):
            return self.scorer.worst_score(model, RECIPES[kind].precision)

    def _score(self, kind: RepairKind, model: bytes, ranges: Ranges) -> Score:
        recipe = RECIPES[kind]
        if SCHEMES[f"tflite-{recipe.precision}"].calibrated:
            return self.scorer.score(model, ranges, recipe.precision, recipe.rewrites)
        key = recipe.precision, model
        if key not in self._scores:  # several kinds are scored by the same files
            self._scores[key] = self.scorer.score(model, None, recipe.precision, recipe.rewrites)
        return self._scores[key]

    def _with_own_biases(self, model: bytes) -> Program:
        own = with_own_biases(model)
        if own not in self._programs:
            self._programs[own] = Program(own)
        return self._programs[own]

    def _ranges(self, measured: ChannelRanges) -> Ranges:
        assert self.program is not None
        assert not isinstance(self.input_range, Mapping)  # a program has one input
        return tensor_ranges(measured, self.program.source, self.input_range)

    def _reuse_equalized(self, tensorwise: tuple[str, ...]) -> _Change | None:
        """The graph equalized for files in which some kinds of weights have one scale a tensor, if it can be."""
        if tensorwise not in self._by_scales:
            self._by_scales[tensorwise] = self._equalize(tensorwise)
        return self._by_scales[tensorwise]

    def _equalize(self, tensorwise: tuple[str, ...]) -> _Change | None:
        assert self.program is not None
        groups = scale_groups(self.program)
        if groups.count < 2:
            return None
        factors = equalizing_factors(groups, self.measured, tensorwise)

        def scale_ranges(by: Factors) -> ChannelRanges:
            return move_ranges(self.measured, factors={name: by[ids] for name, ids in groups.of.items()})

        factors = limit_factors(groups, factors, self._ranges(scale_ranges(factors)), find_fixed(groups, self.measured))
        model = self.program.with_constants(groups.scale_constants(factors))
        measured = scale_ranges(factors)
        return _Change(model, self._ranges(measured), measured, f"{groups.count - 1} groups of channels scaled")

    def _absorb_biases(self, current: _ScoredGraph) -> _Change | None:
        """The graph with channels shifted; None if none can be."""
        program = self._with_own_biases(current.model)
        shifts = find_shifts(program, current.measured)
        if not shifts:
            return None
        measured = move_ranges(current.measured, shifts=shifts)
        model = program.with_constants(absorb_shifts(program, shifts))
        return _Change(model, self._ranges(measured), measured, f"the channels of {len(shifts)} tensors shifted")

    def _correct_biases(self, kind: RepairKind, current: _ScoredGraph) -> _Change:
        """The graph with corrected biases."""
        program = self._with_own_biases(current.model)
        recipe = RECIPES[kind]
        file = self.scorer.make_file(current.model, current.ranges, recipe.precision, recipe.rewrites)
        changed = correct_biases(program, file, self.items)
        what = f"the biases of {len(changed)} operations corrected"
        return _Change(program.with_constants(changed), current.ranges, current.measured, what)

    def _round_weights(self, kind: RepairKind, current: _ScoredGraph) -> _Change | None:
        """The graph with weights on grids of four bits and biases corrected for it; None if no layer has four bits."""
        if not four_bit_names(current.model):
            return None
        rounded = round_weights(with_own_biases(current.model), self.items, current.ranges)
        what = f"the weights of {len(rounded.layers)} operations rounded by the answers to {rounded.items} items"
        return _Change(rounded.model, current.ranges, current.measured, what)
