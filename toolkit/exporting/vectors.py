"""Items of the self-test, as the file stores them, with the answers that the C must give."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgepress.converters.to_c.lowering import Program
from edgepress.runtime import Contract, Model
from edgepress.runtime.sessions import Session, dequantization_table
from edgepress.toolkit.data.types import DataSet

SEED = 0


class ProgramSession(Session):
    """A program, run in NumPy as if an engine had opened its file.

    Attributes:
        stored: The items that it was run on, as the file stores them.
        answers: Its outputs for them, as the file stores them.
    """

    def __init__(self, path: Path, program: Program, contract: Contract | None) -> None:
        self._program, self.contract = program, contract
        self._describe(path, [list(program.input.shape)], [list(program.output.shape)])
        self.dtype = np.dtype(program.input.dtype)
        self.scale = _quantization(program.input)
        output = {"dtype": np.dtype(program.output.dtype), "quantization": _quantization(program.output)}
        self._table = dequantization_table(output)
        self.stored: list[npt.NDArray[Any]] = []
        self.answers: list[npt.NDArray[Any]] = []

    def run(self, batch: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        """The outputs for a batch."""
        self.stored += list(batch)
        answers = self._program.answers(batch)
        self.answers += list(answers)
        assert self._table is not None
        return self._table[answers]


def _quantization(tensor: Any) -> tuple[float, int]:
    return (tensor.scale, tensor.zero_point) if len(tensor.scales) else (0.0, 0)


@dataclass(frozen=True)
class Vectors:
    """What a self-test holds.

    Attributes:
        source: Where the items are from: a data set, or "random".
        inputs: Shape (N, bytes), as stored.
        outputs: Shape (N, outputs), as stored.
        right: Number of items that get their label; None if that is not known.
    """

    source: str
    inputs: npt.NDArray[Any]
    outputs: npt.NDArray[Any]
    right: int | None


def random_vectors(program: Program, count: int) -> Vectors:
    """Items of random numbers, which are the same each time."""
    numbers = np.random.default_rng(SEED).integers(0, 256, (count, program.input.size)).astype(np.uint8)
    inputs = numbers.view(program.input.dtype)
    return Vectors("random", inputs, program.answers(inputs), None)


def data_vectors(path: Path, program: Program, contract: Contract, data: DataSet, count: int) -> Vectors:
    """Test items of a data set, spread evenly over it."""
    rows = np.unique(np.linspace(0, len(data.test) - 1, min(count, len(data.test))).round().astype(int))
    session = ProgramSession(path, program, contract)
    model = Model(path, "c99", 1, session)
    scores = model.answer(data.test.read(rows))
    right = (
        int((scores.argmax(axis=1) == data.test.y[rows]).sum())
        if model.labels and contract.task != "multilabel"
        else None
    )
    flat = [np.stack(part).reshape(len(rows), -1) for part in (session.stored, session.answers)]
    return Vectors(data.source, flat[0], flat[1], right)
