"""Child process: the scores of items by the model that is open, for a teacher."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from edgepress.converters.worker import Emit
from edgepress.runtime.errors import InputError
from edgepress.toolkit.workers.opening import engine_errors, open_model


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
