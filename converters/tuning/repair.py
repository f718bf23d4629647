"""Repairs: changes of a float graph's constants, each kept only if the file that is quantized from it gets better.

They need no labels and no training. `repair` tries them in order and returns the tuned graphs by kind of tuning:

* "exact": equalized, with the same float answers; for ONNX files with 8-bit weights, whose grid is another;
* "dynamic" and "weights": equalized, and with biases corrected for the rounding of weights; for TFLite files with 8-bit
  weights, in which each output of a dense layer has a scale of its own ("weights") or not;
* "int8": equalized and centred where that helps int8, with ranges whose methods are chosen, and with corrected biases;
  for schemes of 8-bit activations;
* "int4": the same with weights that are rounded to four bits so that answers stay (`rounding`), instead of the biases.

A graph with an operation that programs do not know keeps its constants, and a note says so.
"""

from __future__ import annotations

import dataclasses
import traceback
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from edgepress.converters.calibration import Batches, InputRange, tflite_statistics
from edgepress.converters.errors import ConversionError
from edgepress.converters.graph.program import Program, UnknownOperationError
from edgepress.converters.schemes import SCHEMES, Tuning
from edgepress.converters.statistics import Choice, Ranges, Ranging
from edgepress.converters.to_tflite.convert import with_scheme
from edgepress.converters.to_tflite.four_bits import four_bit_names
from edgepress.converters.tuning.bias import corrected_biases, with_own_biases
from edgepress.converters.tuning.centre import centring_shifts, shifted
from edgepress.converters.tuning.channel_ranges import ChannelRanges, channel_ranges, moved, tensor_ranges
from edgepress.converters.tuning.equalize import equalizing_factors
from edgepress.converters.tuning.groups import Factors, scale_groups
from edgepress.converters.tuning.judge import Judge, Score, enough
from edgepress.converters.tuning.limits import limited
from edgepress.converters.tuning.methods import Chosen, chosen_methods, first_items, trials
from edgepress.converters.tuning.rounding import rounded
from edgepress.converters.tuning.stages import Repaired, Stage
from edgepress.runtime.errors import first_line

Array = npt.NDArray[Any]
MACS = 2e10
"""Multiply-accumulates that one pass over calibration items may take, about a second."""
_KINDS: dict[Tuning, tuple[str, tuple[str, ...], str]] = {
    "exact": ("dynamic", ("depthwise-weights",), ""),
    "dynamic": ("dynamic", ("depthwise-weights",), "bias-correction"),
    "weights": ("weights8", (), "bias-correction"),
    "int8": ("int8", (), "bias-correction"),
    "int4": ("int4", (), "rounding"),
}
"""By kind of tuning: the precision of the file that judges it, the rewrites of its recipe, and the last repair."""
RANGED: tuple[Tuning, ...] = ("int8", "int4")
"""The kinds for which the methods of ranges are chosen."""


def repair(
    model: bytes,
    batches: Batches,
    judge: Judge,
    *,
    input_range: InputRange = None,
    wanted: Collection[Tuning] = ("exact", "dynamic", "weights", "int8"),
    repairs: bool = True,
    ranging: Ranging = "minmax",
) -> Repaired:
    """Tune a float graph.

    Args:
        model: The float `.tflite`, batch 1.
        batches: The calibration items; repairs of large nets use the first of them.
        judge: Scores files on items that are not among these, where there are others.
        input_range: Range of the input, if it is known beforehand.
        wanted: The kinds of tuning that are needed.
        repairs: Whether constants may be changed.
        ranging: How ranges follow from the calibration items, for the kinds "int8" and "int4".

    Raises:
        ConversionError: The model does not run on the items, or the quantizer refuses it.
    """
    return _Repairs(model, batches, judge, input_range, repairs).run(wanted, ranging)


@dataclass(frozen=True)
class _Change:
    """A changed graph, the ranges of its tensors and of their channels, and what was changed, in words."""

    model: bytes
    ranges: Ranges
    measured: ChannelRanges
    what: str


@dataclass(frozen=True)
class _State:
    """A graph, the ranges of its tensors and of their channels, and its score."""

    model: bytes
    ranges: Ranges
    measured: ChannelRanges
    score: Score


