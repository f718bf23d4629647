"""The answers of a file on an engine to the test items, and the processes that give them.

A file that is much slower than the others can stop after some shards, because each is an even sample of the split: its
accuracy is then an estimate from the items that it answered (`Answers.rows`).
"""

from __future__ import annotations

import math
import threading
from dataclasses import KW_ONLY, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgepress.converters.process.worker import ChildDied, Worker
from edgepress.runtime import ENGINES
from edgepress.toolkit.data.types import DataSet
from edgepress.toolkit.errors import EdgepressError, InputError, ModelFileError
from edgepress.toolkit.machine.environments import python_for
from edgepress.toolkit.measurement.benchmarking.cache import Shelf
from edgepress.toolkit.workers.answer import AnswerShard, Part, answer_shard
from edgepress.toolkit.workers.opening import Candidate, Opening, open_candidate

ENOUGH_ITEMS = 500
"""Least number of items that an estimated accuracy comes from."""
SLOW_RATIO = 5.0
"""A file is slow if it takes this many times the seconds of the fastest one for an item."""
LONG_S = 20.0
"""A slow file stops if the rest of the items would take it more than this many seconds."""


@dataclass(frozen=True)
class Answers:
    """The answers of a candidate to the test split, in its order.

    Attributes:
        engine: Engine that ran the file.
        predicted: The class of each item, int64, shape (N,), or of multi-label data 0 and 1 for each of its labels,
            shape (N, labels); empty for a model without labels.
        confidence: The score of that class, or of each label's presence or absence, float32, of the same shape, 0-1;
            empty for a model without labels.
        accepted: Whether the answer is accepted, int8, shape (N,); `NOT_JUDGED` if the file does not say. None for a
            model without labels.
        certainty: How certain the answer is, float32, shape (N,) (`AnswerLimits.certainty`); None likewise.
        classes: The best classes, the best first, int64, shape (N, ranked), all of multi-label data; None likewise.
        scores: Their scores, float32, of the same shape; None likewise.
        outputs: What a model without labels returned for each item, float32, shape (N, outputs); None for a classifier.
        rows: The rows of the test split that were answered, int64, shape (N,), ascending; None: all of them.
        seconds: How long the engine took for them in all, one process after another.
    """

    engine: str
    predicted: npt.NDArray[np.int64]
    confidence: npt.NDArray[np.float32]
    accepted: npt.NDArray[np.int8] | None = None
    certainty: npt.NDArray[np.float32] | None = None
    classes: npt.NDArray[np.int64] | None = None
    scores: npt.NDArray[np.float32] | None = None
    outputs: npt.NDArray[np.float32] | None = None
    _: KW_ONLY
    rows: npt.NDArray[np.int64] | None = None
    seconds: float = 0.0

    def at(self, rows: npt.NDArray[np.int64] | None) -> Answers:
        """The answers to these rows of the split, of a file that answered all; the same for None."""
        if rows is None:
            return self
        assert self.rows is None
        columns: dict[str, Any] = {
            name: value[rows] for name, value in vars(self).items() if isinstance(value, np.ndarray)
        }
        return replace(self, **columns, rows=rows)

    @property
    def scores_by_label(self) -> npt.NDArray[np.float32] | None:
        """The scores of all labels in their order, float32, shape (N, labels), of multi-label data; None of others."""
        if self.predicted.ndim == 1 or self.classes is None or self.scores is None:
            return None
        by_label = np.empty_like(self.scores)
        np.put_along_axis(by_label, self.classes, self.scores, axis=1)
        return by_label


def crash_error(candidate: Candidate, error: ChildDied) -> ModelFileError:
    """The error for a candidate whose process died."""
    where = f"{candidate.file} on {candidate.engine}"
    return ModelFileError(f"{where} crashed the process that ran it ({error}).", "Convert it again.")


