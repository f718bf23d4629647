"""Score quantized files by their answers, to tell whether a change of a float TFLite graph makes them better.

The file is made by the recipe of its scheme and run by LiteRT as on a board, which is faster and truer than a
simulation. Its answers to validation items are compared with labels, or with those of the float graph.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt

from edgepress.converters.arrays import Array, Floats, each_input
from edgepress.converters.numeric.macs import TFLITE, Shape, count
from edgepress.converters.numeric.metrics import (
    EXACT_DB,
    constant_flags,
    decibels,
    decisions_of,
    why_collapsed,
    why_noise,
    without_mean,
)
from edgepress.converters.numeric.statistics import Ranges
from edgepress.converters.rewrites.table import Rewrite, rewritten_tflite
from edgepress.converters.schemes import SCHEMES
from edgepress.converters.to_tflite import passes
from edgepress.converters.to_tflite.convert import with_scheme
from edgepress.converters.to_tflite.graph import Graph
from edgepress.converters.to_tflite.interface import Uint8

MACS = 3e10
"""Multiply-accumulates that one score may take, about a second."""
SLOW_MACS = 1e9
"""The same with 16-bit activations, whose kernels are slow."""
CALL_MACS = 3e6
"""Multiply-accumulates that one call is worth."""
FEWEST_ITEMS = 32
"""Number of items that a score has in any case."""
MARGIN_DB = 0.5
"""Decibels by which the noise of answers must differ to decide: less comes from rounding elsewhere alone."""
HALVED_DB = 3.0
"""The same where items are lost, or where items are of few classes: then noise says little of the others."""
CHANCE = 2
"""Standard errors of a difference of items from which on it counts beside noise."""
CLEAR = 3
"""The same from which on it decides alone."""
SOUND_DB = 30.0
"""SNR of a file in which there is nothing to be repaired."""


@dataclass(frozen=True)
class Score:
    """How good the answers of a file are.

    Attributes:
        accuracy: Share of the items, 0-1, whose label is right; None without labels.
        agreement: Share of the items that get the float graph's label, 0-1; None if answers are not scores of labels.
        snr_db: Spread of the float graph's answers between items to the error of the file's, dB, before a final
            softmax or sigmoid; more is better.
        hits: What is counted, one reference value an item (and label, if an item may have several): the float graph's
            label and, if labels are known, a right one. Items that only the quantized file gets right are ignored.
        margin_db: Decibels by which noise must fall to decide where no items are lost.
    """

    accuracy: float | None
    agreement: float | None
    snr_db: float
    hits: npt.NDArray[np.bool_] = field(repr=False, compare=False)
    margin_db: float = MARGIN_DB

    def facts(self) -> dict[str, float | None]:
        """The figures for JSON, without those that can't be given."""
        figures = {"accuracy": self.accuracy, "agreement": self.agreement, "snr_db": round(self.snr_db, 2)}
        return {name: value for name, value in figures.items() if value is not None}

    @property
    def sound(self) -> bool:
        """Whether the file answers so much like the float graph that nothing is left to be gained."""
        return self.snr_db >= SOUND_DB and self.agreement in (1.0, None)

    def lost(self, before: Score) -> float:
        """Share of the items that are surely lost, 0-1: those wrong here and right there, less the reverse and chance.

        Chance is `CHANCE` standard errors of that difference; 0 if no more are lost.
        """
        won, lost = self._count_changes(before)
        return max(0.0, lost - won - CHANCE * math.sqrt(won + lost)) / max(1, len(self.hits))

    def gained(self, before: Score, errors: float = 1) -> int:
        """Items that are right here and wrong there, less the reverse; 0 if that is within chance.

        Chance is a number of standard `errors` of the difference of paired counts, each of which is the root of the
        number of items that changed (McNemar 1947, doi:10.1007/BF02295996): a single item proves nothing.
        """
        won, lost = self._count_changes(before)
        return won - lost if abs(won - lost) > errors * math.sqrt(won + lost) else 0

    def _count_changes(self, before: Score) -> tuple[int, int]:
        """Items that are right here and wrong there, and the reverse."""
        return int((self.hits & ~before.hits).sum()), int((before.hits & ~self.hits).sum())

    def better_than(self, before: Score) -> bool:
        """Whether clearly more items are right or, if that is undecided, items and noise speak for it, or one of them.

        Noise takes every answer into account, and so tells small differences that a few items can't. Where more items
        are lost than won, even if that may be chance, it must fall to half.
        """
        if clear := self.gained(before, CLEAR):
            return clear > 0
        items = self.gained(before, CHANCE)
        noise = self.snr_db - before.snr_db
        won, lost = self._count_changes(before)
        margin = self.margin_db if won >= lost else HALVED_DB
        return (noise >= margin and items >= 0) or (items > 0 and noise > -MARGIN_DB)

    def is_step_from(self, before: Score, gain_db: float) -> bool:
        """Whether it is a step towards a better score: as many items are right, and noise is lower by some decibels."""
        won, lost = self._count_changes(before)
        return won >= lost and self.snr_db >= before.snr_db + gain_db


