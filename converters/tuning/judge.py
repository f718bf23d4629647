"""Whether a change of a float TFLite graph makes the file that is quantized from it better: by that file's answers.

The file is made by the recipe of its scheme and run by LiteRT as on a board, which is faster and truer than a
simulation. Its answers to validation items are compared with labels, or with those of the float graph.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from edgepress.converters.inspection.graph import Value
from edgepress.converters.inspection.macs import TFLITE, count
from edgepress.converters.schemes import SCHEMES
from edgepress.converters.statistics import Ranges
from edgepress.converters.to_tflite import passes
from edgepress.converters.to_tflite.convert import with_scheme
from edgepress.converters.to_tflite.graph import Graph

Array = npt.NDArray[Any]
MACS, SLOW_MACS, CALL_MACS, LEAST = 3e10, 1e9, 3e6, 32
"""Multiply-accumulates that one score may take, about a second; the same with 16-bit activations, whose kernels are
slow; those that one call is worth; and the number of items that a score has in any case."""
MARGIN_DB = 0.5
"""Decibels by which the noise of answers must differ to decide: less comes from rounding elsewhere alone."""
HALVED_DB = 3.0
"""The same where items are lost."""
CHANCE, CLEAR = 2, 3
"""Standard errors of a difference of items from which on it counts beside noise, and from which on it decides alone."""
SOUND_DB, NOISELESS_DB = 30.0, 200.0
"""Noise of a file in which there is nothing to be repaired, and noise where there is none."""


@dataclass(frozen=True)
class Score:
    """How good the answers of a file are.

    Attributes:
        accuracy: Share of the items, 0-1, whose label is right; None without labels.
        agreement: Share of the items that get the float graph's label, 0-1; None if answers are not scores of labels.
        noise_db: Spread of the float graph's answers between items to the error of the file's, dB, before a final
            softmax or sigmoid; more is better.
        hits: What is counted, one truth value an item (and label, if an item may have several): the float graph's
            label and, if labels are known, a right one. That an item is right which the float graph gets wrong is luck.
    """

    accuracy: float | None
    agreement: float | None
    noise_db: float
    hits: npt.NDArray[np.bool_] = field(repr=False, compare=False)

    def facts(self) -> dict[str, float | None]:
        """The figures for JSON, without those that can't be given."""
        found = {"accuracy": self.accuracy, "agreement": self.agreement, "noise_db": round(self.noise_db, 2)}
        return {name: value for name, value in found.items() if value is not None}

    @property
    def sound(self) -> bool:
        """Whether the file answers so much like the float graph that nothing is left to be gained."""
        return self.noise_db >= SOUND_DB and self.agreement in (1.0, None)

    def gained(self, before: Score, errors: float = 1) -> int:
        """Items that are right here and wrong there, less the reverse; 0 if that is within chance.

        Chance is a number of standard `errors` of the difference of paired counts, each of which is the root of the
        number of items that changed (McNemar 1947, doi:10.1007/BF02295996): a single item proves nothing.
        """
        won, lost = self._changed(before)
        return won - lost if abs(won - lost) > errors * math.sqrt(won + lost) else 0

    def _changed(self, before: Score) -> tuple[int, int]:
        """Items that are right here and wrong there, and the reverse."""
        return int((self.hits & ~before.hits).sum()), int((before.hits & ~self.hits).sum())

    def better_than(self, before: Score) -> bool:
        """Whether clearly more items are right or, if that is undecided, items and noise speak for it, or one of them.

        Noise takes every answer into account, and so tells small differences that a few items can't. Where more items
        are lost than won, even if that may be chance, it must fall to half.
        """
        if clear := self.gained(before, CLEAR):
            return clear > 0
        items, noise = self.gained(before, CHANCE), self.noise_db - before.noise_db
        won, lost = self._changed(before)
        margin = MARGIN_DB if won >= lost else HALVED_DB
        return (noise >= margin and items >= 0) or (items > 0 and noise > -MARGIN_DB)


