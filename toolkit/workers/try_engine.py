"""Child process: try an engine in a new environment. Needs NumPy and the runtime only."""

from __future__ import annotations

import tempfile

from edgepress.converters.process.worker import Emit
from edgepress.runtime.board import trial_error


def try_engine(engine: str, emit: Emit) -> None:
    """Emit why an engine does not answer the trial model as it should, "" if it does."""
    with tempfile.TemporaryDirectory() as folder:
        emit(trial_error(engine, folder))