class Scorer:
    """Scores files on the same validation items.

    Attributes:
        exclusive: Whether answers are scores of labels that exclude each other.

    Args:
        model: The float `.tflite` whose answers are the reference; batch 1.
        items: Validation items (n, *item shape), of which as many are used as `MACS` allow.
        labels: Right answers: labels (n,), or (n, outputs) of 0 and 1 where an item may have several; None if unknown.
        labelled: Whether answers are scores of labels; if not, only their noise counts.
        uint8: Whether the files take uint8, as those of images do, or the places of the inputs that do.
        before: Rewrites of float graphs that are made before files are, and that keep the names of tensors.
        recipe: Further rewrites that the recipes of files of integers make.
    """

    def __init__(
        self,
        model: bytes,
        items: Array,
        labels: Array | None = None,
        *,
        labelled: bool = True,
        uint8: Uint8 = False,
        before: tuple[Rewrite, ...] = (),
        recipe: tuple[Rewrite, ...] = (),
    ) -> None:
        self.items = items[: scoring_items(model)]
        self.labels = None if labels is None else np.asarray(labels)[: len(self.items)]
        self._labelled = labelled
        self.uint8 = uint8
        self._before = before
        self._recipe = recipe
        self._end = {"SOFTMAX": "softmax", "LOGISTIC": "sigmoid"}.get(passes.last_operation(model), "")
        self._reference = answers_before_end(model, self.items)
        self.exclusive = labelled and self._end != "sigmoid" and self._reference.shape[1] > 1
        self._decided = self._decide(self._reference)
        if self.labels is not None and self.labels.size != self._decided.size:
            self.labels = None  # one label an item, of a net whose labels do not exclude each other
        few = (
            self.labels is not None
            and self.labels.ndim == 1
            and _are_of_few_classes(self.labels, self._reference.shape[1])
        )
        self._margin_db = HALVED_DB if few else MARGIN_DB

    def score(
        self, model: bytes, ranges: Ranges | None, precision: str = "int8", rewrites: Collection[str] = ()
    ) -> Score:
        """Make a file and score it; the arguments are those of `make_file`.

        Raises:
            ConversionError: The quantizer refuses the model.
        """
        return self.score_file(self.make_file(model, ranges, precision, rewrites), self._count(model, precision))

    def make_file(
        self, model: bytes, ranges: Ranges | None, precision: str = "int8", rewrites: Collection[str] = ()
    ) -> bytes:
        """Make a file as a conversion does.

        Args:
            model: A float `.tflite` that takes the same items.
            ranges: Ranges of its tensors by name; None if the scheme needs none.
            precision: That of a TFLite scheme, such as "int8".
            rewrites: Names of the rewrites that its recipe makes.

        Raises:
            ConversionError: The quantizer refuses the model.
        """
        scheme = SCHEMES[f"tflite-{precision}"]
        rewritten, _ = rewritten_tflite(model, self._before)
        if not scheme.calibrated:
            return with_scheme(rewritten, scheme, None, rewrites, uint8=self.uint8)
        in_recipe = [*rewrites, *rewritten_tflite(rewritten, self._recipe)[1]]
        return with_scheme(rewritten, scheme, ranges, in_recipe, uint8=self.uint8)

    def worst_score(self, model: bytes, precision: str) -> Score:
        """The score of a file that can't be made: nothing is right.

        Args:
            model: A float `.tflite` that takes the same items.
            precision: That of a TFLite scheme.
        """
        items = self._count(model, precision)
        hits = np.zeros_like(self._decided[:items], bool) if self._labelled else np.zeros(0, bool)
        accuracy = 0.0 if self._labelled and self.labels is not None else None
        return Score(accuracy, 0.0 if self._labelled else None, -EXACT_DB, hits)

    def _count(self, model: bytes, precision: str) -> int:
        """Number of items on which files of a scheme are scored: 16-bit activations have slow kernels."""
        return len(self.items) if SCHEMES[f"tflite-{precision}"].arithmetic else scoring_items(model, SLOW_MACS)

    def score_file(self, file: bytes, items: int | None = None) -> Score:
        """Score a finished `.tflite` file of any scheme, on the first `items`, by default on all."""
        answers = answers_before_end(file, self.items[:items])
        decisions = self._decide(answers)
        agrees = decisions == self._decided[: len(answers)]
        right = decisions == self._truth[: len(answers)]
        hits = right if self.labels is None else right & agrees
        if not self._labelled:
            hits = np.zeros(0, bool)
        return Score(
            float(right.mean()) if self._labelled and self.labels is not None else None,
            float(agrees.mean()) if self._labelled else None,
            self._snr_db(answers),
            hits,
            self._margin_db,
        )

    def why_collapsed(self, file: bytes) -> str:
        """Why a `.tflite` file hardly answers better than a constant one, in words; "" if it does (`collapse`)."""
        answers = answers_before_end(file, self.items)
        if not self._labelled:
            return why_noise(self._snr_db(answers))
        before = self._decided == self._truth
        return why_collapsed(before, self._decide(answers) == self._truth, constant_flags(self._truth))

    @cached_property
    def _truth(self) -> Array:
        """The right decisions: labels or, without them, those of the float graph."""
        if self.labels is None:
            return self._decided
        return self.labels.reshape(self._decided.shape).astype(self._decided.dtype)

    def _decide(self, answers: Array) -> Array:
        """Labels chosen, (n,), or whether each is true, (n, outputs), if they do not exclude each other."""
        return decisions_of(answers, "each", threshold=0) if self._end == "sigmoid" else decisions_of(answers)

    def _snr_db(self, outputs: Array) -> float:
        true, other = (self._subtract_shared(answers) for answers in (self._reference[: len(outputs)], outputs))
        if not np.isfinite(other).all():
            return -EXACT_DB
        noise = float(((other - true) ** 2).sum())
        spread = float(((true - true.mean(axis=0)) ** 2).sum())
        if not noise:
            return EXACT_DB
        ratio = decibels(spread or float((true**2).sum()), noise)
        return -EXACT_DB if ratio is None else max(-EXACT_DB, min(EXACT_DB, ratio))

    def _subtract_shared(self, answers: Array) -> Array:
        """Softmax ignores what is added to all outputs."""
        return without_mean(answers) if self.exclusive else answers.astype(np.float64)


