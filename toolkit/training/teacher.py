"""Distillation: a student learns from a teacher's answers as well as from the labels.

The method is that of Hinton et al. 2015 (arXiv:1503.02531). The teacher is any classifier that edgepress opens. It
answers the very items that the student is trained on, with the same rotation, shift and light, but in the size and
colour that it takes itself, read from the original and not from the student's smaller image: consistent views are what
makes distillation work (Beyer et al. 2022, arXiv:2106.05237). It runs in a child process on one thread, so that its
answers do not depend on how busy the machine is.
"""

from __future__ import annotations

import contextlib
import dataclasses
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from edgepress.converters.adapter import InputAdapter
from edgepress.converters.contract.guess import guess_contract
from edgepress.converters.contract.hints import Hints
from edgepress.converters.conversion.conversion import Conversion
from edgepress.converters.files import sha256_of
from edgepress.converters.options.conversion import MINMAX
from edgepress.converters.process.scratch import ScratchFolder
from edgepress.converters.process.worker import ChildDied, Worker
from edgepress.runtime.contract import Contract
from edgepress.runtime.filetypes import format_of
from edgepress.toolkit.data import open_data
from edgepress.toolkit.data.for_model import describe, with_labels_of
from edgepress.toolkit.data.groups import NONE
from edgepress.toolkit.data.types import DataSet
from edgepress.toolkit.errors import InputError, ModelFileError
from edgepress.toolkit.training import batches
from edgepress.toolkit.workers.answer import score_items
from edgepress.toolkit.workers.opening import Candidate, Opening, open_candidate

TEMPERATURE = 1.0
"""Temperature at which answers are compared."""
SHARE = 0.5
"""Share of the teacher's answers in the loss; the rest is that of the labels. `benchmarks/compression/teacher.py`
compares both."""
TINY = 1e-7
"""Least probability; smaller ones are raised to it, as in Keras' cross-entropy."""
SILENCE_S = 600.0
"""Time limit for an answer to one batch, seconds."""
FORMATS = ("keras", "h5", "saved_model", "tflite", "onnx")
VALIDATION_BATCH = 256
"""Items of one call on the validation split."""

Scores = npt.NDArray[np.float32]


class Teacher:
    """A classifier that answers a data set's items; a context manager, because a child process works for it.

    Args:
        path: A `.keras`, `.h5`, `.hdf5`, `.tflite` or `.onnx` file, or a SavedModel folder.
        data: The student's data.
        on_note: Called with each value that was guessed of a file that edgepress did not make.
        trust: Whether code inside the file may run; see `Hints`.

    Attributes:
        sha256: That of the file, or of the folder's files.

    Raises:
        EdgepressError: It can't be opened, has other labels than the data, or takes other items.
    """

    def __init__(self, path: Path, data: DataSet, on_note: Callable[[str], None], *, trust: bool = False) -> None:
        self.path = path
        self._student = data.input
        format = format_of(path, FORMATS, ".keras, .h5, .hdf5, .tflite, .onnx and SavedModel folders")
        self._one_call = threading.Lock()
        with contextlib.ExitStack() as stack:
            if format in ("tflite", "onnx"):
                about = describe(path).labelled(data)
                contract = about.contract
                candidate = Candidate(path, None, contract=about.contract_json)
                notes = about.notes
            else:
                folder = Path(stack.enter_context(ScratchFolder("teacher-")))
                contract, notes, candidate = _convert_teacher(path, data, folder, trust)
            self._columns = _columns(path, contract, data)
            self._data = data if contract.input == data.input else _open_items(path, contract, data)
            for note in notes:
                on_note(note)
            self._worker = stack.enter_context(Worker(silence_s=SILENCE_S))
            self._call(open_candidate, Opening(candidate, contract.labels, contract.input))
            self.sha256 = sha256_of(path)
            self._stack = stack.pop_all()

    def __enter__(self) -> Teacher:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._stack.close()

    def scores(
        self, x: npt.NDArray[Any], rows: npt.NDArray[np.int64], draws: npt.NDArray[np.float32], augmentation: str
    ) -> Scores:
        """Its probabilities for training items: float32, shape (n, classes), in the order of the data's labels.

        Args:
            x: The augmented items as the student takes them.
            rows: Their rows in the training split.
            draws: Their random numbers (`augment.draw`).
            augmentation: The result of `augment.resolve`.
        """
        if self._data.input != self._student:
            x = batches.read_augmented(self._data.train, rows, draws, name=augmentation)
        return self._answer(x)

    def facts(self) -> dict[str, Any]:
        """What a run records: file, SHA-256, the loss, and the teacher's accuracy on the validation split, 0-1."""
        val = self._data.val
        right = sum(int((self._answer(x).argmax(axis=1) == y).sum()) for x, y in val.batches(VALIDATION_BATCH))
        figures = {"temperature": TEMPERATURE, "share": SHARE, "val_accuracy": right / len(val)}
        return {"file": self.path.name, "sha256": self.sha256, **figures}

    def _answer(self, x: npt.NDArray[Any]) -> Scores:
        scores: Scores = self._call(score_items, x)
        return scores[:, self._columns]

    def _call(self, function: Callable[..., None], argument: Any) -> Any:
        try:
            with self._one_call:  # several threads read batches, but one process answers
                (report,) = self._worker.call(function, argument)
        except ChildDied as e:
            raise ModelFileError(f"The process that ran the teacher {self.path} died: {e}.") from e
        return report


