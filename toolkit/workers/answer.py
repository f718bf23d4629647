"""Child process: answer items with the model that is open: a split in shards, one item with its time, or scores alone.

Items come in a file that is mapped, not read: several processes share one copy in the page cache.
"""

from __future__ import annotations

import time
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from edgepress.converters.process.worker import Emit
from edgepress.runtime import Contract
from edgepress.runtime.acceptance import AnswerLimits
from edgepress.runtime.decisions import decide
from edgepress.runtime.errors import InputError
from edgepress.toolkit.workers.opening import decides_each, engine_errors, open_model

CALL_BYTES = 1 << 20
"""Approximate size of the items in one call, which limits the engine's memory to that of a few large images."""

RANKED = 5
"""Number of best classes that are kept of each answer."""

NOT_JUDGED = -1
"""Stands for "accepted" of a file that does not say which answers are."""


class AnswerShard(NamedTuple):
    """Items to answer.

    Attributes:
        path: An `.npy` file of items.
        left_s: Seconds after which to stop, even if items are left.
    """

    path: str
    left_s: float


class Part(NamedTuple):
    """Answers to a shard, or to its beginning if time ran out.

    Attributes:
        columns: The answer to each item, int64, and its calibrated score, float32, both of shape (n,), or (n, labels)
            of multi-label answers (`runtime.decisions.decide`); whether it is accepted, int8 (`NOT_JUDGED` if the file
            does not say), and its certainty, float32 (`AnswerLimits.certainty`), of shape (n,); the `RANKED` best
            classes, int64, and their scores, float32, of shape (n, ranked), or all of multi-label answers. Of a model
            without labels its outputs alone, float32, shape (n, outputs).
        seconds: Time that the engine took.
    """

    columns: tuple[npt.NDArray[Any], ...]
    seconds: float

    @property
    def items(self) -> int:
        """Number of items that were answered."""
        return len(self.columns[0])


def answer_shard(shard: AnswerShard, emit: Emit) -> None:
    """Answer the items of a shard with the open model and emit a `Part`.

    Raises:
        InputError: An answer is NaN or infinite.
        EngineError: The engine raised an exception.
    """
    model = open_model()
    items = np.load(shard.path, mmap_mode="r")
    step = max(1, CALL_BYTES // items[0].nbytes)
    parts: list[tuple[npt.NDArray[Any], ...]] = []
    seconds = 0.0
    for start in range(0, len(items), step):
        began = time.perf_counter()
        with engine_errors(model.path):
            answers = model.answer(items[start : start + step])
        seconds += time.perf_counter() - began
        if not np.isfinite(answers).all():
            raise InputError(f"Its {'scores' if model.labels else 'outputs'} contain NaN or infinity.")
        parts.append(
            judge(answers, model.contract, multilabel=decides_each())
            if model.labels
            else (answers.reshape(len(answers), -1),)
        )
        if seconds > shard.left_s:
            break
    emit(Part(tuple(np.concatenate(column) for column in zip(*parts, strict=True)), seconds))


def judge(
    scores: npt.NDArray[np.float32], contract: Contract | None, *, multilabel: bool = False
) -> tuple[npt.NDArray[Any], ...]:
    """The columns of `Part` for scores of items, float32, shape (n, labels)."""
    predicted, confidence = decide(scores, contract, multilabel=multilabel)
    limits = contract.limits if contract is not None else AnswerLimits()
    if limits.probability is not None:
        probabilities = limits.probabilities(scores)
        confidence = np.take_along_axis(probabilities, predicted[:, np.newaxis], axis=1)[:, 0]
    accepted = limits.accepted(scores)
    kept = np.full(len(scores), NOT_JUDGED, np.int8) if accepted is None else accepted.astype(np.int8)
    ranked = scores.shape[1] if multilabel else RANKED
    classes = np.argsort(-scores, axis=1, kind="stable")[:, :ranked].astype(np.int64)
    return predicted, confidence, kept, limits.certainty(scores), classes, np.take_along_axis(scores, classes, axis=1)


MIN_CALLS = 2
"""Least number of calls that are timed."""


class Look(NamedTuple):
    """An item, and for how long to time calls.

    Attributes:
        item: As `Model.classify` takes it: an array, or the bytes of an `.npy` or a WAV file.
        budget_ns: Time after which no more calls are timed, nanoseconds; `MIN_CALLS` are in any case.
        calls: Largest number of timed calls.
    """

    item: npt.NDArray[Any] | bytes
    budget_ns: int
    calls: int


class Seen(NamedTuple):
    """An answer.

    Attributes:
        item: The item as the model took it, shape `Model.shape`; of a recording one of its windows.
        scores: As `Model.scores` returns them, float32, shape (labels,).
        times: Time of each call after the one that gave the scores, nanoseconds.
    """

    item: npt.NDArray[Any]
    scores: npt.NDArray[np.float32]
    times: tuple[int, ...]


def look(job: Look, emit: Emit) -> None:
    """Answer an item and emit `Seen`.

    Raises:
        InputError: The item does not fit the model, or a score is NaN or infinite.
        EngineError: The engine raised an exception.
    """
    model = open_model()
    clock = time.perf_counter_ns
    times: list[int] = []
    with engine_errors(model.path):
        item, scores = model.item_and_scores(job.item)
        batch = np.ascontiguousarray(item[np.newaxis])
        while len(times) < MIN_CALLS or (len(times) < job.calls and sum(times) < job.budget_ns):
            began = clock()
            model.scores(batch)
            times.append(clock() - began)
    if not np.isfinite(scores).all():
        raise InputError("Its scores contain NaN or infinity.")
    emit(Seen(np.asarray(item), scores[0], tuple(times)))


def score_items(items: npt.NDArray[Any], emit: Emit) -> None:
    """Emit the probabilities of items, float32, shape (N, labels), in the order of the file's labels.

    Raises:
        InputError: One is NaN or infinite.
        EngineError: The engine raised an exception.
    """
    model = open_model()
    with engine_errors(model.path):
        scores = model.scores(items)
    if not np.isfinite(scores).all():
        raise InputError(f"{model.path} answers with NaN or infinity.", "Give another file.")
    emit(scores)