class Answerer:
    """One candidate: its processes, its answers so far, and its error if it failed."""

    def __init__(self, candidate: Candidate, data: DataSet, cap_s: float, shelf: Shelf, *, may_stop: bool) -> None:
        self._candidate = candidate
        self._cap_s = cap_s
        self._shelf = shelf
        self._opening = Opening(candidate, data.labels, data.input, multilabel=data.multilabel)
        self._count = len(data.test)
        self._classifies = bool(data.labels)
        self._columns: tuple[npt.NDArray[Any], ...] = ()
        self._workers: list[Worker] = []
        self._idle: list[Worker] = []
        self._lock = threading.Lock()
        self._may_stop = may_stop
        self._rows: list[npt.NDArray[np.int64]] = []
        self.spent_s = 0.0
        self.stopped = False
        self.done = 0
        self.error: EdgepressError | None = None

    @property
    def outcome(self) -> Answers | EdgepressError:
        """Its answers, or why there are none; for when it has ended."""
        if self.error is not None:
            return self.error
        assert self.stopped or self.done == self._count
        engine = self._candidate.engine or ""
        if self.done < self._count:
            rows = np.sort(np.concatenate(self._rows))
            return Answers(engine, *(c[rows] for c in self._columns), rows=rows, seconds=self.spent_s)
        if self._classifies:
            return Answers(engine, *self._columns, seconds=self.spent_s)
        return Answers(engine, np.empty(0, np.int64), np.empty(0, np.float32), outputs=next(iter(self._columns), None))

    @property
    def ended(self) -> bool:
        """Whether it failed, or answered as many items as it is to."""
        return self.error is not None or self.stopped

    @property
    def seconds_an_item(self) -> float:
        """The time of an item so far; infinite before the first one."""
        return self.spent_s / self.done if self.done else math.inf

    def remember(self, rows: slice) -> bool:
        """Take the answers to these items from the cache, if it holds them."""
        if part := self._shelf.get(rows):
            self._take(rows, part)
        return part is not None

    def answer(self, rows: slice, path: Path) -> None:
        """Let a process answer these items, stored in `path`."""
        if self.ended:
            return
        try:
            part = self._ask(path)
            if part.items == len(range(*rows.indices(self._count))):
                self._shelf.put(rows, part)
            self._take(rows, part)
        except ChildDied as e:
            self.fail(crash_error(self._candidate, e))
        except EdgepressError as e:
            self.fail(e)

    def close_idle(self) -> None:
        """Terminate the processes that wait, if nothing is left to answer."""
        if self.ended or self.done == self._count:
            with self._lock:
                idle = self._idle
                self._idle = []
            for worker in idle:
                worker.close()

    def fail(self, error: EdgepressError) -> None:
        """Stop answering; the first error is reported."""
        with self._lock:
            self.error = self.error or error

    def close(self) -> None:
        """Terminate all processes."""
        with self._lock:
            workers = self._workers
        for worker in workers:
            worker.close()

    def _take(self, rows: slice, part: Part) -> None:
        with self._lock:
            answered = np.arange(*rows.indices(self._count))[: part.items]
            self.done += part.items
            self.spent_s += part.seconds
            self._rows.append(answered)
            self._columns = self._columns or tuple(np.empty((self._count, *c.shape[1:]), c.dtype) for c in part.columns)
            for column, values in zip(self._columns, part.columns, strict=True):
                column[answered] = values
            too_long = self.spent_s > self._cap_s
            if too_long and self._may_stop and self.done >= ENOUGH_ITEMS:
                self.stopped = True
        if too_long and not self.stopped:
            took = f"{self.done} of {self._count} images took {self.spent_s:.2g} s"
            self.fail(InputError(f"{took}; the cap is {self._cap_s:g} s.", "Raise it with --time-cap."))

    def stop_if_slow(self, fastest_s: float) -> None:
        """Stop after enough items, if this file is slow.

        Args:
            fastest_s: Seconds that the fastest file takes for an item.
        """
        with self._lock:
            if not self._may_stop or self.done < ENOUGH_ITEMS:
                return
            item_s = self.seconds_an_item
            rest_s = item_s * (self._count - self.done)
            self.stopped = self.stopped or (item_s > SLOW_RATIO * fastest_s and rest_s > LONG_S)

    def _ask(self, path: Path) -> Part:
        with self._lock:
            if self.error is not None:
                raise self.error
            worker = self._idle.pop() if self._idle else None
            if new := worker is None:
                python = python_for(self._candidate.engine) if self._candidate.engine in ENGINES else None
                worker = Worker(silence_s=self._cap_s + 60, python=python)
                self._workers.append(worker)
        try:
            if new:
                list(worker.call(open_candidate, self._opening))
            (part,) = worker.call(answer_shard, AnswerShard(str(path), self._cap_s - self.spent_s))
        except BaseException:  # this candidate has failed
            worker.close()
            raise
        with self._lock:
            self._idle.append(worker)
        assert isinstance(part, Part)
        return part