class Judge:
    """Scores files on the same validation items.

    Args:
        model: The float `.tflite` whose answers are the truth; batch 1.
        items: Validation items (n, *item shape), of which as many are used as `MACS` allow.
        labels: Right answers: labels (n,), or (n, outputs) of 0 and 1 where an item may have several; None if unknown.
        labelled: Whether answers are scores of labels; if not, only their noise counts.
        uint8: Whether the files take uint8, as those of images do.
    """

    def __init__(
        self, model: bytes, items: Array, labels: Array | None = None, *, labelled: bool = True, uint8: bool = False
    ) -> None:
        self.items = items[: enough(model)]
        self.labels = None if labels is None else np.asarray(labels)[: len(self.items)]
        self._labelled, self.uint8 = labelled, uint8
        self._end = {"SOFTMAX": "softmax", "LOGISTIC": "sigmoid"}.get(passes.last_operation(model), "")
        self._truth = answers_before_end(model, self.items)
        self._decided = self._decisions(self._truth)
        if self.labels is not None and self.labels.size != self._decided.size:
            self.labels = None  # one label an item, of a net whose labels do not exclude each other

    def score(
        self, model: bytes, ranges: Ranges | None, precision: str = "int8", rewrites: Collection[str] = ()
    ) -> Score:
        """Make a file and score it.

        Args:
            model: A float `.tflite` that takes the same items.
            ranges: Ranges of its tensors by name; None if the scheme needs none.
            precision: That of a TFLite scheme, such as "int8".
            rewrites: Names of the rewrites that its recipe makes.

        Raises:
            ConversionError: The quantizer refuses the model.
        """
        scheme = SCHEMES[f"tflite-{precision}"]
        file = with_scheme(model, scheme, ranges, rewrites, uint8=self.uint8)
        return self.score_file(file, None if scheme.arithmetic else enough(model, SLOW_MACS))

    def score_file(self, file: bytes, items: int | None = None) -> Score:
        """Score a finished `.tflite` file of any scheme, on the first `items`, by default on all."""
        found = answers_before_end(file, self.items[:items])
        count = len(found)
        decisions = self._decisions(found)
        agrees = decisions == self._decided[:count]
        right = agrees if self.labels is None else decisions == self._given()[:count]
        hits = right if self.labels is None else right & agrees
        if not self._labelled:
            hits = np.zeros(0, bool)
        return Score(
            float(right.mean()) if self._labelled and self.labels is not None else None,
            float(agrees.mean()) if self._labelled else None,
            self._noise(found),
            hits,
        )

    def _given(self) -> Array:
        assert self.labels is not None
        return self.labels.reshape(self._decided.shape).astype(self._decided.dtype)

    def _decisions(self, answers: Array) -> Array:
        """Labels chosen, (n,), or whether each is true, (n, outputs), if they do not exclude each other."""
        if self._end == "sigmoid":
            return np.asarray(answers > 0)
        return answers.argmax(axis=1) if answers.shape[1] > 1 else np.asarray(answers > 0.5)

    def _noise(self, found: Array) -> float:
        true, other = (self._compared(answers) for answers in (self._truth[: len(found)], found))
        if not np.isfinite(other).all():
            return -NOISELESS_DB
        noise, spread = float(((other - true) ** 2).sum()), float(((true - true.mean(axis=0)) ** 2).sum())
        if not spread:
            spread = float((true**2).sum())
        if not noise or not spread:
            return NOISELESS_DB if not noise else -NOISELESS_DB
        return max(-NOISELESS_DB, min(NOISELESS_DB, 10 * math.log10(spread / noise)))

    def _compared(self, answers: Array) -> Array:
        """Softmax ignores what is added to all outputs."""
        exclusive = self._labelled and self._end != "sigmoid" and answers.shape[1] > 1
        centred = answers.astype(np.float64)
        return centred - centred.mean(axis=1, keepdims=True) if exclusive else centred


def enough(model: bytes, limit: float = MACS) -> int:
    """Number of items on which a model's files are scored in as many multiply-accumulates."""
    return max(LEAST, int(limit / (macs(model) + CALL_MACS)))


def macs(model: bytes) -> int:
    """Multiply-accumulates of one item, of the operations that can be counted."""
    graph = Graph(model)

    def value(index: int) -> Value | None:
        return Value(graph.shape(index), "") if index >= 0 else None

    found = (
        count(TFLITE, graph.kind(op), [value(int(i)) for i in op.inputs], value(int(op.outputs[0])))
        for op in graph.operators
    )
    return sum(filter(None, found))


def answers_before_end(model: bytes, items: Array) -> npt.NDArray[np.float32]:
    """What a file of batch 1 computes before its final softmax or sigmoid, if it has one, shape (n, outputs)."""
    answer = runner(passes.before_end(model) or model)
    return np.stack([answer(item) for item in items]).reshape(len(items), -1)


def runner(model: bytes) -> Callable[[Array], npt.NDArray[np.float32]]:
    """A function from an item to a file's answer, as LiteRT computes it by default; integers are (de)quantized."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=model, num_threads=os.cpu_count())
    interpreter.allocate_tensors()
    (source,), (sink,) = interpreter.get_input_details(), interpreter.get_output_details()

    def answer(item: Array) -> npt.NDArray[np.float32]:
        scale, zero = source["quantization"]
        if scale:
            limits = np.iinfo(source["dtype"])
            item = np.clip(np.rint(item / scale) + zero, limits.min, limits.max)
        interpreter.reset_all_variables()
        interpreter.set_tensor(source["index"], item[np.newaxis].astype(source["dtype"]))
        interpreter.invoke()
        found = interpreter.get_tensor(sink["index"])
        scale, zero = sink["quantization"]
        return np.asarray((found.astype(np.float32) - zero) * scale if scale else found, np.float32)

    return answer
