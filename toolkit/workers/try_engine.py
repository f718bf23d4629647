"""What a new engine environment is asked: to answer a toy model. Needs NumPy and the runtime only."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np

from edgepress.converters.worker import Emit
from edgepress.runtime import load


class Toy(NamedTuple):
    """A model small enough to travel as an argument: its engine, format and bytes."""

    engine: str
    format: str
    model: bytes


def answer(toy: Toy, emit: Emit) -> None:
    """A child's job: open the toy in its engine and emit the answer to an item of ones, float32, shape (1, classes)."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"toy.{toy.format}")
        path.write_bytes(toy.model)
        model = load(path, toy.engine)
        emit(model.scores(np.ones((1, *model.shape), np.float32)))
