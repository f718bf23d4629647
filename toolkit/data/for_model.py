"""A model file's contract, and the data set opened the way that the contract describes.

Training writes into the contract which data a model was trained on and how an item is prepared. Every command that
measures a file (`evaluate`, `benchmark`, `convert`, `bundle`, `board`) reads it back here, so that all of them test a
file on the same items. For a `.tflite` or `.onnx` file that others made, `describe` makes the contract from its own
metadata and from what the user says.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edgepress.converters import annotation
from edgepress.converters.annotation import Description
from edgepress.converters.contract.hints import Hints
from edgepress.converters.contract.metadata import onnx_props
from edgepress.converters.worker import ChildDied, run_in_child
from edgepress.runtime import Contract, read_contract
from edgepress.runtime.contract import MEMBER
from edgepress.runtime.filetypes import format_of
from edgepress.runtime.flatbuffer import lacking
from edgepress.toolkit.data import open_data
from edgepress.toolkit.data.types import DataSet
from edgepress.toolkit.errors import DataError, InputError, ModelFileError

SILENCE_S = 120.0
"""Time limit for opening a file that others made, seconds."""


@dataclass(frozen=True)
class Described:
    """A file's contract.

    Attributes:
        contract: The contract.
        published: Whether others made the file, so that it has no contract itself and must be opened with this one.
        notes: One line on each value of it that was found or guessed.
    """

    contract: Contract
    published: bool = False
    notes: tuple[str, ...] = ()

    @property
    def given(self) -> str:
        """The contract to open the file with, as JSON; empty if the file has it."""
        return self.contract.to_json() if self.published else ""

    def labelled(self, data: DataSet) -> Described:
        """The same with the labels of its data, in their order, which `data_for` has compared; see there."""
        if not self.published or self.contract.labels == data.labels:
            return self
        note = f"labels: {len(data.labels)} from {data.source}, in its order; change them with --labels"
        notes = (*(n for n in self.notes if not n.startswith("labels:")), note)
        return replace(self, contract=self.contract.replace(labels=data.labels), notes=notes)


def describe(path: Path, hints: Hints | None = None, *, alone: bool = True) -> Described:
    """The contract of a model file: its own, or for a file that others made, what its metadata and `hints` say.

    Args:
        path: The file.
        hints: What the user knows of a file that has no contract.
        alone: Whether it is the only file that the hints can be about.

    Raises:
        ModelFileError: The file can't be read or has another format; or it has no contract, and too little is known.
        InputError: The file has a contract, which `hints` would contradict, or a hint does not fit it.
    """
    hints = hints or Hints()
    contract = _own_contract(path)
    if contract is None and path.suffix in (".tflite", ".onnx"):
        found = describe_published(path, hints)
        return Described(found.contract, True, tuple(f"{path.name}: {note}" for note in found.notes))
    if contract is None:
        raise _without(path)
    if alone and (hints.about_contract or hints.softmax):
        raise InputError(
            f"{path} has a contract, so options that describe a model made elsewhere do not apply to it.",
            "Leave them out, or change the contract: edgepress annotate.",
        )
    return Described(contract)


def describe_published(path: Path, hints: Hints) -> Description:
    """Describe a `.tflite` or `.onnx` file, whoever made it, in a child process.

    Raises:
        EdgepressError: As `edgepress.converters.annotation.describe`.
    """
    try:
        (found,) = run_in_child(annotation.describe, annotation.DescribeJob(path, hints), silence_s=SILENCE_S)
    except ChildDied as e:
        raise ModelFileError(
            f"{path} crashed the process that opened it ({e}).", "It is damaged: copy it again."
        ) from e
    assert isinstance(found, Description)
    return found


def contract_of(path: Path) -> Contract:
    """The contract inside a `.keras`, `.tflite` or `.onnx` file; neither an engine nor Keras is loaded.

    Raises:
        ModelFileError: The file cannot be read, has another format, or has no contract.
    """
    contract = _own_contract(path)
    if contract is None:
        raise _without(path)
    return contract


def _own_contract(path: Path) -> Contract | None:
    found = format_of(path, ("tflite", "onnx", "keras"), ".tflite, .onnx and .keras files")
    if path.suffix != f".{found}":
        raise ModelFileError(f"{path} is a .{found} file under another name.", f"Rename it to {path.stem}.{found}.")
    contract = _onnx_contract(path) if found == "onnx" else read_contract(path)
    if contract is None and found == "tflite" and (error := lacking(path, path.read_bytes())):
        raise error
    return contract


def _without(path: Path) -> ModelFileError:
    return ModelFileError(
        f"{path} carries no contract: it is damaged or cut off, or was not made by edgepress.",
        "Accepted: files of edgepress train (.keras), and of convert and annotate (.tflite, .onnx).",
    )


def data_for(
    contract: Contract, data: str | None, *, where: Path, skip_unreadable: bool = False, published: bool = False
) -> tuple[DataSet, list[str]]:
    """The data set, opened as a model takes it, with notes if the model was trained on another one.

    Args:
        contract: The model's.
        data: The data set to open; None opens the one that the contract names.
        where: The model file, for messages.
        skip_unreadable: Skip images that cannot be read.
        published: Whether others made the file: if its labels are mere numbers, as many labels of the data do, too.

    Raises:
        EdgepressError: No data set is named, or it cannot be opened or does not match the model, or the model has no
            labels.
    """
    if contract.task == "none":
        raise InputError(
            f"{where} has no labels (its task is none), so there is no accuracy to measure.",
            "edgepress inspect shows its error against the source model; python -m edgepress.runtime bench times it.",
        )
    source = data if data is not None else contract.data.source if contract.data else None
    if source is None:
        raise InputError(f"{where} does not say what data it was trained on.", "Name it with --data.")
    options: dict[str, Any] = {"input": contract.input, "skip_unreadable": skip_unreadable}
    numbered = published and contract.labels == tuple(map(str, range(len(contract.labels))))
    opened = open_data(source, labels=None if numbered else contract.labels, **options)
    if numbered and len(opened.labels) != len(contract.labels):
        raise DataError(
            f"{where} has {len(contract.labels)} labels; {source} has {len(opened.labels)}.",
            "Give data with the model's classes.",
        )
    if not len(opened.test):
        raise DataError(f"{source} has no test items.", "Give data with a test split.")
    notes = [f"Skipped as unreadable: {name} ({reason})" for name, reason in opened.skipped]
    if contract.data is not None and contract.data.sha256 != opened.sha256:
        notes.append(
            f"{where.name} was trained on another version of {contract.data.source}, or on other data, than {source}: "
            f"some test items may have been used in training."
        )
    return opened, notes


def data_record(data: DataSet) -> dict[str, Any]:
    """The record of a data set in a result."""
    return {"source": data.source, "sha256": data.sha256, "split": "test", "count": len(data.test)}


def _onnx_contract(path: Path) -> Contract | None:
    text = onnx_props(path).get(MEMBER)
    return Contract.from_json(text, where=str(path)) if text is not None else None
