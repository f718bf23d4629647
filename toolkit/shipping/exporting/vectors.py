"""Items of the self-test, as the file stores them, with the answers that the sources must give."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgepress.converters.to_c.lowering import Program
from edgepress.runtime import Contract, Model
from edgepress.runtime.acceptance import AnswerLimits
from edgepress.runtime.micro_session import MicroSession
from edgepress.runtime.sessions import Session, dequantization_table
from edgepress.toolkit.data.for_model import Described, data_for
from edgepress.toolkit.data.reading import STRICT, Reading

SEED = 0
"""Of random items, which are the same each time."""


@dataclass(frozen=True)
class Vectors:
    """What a self-test holds.

    Attributes:
        source: Where the items are from: a data set, or "random".
        inputs: Shape (N, numbers), as stored.
        outputs: Shape (N, outputs), as stored.
        right: Number of items that get their label; None if that is not known.
    """

    source: str
    inputs: npt.NDArray[Any]
    outputs: npt.NDArray[Any]
    right: int | None


class ProgramSession(Session):
    """A program, run in NumPy as if an engine had opened its file.

    Attributes:
        items: The items that it was run on, as the file stores them.
        answers: Its outputs for them, as the file stores them.
    """

    def __init__(self, path: Path, program: Program, contract: Contract | None) -> None:
        self._program = program
        self.contract = contract
        self._describe(path, [list(program.input.shape)], [list(program.output.shape)])
        self.dtype = np.dtype(program.input.dtype)
        self.scale = quantization_of(program.input)
        output = {"dtype": np.dtype(program.output.dtype), "quantization": quantization_of(program.output)}
        self._table = dequantization_table(output)
        self.items: list[npt.NDArray[Any]] = []
        self.answers: list[npt.NDArray[Any]] = []
        self._kept: dict[int, npt.NDArray[Any]] = {}

    def run(self, batch: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        """The outputs for a batch."""
        assert self._table is not None
        real: npt.NDArray[np.float32] = self._table[self.stored_answers(batch)]
        return real

    def stored_answers(self, batch: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """The outputs as the file stores them."""
        rows = []
        for item in batch:
            if not self._program.is_stream:
                self._kept.clear()
            rows.append(self._program.answers(item[np.newaxis], self._kept))
        answers = np.concatenate(rows)
        self.items += list(batch)
        self.answers += list(answers)
        return answers


class TflmSession(MicroSession):
    """A file in TFLM, with the attributes `items` and `answers` of `ProgramSession`."""

    def __init__(self, path: Path, module: Any, threads: int, *, arena_bytes: int = 0) -> None:
        super().__init__(path, module, threads, arena_bytes=arena_bytes)
        self.items: list[npt.NDArray[Any]] = []
        self.answers: list[npt.NDArray[Any]] = []

    def stored_answers(self, batch: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """The outputs as the file stores them, for a batch of one item."""
        answers = super().stored_answers(batch)
        self.items += list(batch)
        self.answers.append(answers)
        return answers


def quantization_of(tensor: Any) -> tuple[float, int]:
    """Scale and zero point of a program's tensor; (0, 0) if it has none."""
    return (tensor.scale, tensor.zero_point) if len(tensor.scales) else (0.0, 0)


def make_vectors(
    session: ProgramSession | TflmSession,
    about: Described | None,
    *,
    data: str | None,
    samples: int,
    reading: Reading = STRICT,
) -> tuple[Vectors, list[str]]:
    """Items of data, or random ones, with the answers of a session, and notes on the file and the data.

    Args:
        session: Answers items; it has answered none yet.
        about: The file with its contract; None only without data.
        data: Data whose test items are taken, spread evenly over it; None: items are random.
        samples: Number of items.
        reading: How the data are read.

    Raises:
        DataError: The data can't be used.
    """
    notes = [*about.notes] if about else []
    if data is None or about is None:
        source = "random"
        right = None
        for item in _random_items(session, samples):
            session.stored_answers(item[np.newaxis])
    else:
        opened, more = data_for(about.contract, data, where=about.file, reading=reading, numbered=about.numbered)
        notes += more
        rows = np.unique(np.linspace(0, len(opened.test) - 1, min(samples, len(opened.test))).round().astype(int))
        model = Model(about.file, "export", 1, session)
        tops = model.answer(opened.test.read(rows)).argmax(axis=1)
        knows = bool(model.labels) and about.contract.task != "multilabel"
        source = opened.source
        right = int((tops == opened.test.y[rows]).sum()) if knows else None
    flat = [np.stack(part).reshape(len(session.items), -1) for part in (session.items, session.answers)]
    return Vectors(source, flat[0], flat[1], right), notes


def _random_items(session: Session, count: int) -> npt.NDArray[Any]:
    """Integers over their whole range, or real numbers of 0 to 1, shape (count, *item shape)."""
    chance = np.random.default_rng(SEED)
    shape = (count, *session.shape)
    if session.dtype.kind == "f":
        return chance.random(shape).astype(session.dtype)
    stored = chance.integers(0, 256, (*shape, session.dtype.itemsize)).astype(np.uint8)
    return stored.view(session.dtype)[..., 0]


def calibration_notes(path: Path, contract: Contract | None) -> list[str]:
    """What a microcontroller leaves out of a calibrated file."""
    if contract is None or contract.limits == AnswerLimits():
        return []
    return [f"{path.name} is calibrated; the sources have its scores alone, and accept every answer."]