class _Repairs:
    def __init__(self, model: bytes, batches: Batches, judge: Judge, input_range: InputRange, repairs: bool) -> None:
        self.model, self.batches, self.judge, self.input_range = model, batches, judge, input_range
        self._scores: dict[tuple[str, bytes], Score] = {}
        self.stages: list[Stage] = []
        self.notes: list[str] = []
        self.program: Program | None = None
        self._programs: dict[bytes, Program] = {}
        self.measured: ChannelRanges = {}
        if repairs:
            self.items = first_items(batches, enough(model, MACS))
            try:
                self.program = self._programs[model] = Program(model)
                self.measured = channel_ranges(self.program, self.items)
                if not all(np.isfinite(side).all() for pair in self.measured.values() for side in pair):
                    raise ConversionError("A tensor is NaN or infinite on calibration data.")
            except UnknownOperationError as e:
                self.notes.append(f"no repairs were tried: the graph has an operation that they do not know ({e})")
            except ConversionError:
                raise
            except Exception as e:  # a bug of ours or of a library must not cost a conversion that works without
                self._failed(e)

    def _failed(self, error: Exception) -> None:
        traceback.print_exc()
        self.program = None
        self.notes.append(f"repairs failed unexpectedly: {type(error).__name__}: {first_line(error)}")

    def run(self, wanted: Collection[Tuning], ranging: Ranging) -> Repaired:
        """Tune the graph for each kind; one that fails is left as it is, with a note."""
        models: dict[Tuning, bytes] = {}
        equalized = self._guarded(self._equalized)
        chosen: Chosen | None = None
        for tuning, (_, _, last) in _KINDS.items():
            if tuning not in wanted or (not last and equalized is None):
                continue
            try:
                now = self._state(tuning)
                if equalized is not None and not now.score.sound:
                    now = self._try("equalization", tuning, now, equalized)
                if tuning in RANGED:
                    if not now.score.sound and (change := self._guarded(partial(self._centred, now))):
                        now = self._try("centring", tuning, now, change)
                    now, chosen = self._with_methods(tuning, now, ranging, chosen)
                make = {"bias-correction": self._corrected, "rounding": self._rounded}.get(last)
                if make and not now.score.sound and (change := self._guarded(partial(make, tuning, now))):
                    if chosen and tuning in RANGED:
                        change = self._measured_anew(change, chosen.choice)
                    now = self._try(last, tuning, now, change)
                # Methods of single tensors hold for ONNX files only if these have the graph's names for them.
                if now.model is not self.model or (chosen and chosen.choice.tensors and tuning in RANGED):
                    models[tuning] = now.model
            except ConversionError as e:
                self.notes.append(f"the graph was not tuned for {tuning}: {e.message}")
        return Repaired(models, tuple(self.stages), chosen, tuple(self.notes))

    def _guarded(self, make: Callable[[], _Change | None]) -> _Change | None:
        """What a repair makes; None if repairs are off, or if it fails: that must not cost the conversion."""
        if self.program is None:
            return None
        try:
            return make()
        except ConversionError:
            raise
        except Exception as e:
            self._failed(e)
            return None

    def _with_methods(
        self, tuning: Tuning, now: _State, ranging: Ranging, chosen: Chosen | None
    ) -> tuple[_State, Chosen]:
        """The same with ranges of all calibration items, by methods that are chosen unless they are given."""
        statistics = tflite_statistics(now.model, self.batches, self.input_range)

        def score(choice: Choice, kind: Tuning = tuning) -> Score:
            return self._score(kind, now.model, statistics.ranges(choice))

        if chosen is None and ranging == "auto":
            # The noise of 4-bit weights hides what ranges do, so the choice is that of int8 files made beside them.
            kind: Tuning = "int8" if tuning == "int4" else tuning
            first = now.score if kind == tuning else self._score(kind, now.model, now.ranges)
            number = 1 if first.sound else trials(now.model, len(self.judge.items), len(statistics.names))
            chosen = chosen_methods(statistics, partial(score, kind=kind), number)
            found = chosen.score if kind == tuning else score(chosen.choice)
            return _State(now.model, statistics.ranges(chosen.choice), now.measured, found), chosen
        choice = chosen.choice if chosen else Choice() if ranging == "auto" else Choice(ranging)
        found = score(choice)
        return _State(now.model, statistics.ranges(choice), now.measured, found), chosen or Chosen(
            choice, found, found, 1
        )

    def _state(self, tuning: Tuning) -> _State:
        """That of the graph as it is."""
        if self.program is None:
            ranges = tflite_statistics(self.model, self.batches, self.input_range).ranges()
        else:
            ranges = self._ranges(self.measured)
        return _State(self.model, ranges, self.measured, self._score(tuning, self.model, ranges))

    def _try(self, name: str, tuning: Tuning, now: _State, change: _Change) -> _State:
        """The state after a change, or before it if it does not help."""
        try:
            score = self._score(tuning, change.model, change.ranges)
        except (ConversionError, RuntimeError) as e:  # also what LiteRT says of a file that it refuses
            self.notes.append(f"a repair ({name}) was left out: {first_line(e)}")
            return now
        kept = score.better_than(now.score)
        self.stages.append(Stage(name, tuning, kept, now.score, score, change.what))
        return _State(change.model, change.ranges, change.measured, score) if kept else now

    def _score(self, tuning: Tuning, model: bytes, ranges: Ranges) -> Score:
        precision, rewrites, _ = _KINDS[tuning]
        if SCHEMES[f"tflite-{precision}"].calibrated:
            return self.judge.score(model, ranges, precision, rewrites)
        if (precision, model) not in self._scores:  # several kinds are judged by the same files
            self._scores[precision, model] = self.judge.score(model, None, precision, rewrites)
        return self._scores[precision, model]

    def _with_own_biases(self, model: bytes) -> Program:
        own = with_own_biases(model)
        if own not in self._programs:
            self._programs[own] = Program(own)
        return self._programs[own]

    def _ranges(self, measured: ChannelRanges) -> Ranges:
        assert self.program is not None
        return tensor_ranges(measured, self.program.source, self.input_range)

    def _equalized(self) -> _Change | None:
        """The equalized graph; None if no channel can be scaled."""
        assert self.program is not None
        groups = scale_groups(self.program)
        if groups.count < 2:
            return None
        factors = equalizing_factors(groups, self.measured)

        def scaled(by: Factors) -> ChannelRanges:
            return moved(self.measured, factors={name: by[ids] for name, ids in groups.of.items()})

        factors = limited(groups, factors, self._ranges(scaled(factors)))
        model, measured = self.program.with_constants(groups.scaled(factors)), scaled(factors)
        return _Change(model, self._ranges(measured), measured, f"{groups.count - 1} groups of channels scaled")

    def _centred(self, now: _State) -> _Change | None:
        """The same with channels shifted; None if none can be."""
        program = self._with_own_biases(now.model)
        shifts = centring_shifts(program, now.measured)
        if not shifts:
            return None
        measured = moved(now.measured, shifts=shifts)
        model = program.with_constants(shifted(program, shifts))
        return _Change(model, self._ranges(measured), measured, f"the channels of {len(shifts)} tensors centred")

    def _measured_anew(self, change: _Change, choice: Choice) -> _Change:
        """The same with the ranges that files of it will have, so that what is judged is what will be written."""
        ranges = tflite_statistics(change.model, self.batches, self.input_range).ranges(choice)
        return dataclasses.replace(change, ranges=ranges)

    def _corrected(self, tuning: Tuning, now: _State) -> _Change:
        """The same with corrected biases."""
        program = self._with_own_biases(now.model)
        precision, rewrites, _ = _KINDS[tuning]
        scheme = SCHEMES[f"tflite-{precision}"]
        ranges = now.ranges if scheme.calibrated else None
        file = with_scheme(now.model, scheme, ranges, rewrites, uint8=self.judge.uint8)
        changed = corrected_biases(program, file, self.items)
        what = f"the biases of {len(changed)} operations corrected"
        return _Change(program.with_constants(changed), now.ranges, now.measured, what)

    def _rounded(self, tuning: Tuning, now: _State) -> _Change | None:
        """The same with weights on grids of four bits, and biases corrected for it; None if no layer has any."""
        names = four_bit_names(now.model)
        if not names:
            return None
        found = rounded(with_own_biases(now.model), self.items, now.ranges, layers=names)
        what = f"the weights of {len(found.layers)} operations rounded by the answers to {found.items} items"
        return _Change(found.model, now.ranges, now.measured, what)
