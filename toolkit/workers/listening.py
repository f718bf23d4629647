"""Child process: a model of sound listens to a recording, as a whole or part by part."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from edgepress.converters.process.worker import Emit
from edgepress.runtime.sound.listen import Listener
from edgepress.runtime.sound.listen_options import ListenOptions
from edgepress.toolkit.workers.opening import Candidate, engine_errors, open_model


class Listening(NamedTuple):
    """A model that is to listen.

    Attributes:
        candidate: The file on an engine.
        step: Frames from one answer to the next; None is a quarter of a window.
    """

    candidate: Candidate
    step: int | None


class _State:
    candidate: Candidate | None = None
    listener: Listener | None = None


def hear_recording(samples: npt.NDArray[np.int16], emit: Emit) -> None:
    """Emit the events, as `listen` returns them, that the open model hears in a recording, int16, shape (n,)."""
    model = open_model()
    with engine_errors(model.path):
        emit(Listener(model).push(samples))


def open_listener(listening: Listening, emit: Emit) -> None:
    """Open the file, and forget all sound so far; emit the engine's name."""
    with engine_errors(listening.candidate.file):
        model = listening.candidate.load()
    _State.candidate = listening.candidate
    _State.listener = Listener(model, ListenOptions(step=listening.step))
    emit(model.engine)


def listen_on(samples: npt.NDArray[np.int16], emit: Emit) -> None:
    """Take samples; emit samples up to the end of each window, int64 (n,), and probabilities, float32 (n, labels).

    Those of an answer that is not accepted are 0.
    """
    listener = _State.listener
    candidate = _State.candidate
    assert listener is not None and candidate is not None, "open_listener comes first"  # noqa: PT018
    with engine_errors(candidate.file):
        answers = list(listener.answers(samples))
    ends = np.array([end for end, _ in answers], np.int64)
    shape = (len(answers), len(listener.labels))
    emit((ends, np.array([row[0] for _, row in answers], np.float32).reshape(shape)))