def _are_of_few_classes(labels: Array, classes: int) -> bool:
    """Whether labels (n,) are of at most half as many classes as n labels, drawn evenly, would be."""
    classes = max(classes, 2)  # one output has two
    expected = round(classes * (1 - (1 - 1 / classes) ** len(labels)))
    return len(np.unique(labels)) <= expected / 2


def scoring_items(model: bytes, limit: float = MACS) -> int:
    """Number of items on which a model's files are scored in as many multiply-accumulates."""
    return max(FEWEST_ITEMS, int(limit / (macs(model) + CALL_MACS)))


def macs(model: bytes) -> int:
    """Multiply-accumulates of one item, of the operations that can be counted."""
    graph = Graph(model)

    def shape(index: int) -> Shape:
        return graph.shape(index) if index >= 0 else None

    counts = (
        count(TFLITE, graph.kind(op), [shape(int(i)) for i in op.inputs], shape(int(op.outputs[0])))
        for op in graph.operators
    )
    return sum(filter(None, counts))


def answers_before_end(model: bytes, items: Array) -> Floats:
    """What a file of batch 1 computes before its final softmax or sigmoid, if it has one, shape (n, outputs)."""
    answer = runner(passes.before_end(model) or model)
    return np.stack([answer(*item) for item in zip(*each_input(items), strict=True)]).reshape(len(items), -1)


def runner(model: bytes) -> Callable[..., Floats]:
    """A function from an item, an array for each input, to a file's answer, as LiteRT computes it by default.

    Integers are (de)quantized.
    """
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=model, num_threads=os.cpu_count())
    interpreter.allocate_tensors()
    sources = interpreter.get_input_details()
    (sink,) = interpreter.get_output_details()

    def answer(*item: Array) -> Floats:
        interpreter.reset_all_variables()
        for source, values in zip(sources, item, strict=True):
            scale, zero = source["quantization"]
            if scale:
                limits = np.iinfo(source["dtype"])
                values = np.clip(np.rint(values / scale) + zero, limits.min, limits.max)
            interpreter.set_tensor(source["index"], values[np.newaxis].astype(source["dtype"]))
        interpreter.invoke()
        output = interpreter.get_tensor(sink["index"])
        scale, zero = sink["quantization"]
        return np.asarray((output.astype(np.float32) - zero) * scale if scale else output, np.float32)

    return answer
