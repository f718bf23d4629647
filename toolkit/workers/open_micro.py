"""Child process: open a file in TensorFlow Lite for Microcontrollers, and tell its arena."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from edgepress.converters.worker import Emit
from edgepress.runtime.engines import open_session
from edgepress.runtime.errors import EdgepressError
from edgepress.runtime.micro_session import MicroSession


class MicroOpening(NamedTuple):
    """The result of opening a file.

    Attributes:
        arena_bytes: Bytes of the arena; None if the package does not say, or the file does not run.
        error: Why it does not run, "" if it does.
    """

    arena_bytes: int | None
    error: str = ""


def open_micro(path: str, emit: Emit) -> None:
    """Emit a `MicroOpening`."""
    try:
        _, session = open_session(Path(path), "tflite-micro", 1)
    except EdgepressError as e:
        emit(MicroOpening(None, e.message))
        return
    assert isinstance(session, MicroSession)
    emit(MicroOpening(session.arena_bytes))
