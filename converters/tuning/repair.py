"""Repairs: changes of a float graph's constants, each kept only if the file that is quantized from it gets better.

They need no labels and no training. `repair` tries them in order and returns the tuned graphs by kind of tuning:

* "exact": equalized, with the same float answers; for schemes that quantize weights;
* "int8": equalized where that helps int8, and with corrected biases; for schemes of 8-bit activations.

A graph with an operation that programs do not know stays as it is, and a note says so.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from edgepress.converters.calibration import Ranges
from edgepress.converters.errors import ConversionError
from edgepress.converters.graph.program import Program, UnknownOperationError
from edgepress.converters.graph.step import WEIGHTED
from edgepress.converters.schemes import SCHEMES, Tuning
from edgepress.converters.to_tflite.convert import with_scheme
from edgepress.converters.to_tflite.graph import Graph
from edgepress.converters.tuning.bias import corrected_biases
from edgepress.converters.tuning.channel_ranges import channel_ranges, tensor_ranges
from edgepress.converters.tuning.equalize import equalizing_factors
from edgepress.converters.tuning.groups import Factors, scale_groups
from edgepress.converters.tuning.judge import Judge, Score, enough
from edgepress.runtime.errors import first_line

Array = npt.NDArray[Any]
MACS = 2e10
"""Multiply-accumulates that one pass over calibration items may take, about a second."""
_PROXY: dict[Tuning, tuple[str, tuple[str, ...]]] = {
    "int8": ("int8", ()),
    "exact": ("dynamic", ("depthwise-weights",)),
}
"""The precision, and rewrites of its recipe, of the file by which each kind of tuning is judged."""


@dataclass(frozen=True)
class Stage:
    """One repair that was tried.

    Attributes:
        name: "equalization", "bias-correction" and so on.
        tuning: The kind of tuning that it was tried for.
        kept: Whether it was kept.
        before: The score without it.
        after: The score with it.
        seconds: What it took.
        what: What it did, in words.
    """

    name: str
    tuning: Tuning
    kept: bool
    before: Score
    after: Score
    seconds: float
    what: str

    def facts(self) -> dict[str, Any]:
        """The stage for JSON and contracts."""
        scores = {"before": self.before.facts(), "after": self.after.facts()}
        rest = {"kept": self.kept, **scores, "seconds": round(self.seconds, 2), "what": self.what}
        return {"name": self.name, "tuning": self.tuning, **rest}


@dataclass(frozen=True)
class Repaired:
    """What repairs made of a graph.

    Attributes:
        models: The tuned graphs by kind of tuning; none for a kind that changed nothing.
        stages: The repairs that were tried, in order.
        notes: Remarks for the user.
    """

    models: Mapping[Tuning, bytes] = field(default_factory=dict)
    stages: tuple[Stage, ...] = ()
    notes: tuple[str, ...] = ()


def repair(model: bytes, items: Array, judge: Judge, *, input_range: tuple[float, float] | None = None) -> Repaired:
    """Try all repairs of a float graph.

    Args:
        model: The float `.tflite`, batch 1.
        items: Calibration items (n, *item shape); large nets use the first of them.
        judge: Scores files on items that are not among these, where there are others.
        input_range: Range of the input, if it is known beforehand.
    """
    try:
        return _Repairs(model, items[: enough(model, MACS)], judge, input_range).run()
    except UnknownOperationError as e:
        return Repaired(notes=(f"No repairs were tried: the graph has an operation that they do not know ({e}).",))
    except ConversionError as e:
        return Repaired(notes=(f"No repairs were tried: {e.message}",))
    except Exception as e:  # a bug of ours or of a library must not cost a conversion that works without repairs
        traceback.print_exc()
        return Repaired(notes=(f"Repairs failed unexpectedly: {type(e).__name__}: {first_line(e)}.",))


@dataclass(frozen=True)
class _State:
    """A graph, the ranges of its tensors, and its score."""

    model: bytes
    ranges: Ranges
    score: Score


class _Repairs:
    def __init__(self, model: bytes, items: Array, judge: Judge, input_range: tuple[float, float] | None) -> None:
        self.model, self.items, self.judge, self.input_range = model, items, judge, input_range
        self.program = Program(model)
        self.measured = channel_ranges(self.program, items)
        self.stages: list[Stage] = []
        if not all(np.isfinite(side).all() for pair in self.measured.values() for side in pair):
            raise ConversionError("A tensor is NaN or infinite on calibration data.")

    def run(self) -> Repaired:
        models: dict[Tuning, bytes] = {}
        equalized = self._equalized()
        for tuning in _PROXY:
            ranges = self._ranges({})
            now = _State(self.model, ranges, self._score(tuning, self.model, ranges))
            if now.score.sound:
                continue
            if equalized is not None:
                now = self._try("equalization", tuning, now, *equalized)
            if tuning == "int8" and not now.score.sound:
                now = self._try("bias-correction", tuning, now, *self._corrected(now))
            if now.model is not self.model:
                models[tuning] = now.model
        return Repaired(models, tuple(self.stages))

    def _try(
        self, name: str, tuning: Tuning, now: _State, model: bytes, ranges: Ranges, what: str, seconds: float
    ) -> _State:
        """The state after a stage that made a graph in some seconds, or before it if it does not help."""
        start = time.perf_counter()
        score = self._score(tuning, model, ranges)
        kept = score.better_than(now.score)
        seconds += time.perf_counter() - start
        self.stages.append(Stage(name, tuning, kept, now.score, score, seconds, what))
        return _State(model, ranges, score) if kept else now

    def _score(self, tuning: Tuning, model: bytes, ranges: Ranges) -> Score:
        precision, rewrites = _PROXY[tuning]
        calibrated = SCHEMES[f"tflite-{precision}"].calibrated
        return self.judge.score(model, ranges if calibrated else None, precision, rewrites)

    def _ranges(self, factors: Mapping[str, Factors]) -> Ranges:
        return tensor_ranges(self.measured, factors, self.program.source, self.input_range)

    def _equalized(self) -> tuple[bytes, Ranges, str, float] | None:
        """The equalized graph, its ranges, what was done, and the seconds; None if no channel can be scaled."""
        start = time.perf_counter()
        groups = scale_groups(self.program)
        if groups.count < 2:
            return None
        factors = equalizing_factors(groups, self.measured)
        model = self.program.with_constants(groups.scaled(factors))
        ranges = self._ranges({name: factors[ids] for name, ids in groups.of.items()})
        return model, ranges, f"{groups.count - 1} groups of channels scaled", time.perf_counter() - start

    def _corrected(self, now: _State) -> tuple[bytes, Ranges, str, float]:
        """The same with corrected biases. The ranges stay: the quantized graph keeps to those of its float parent."""
        start = time.perf_counter()
        program = Program(with_own_biases(now.model))
        file = with_scheme(now.model, SCHEMES["tflite-int8"], now.ranges, uint8=self.judge.uint8)
        changed = corrected_biases(program, file, self.items)
        model = program.with_constants(changed)
        what = f"the biases of {len(changed)} operations corrected"
        return model, now.ranges, what, time.perf_counter() - start


def with_own_biases(model: bytes) -> bytes:
    """A float graph in which every convolution and dense layer with constant weights has a bias that no other reads."""
    graph = Graph(model)
    taken: set[int] = set()
    changed = False
    for op in graph.operators:
        weights = graph.constant(int(op.inputs[1])) if graph.kind(op) in WEIGHTED else None
        if weights is None:
            continue
        bias = int(op.inputs[2]) if len(op.inputs) > 2 else -1
        if bias in taken or bias < 0:
            size = weights.shape[WEIGHTED[graph.kind(op)]]
            values = np.zeros(size, np.float32) if bias < 0 else graph.constant(bias)
            if values is not None:
                op.inputs = [*(int(i) for i in op.inputs[:2]), graph.add_constant(np.array(values))]
                changed = True
        taken.add(bias)
    return graph.to_bytes() if changed else model