@dataclasses.dataclass(frozen=True)
class StudentTargets:
    """What a student is to answer, by row of the training split: its label, and the teacher's probabilities.

    Attributes:
        teacher: Answers the items.
        y: Labels of the training split, int64, shape (N,).
        augmentation: The result of `augment.resolve`.
    """

    teacher: Teacher
    y: npt.NDArray[np.int64]
    augmentation: str

    def __call__(self, x: npt.NDArray[Any], rows: npt.NDArray[np.int64], draws: npt.NDArray[np.float32]) -> Scores:
        """The targets of a batch: float32, shape (n, 1 + classes), the label first."""
        scores = self.teacher.scores(x, rows, draws, self.augmentation)
        return np.concatenate([self.y[rows, np.newaxis].astype(np.float32), scores], axis=1)


def distillation_loss(targets: Any, answers: Any) -> Any:
    """The loss of each item, shape (n,): cross-entropy with the label, and the divergence from the teacher.

    The Kullback-Leibler divergence is that of answers at `TEMPERATURE`, times its square, so that its gradients are as
    large as those of the labels whatever the temperature (Hinton et al. 2015, section 2).

    Args:
        targets: See `StudentTargets`.
        answers: The student's probabilities, shape (n, classes).
    """
    from keras import ops

    known, student = (ops.log(ops.clip(p, TINY, 1.0)) for p in (targets[:, 1:], answers))
    label = ops.one_hot(ops.cast(targets[:, 0], "int32"), answers.shape[-1])
    teacher, soft = (ops.log_softmax(logits / TEMPERATURE) for logits in (known, student))
    divergence = ops.sum(ops.exp(teacher) * (teacher - soft), axis=-1)
    return SHARE * TEMPERATURE**2 * divergence - (1 - SHARE) * ops.sum(label * student, axis=-1)


def label_accuracy(targets: Any, answers: Any) -> Any:
    """Whether the student's answer is the label, 0 or 1, shape (n,)."""
    from keras import ops

    return ops.cast(ops.cast(ops.argmax(answers, axis=-1), "float32") == targets[:, 0], "float32")


def _convert_teacher(
    path: Path, data: DataSet, folder: Path, trust: bool
) -> tuple[Contract, tuple[str, ...], Candidate]:
    """A float `.tflite` of a Keras model or SavedModel, which answers as it does, on one engine for all teachers."""
    with Conversion(path, hints=Hints(trust=trust)) as conversion:
        facts = conversion.facts
        if facts.contract is not None:
            contract = facts.contract.replace(adapter=None)
            adapter = InputAdapter.of(facts.contract)
            notes = facts.notes
        else:
            try:
                guess = guess_contract(facts)
            except InputError as e:
                hint = "Convert it to tflite-float32 with the options that describe it, and give that file as teacher."
                raise InputError(f"The teacher {path}: {e.message}", hint) from e
            contract = guess.contract
            adapter = guess.adapter
            notes = (*facts.notes, *guess.notes)
            if (labelled := with_labels_of(data, contract, notes)) is not None:
                contract, notes = labelled
        _columns(path, contract, data)  # an error here comes before the conversion
        plain = dataclasses.replace(MINMAX, repairs=False, rewrites=False, verify=False)
        (variant,) = conversion.run(
            ["tflite-float32"], contract, adapter=adapter, calibration=tuple, out=folder, how=plain
        )
    if variant.path is None:
        raise ModelFileError(f"The teacher {path} can't be run: {variant.error}", variant.hint)
    return contract, tuple(f"{path.name}: {note}" for note in notes), Candidate(variant.path, None)


def _columns(path: Path, contract: Contract, data: DataSet) -> list[int]:
    """The columns of the teacher's answers, in the order of the data's labels.

    Raises:
        InputError: They are not probabilities of exactly these labels.
    """
    if contract.task not in ("softmax", "logits", "sigmoid"):
        raise InputError(
            f"The teacher {path} has the task {contract.task}; a teacher must choose one of the labels.",
            "Accepted tasks: softmax, logits, sigmoid.",
        )
    if {*contract.labels} != {*data.labels}:
        raise InputError(
            f"The teacher {path} has other labels than {data.source}: {_show_labels(contract.labels)}; the data have "
            f"{_show_labels(data.labels)}.",
            "Give a teacher of these classes; if its outputs are these, name them: edgepress annotate --labels.",
        )
    return [contract.labels.index(label) for label in data.labels]


def _open_items(path: Path, contract: Contract, data: DataSet) -> DataSet:
    """The student's data with items as the teacher takes them, in the same order.

    Raises:
        InputError: The items can't be made so.
    """
    takes = f"The teacher {path} takes items of shape {_size(contract.input.shape)}"
    if not (contract.input.is_image and data.input.is_image):
        raise InputError(
            f"{takes} ({contract.input.dtype}); the data have {_size(data.input.shape)} ({data.input.dtype}).",
            "Only images are resized for a teacher; give one that takes the same items with --teacher.",
        )
    options: dict[str, Any] = {"input": contract.input, "labels": data.labels, "purpose": "evaluation"}
    options["group"] = data.group or NONE
    opened = open_data(data.source, skip_unreadable=bool(data.skipped), **options)
    if opened.sha256 != data.sha256:
        raise InputError(
            f"{takes}, and {data.source} has other items now than when the student's were read.",
            "Give the data by their name or path, and leave them unchanged meanwhile.",
        )
    return opened


def _size(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))


def _show_labels(labels: tuple[str, ...]) -> str:
    return f"{', '.join(labels[:8])}{f', ... ({len(labels)})' if len(labels) > 8 else ''}"
