"""Child process: answer one item with the model that is open, and time a few calls of it."""

from __future__ import annotations

import time
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from edgepress.converters.worker import Emit
from edgepress.runtime.errors import InputError
from edgepress.toolkit.workers.opening import engine_errors, open_model

MIN_CALLS = 2
"""Least number of calls that are timed."""


class Look(NamedTuple):
    """An item, and for how long to time calls.

    Attributes:
        item: As `Model.prepare` takes it: an array, or the bytes of an `.npy` file.
        budget_ns: Time after which no more calls are timed, nanoseconds; `MIN_CALLS` are in any case.
        calls: Largest number of timed calls.
    """

    item: npt.NDArray[Any] | bytes
    budget_ns: int
    calls: int


class Seen(NamedTuple):
    """An answer.

    Attributes:
        item: The item as the model took it, shape `Model.shape`.
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
        item = model.prepare(job.item)
        batch = np.ascontiguousarray(item[np.newaxis])
        scores = model.scores(batch)[0]
        while len(times) < MIN_CALLS or (len(times) < job.calls and sum(times) < job.budget_ns):
            began = clock()
            model.scores(batch)
            times.append(clock() - began)
    if not np.isfinite(scores).all():
        raise InputError("Its scores contain NaN or infinity.")
    emit(Seen(np.asarray(item), scores, tuple(times)))
