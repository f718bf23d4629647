"""A model file's contract, and the data set opened the way that the contract describes.

Training writes into the contract which data a model was trained on and how an item is prepared. Every command that
measures a file (`evaluate`, `benchmark`, `convert`, `bundle`, `board`) reads it back here, so that all of them test a
file on the same items. For a `.tflite` or `.onnx` file that others made, `describe` makes the contract from its own
metadata and from what the user says.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from edgepress.converters import annotation
from edgepress.converters.annotation import FileDescription
from edgepress.converters.contract.hints import Hints
from edgepress.converters.contract.metadata import onnx_props
from edgepress.converters.process.worker import ChildDied, run_in_child
from edgepress.runtime import Contract, read_contract
from edgepress.runtime.contract import MEMBER
from edgepress.runtime.data_record import DataRecord
from edgepress.runtime.filetypes import format_of
from edgepress.runtime.input_record import inputs_of
from edgepress.toolkit.data import how_all_test
from edgepress.toolkit.data.reading import STRICT, Reading
from edgepress.toolkit.data.remembered import find_remembered, open_in_groups
from edgepress.toolkit.data.types import DataSet, Purpose, Split, notes_of_skipped
from edgepress.toolkit.errors import DataError, InputError, ModelFileError
from edgepress.toolkit.escaping import shell_line
from edgepress.toolkit.truth import label_counts

IMAGENET = (1000, 1001)
"""Numbers of outputs of models of ImageNet's classes, without and with one for the background."""
SAMPLE = 8
"""Number of images whose size is looked at."""

SILENCE_S = 120.0
"""Time limit for opening a file that others made, seconds."""


@dataclass(frozen=True)
class Described:
    """A file's contract.

    Attributes:
        file: The file.
        contract: The contract.
        published: Whether others made the file, so that it has no contract itself and must be opened with this one.
        found: One line on each value of it that was found or guessed.
        renamed: Whether its labels are those of the data, and not the file's.
    """

    file: Path
    contract: Contract
    published: bool = False
    found: tuple[str, ...] = ()
    renamed: bool = False

    @property
    def notes(self) -> tuple[str, ...]:
        """What was found or guessed, with the name of the file."""
        return tuple(f"{self.file.name}: {text}" for text in self.found)

    @property
    def contract_json(self) -> str:
        """The contract to open the file with, as JSON; empty if the file has it."""
        return self.contract.to_json() if self.published or self.renamed else ""

    @property
    def numbered(self) -> bool:
        """Whether its labels are not known, and are numbers instead."""
        return self.contract.data is None and bool(self.contract.labels) and _numbers(self.contract.labels)

    def labelled(self, data: DataSet) -> Described:
        """The same with the labels of its data in their order, if its own are only numbers and there are as many."""
        relabelled = with_labels_of(data, self.contract, self.found) if self.numbered else None
        return self if relabelled is None else replace(self, contract=relabelled[0], found=relabelled[1], renamed=True)


def with_labels_of(
    data: DataSet, contract: Contract, notes: tuple[str, ...]
) -> tuple[Contract, tuple[str, ...]] | None:
    """A contract whose labels are only numbers with as many labels of the data, in their order; None for another.

    Its notes say so instead of saying that no labels were found.
    """
    labels = contract.labels
    if not _numbers(labels) or len(labels) != len(data.labels) or {*labels} == {*data.labels}:
        return None
    note = f"labels: {len(labels)} from {data.source}, in its order; change them with --labels"
    return contract.replace(labels=data.labels), (*(text for text in notes if not text.startswith("labels:")), note)


def _numbers(labels: tuple[str, ...]) -> bool:
    """Whether labels are only the numbers of the outputs."""
    return labels == tuple(map(str, range(len(labels))))


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
    contract = _own_contract(path, hints)
    if contract is None and path.suffix in (".tflite", ".onnx"):
        description = describe_published(path, hints)
        return Described(path, description.contract, True, description.notes)
    if contract is None:
        raise _without(path, hints)
    if alone and hints.describes:
        raise InputError(
            f"{path} has a contract, so options that describe a model made elsewhere do not apply to it.",
            "Leave them out, or change the contract: edgepress annotate.",
        )
    return Described(path, contract)


def require_one_input(contract: Contract, where: Path, command: str) -> None:
    """Refuse a model of several inputs, which a command can't show or change.

    Raises:
        InputError: It has several.
    """
    if inputs := inputs_of(contract.input):
        names = ", ".join(each.name for each in inputs)
        hint = "convert, evaluate, benchmark, compare, calibrate, predict, bundle and the runtime take such models."
        raise InputError(f"{where} has the inputs {names}; edgepress {command} takes models of one input.", hint)


def describe_published(path: Path, hints: Hints) -> FileDescription:
    """Describe a `.tflite` or `.onnx` file, whoever made it, in a child process.

    Raises:
        EdgepressError: As `edgepress.converters.annotation.describe`.
    """
    try:
        (description,) = run_in_child(annotation.describe, annotation.DescribeJob(path, hints), silence_s=SILENCE_S)
    except ChildDied as e:
        raise ModelFileError(
            f"{path} crashed the process that opened it ({e}).", "It is damaged: copy it again."
        ) from e
    assert isinstance(description, FileDescription)
    return description


def contract_of(path: Path) -> Contract:
    """The contract inside a `.keras`, `.tflite` or `.onnx` file; neither an engine nor Keras is loaded.

    Raises:
        ModelFileError: The file cannot be read, has another format, or has no contract.
    """
    contract = _own_contract(path)
    if contract is None:
        raise _without(path)
    return contract


def _own_contract(path: Path, hints: Hints | None = None) -> Contract | None:
    options = shlex.join((hints or Hints()).words)
    format = format_of(path, ("tflite", "onnx", "keras"), ".tflite, .onnx and .keras files", options=options)
    if path.suffix != f".{format}":
        raise ModelFileError(f"{path} is a .{format} file under another name.", f"Rename it to {path.stem}.{format}.")
    return _onnx_contract(path) if format == "onnx" else read_contract(path)


def _without(path: Path, hints: Hints | None = None) -> ModelFileError:
    if path.suffix == ".keras":
        convert = shell_line("edgepress", "convert", path, "--to", "tflite-float32", *(hints or Hints()).words)
        return ModelFileError(
            f"{path} carries no contract, which says how images become its input: edgepress did not train it.",
            f"Convert it, and take the file: {convert}",
        )
    return ModelFileError(
        f"{path} carries no contract: it is damaged or cut off, or was not made by edgepress.",
        "Accepted: files of edgepress train (.keras), and of convert and annotate (.tflite, .onnx).",
    )


def data_for(
    contract: Contract,
    data: str | DataSet | None,
    *,
    where: Path,
    reading: Reading = STRICT,
    numbered: bool = False,
    purpose: Purpose = "evaluation",
) -> tuple[DataSet, list[str]]:
    """The data set, opened as a model takes it, with notes on what a user should know of it.

    Args:
        contract: The model's.
        data: The data set to open, or an opened one of the model's labels and input; None opens the one that the
            contract names (`remembered`), which it was trained on or else made with.
        where: The model file.
        reading: How they are read.
        numbered: Whether the labels are not known, and only numbers: then as many other labels of the data fit, too.
        purpose: "evaluation", or "calibration", for which the data need no labels and may have other classes.

    Raises:
        EdgepressError: No data set is named, or it cannot be opened or does not match the model, or the model has no
            labels to be evaluated with.
    """
    if contract.task == "none" and purpose == "evaluation":
        raise InputError(
            f"{where} has no labels (its task is none), so there is no accuracy to measure.",
            "edgepress benchmark measures its error against a float file; inspect shows that against its source model.",
        )
    if isinstance(data, DataSet):
        require_each_decided(contract, data, where)
        return data, []
    known = contract.known_data
    if data is None and known is None:
        raise InputError(f"{where} does not say what data it was trained on.", "Name it with --data.")
    source = data if data is not None else find_remembered(known.source, where)  # type: ignore[union-attr]
    options: dict[str, Any] = {"input": contract.input, "purpose": purpose, **reading.arguments}
    labels = None if numbered or purpose == "calibration" else contract.labels
    multilabel = contract.task == "multilabel"
    opened, notes = open_in_groups(
        source, contract.data, labels=labels, multilabel=multilabel, sound=contract.sound, **options
    )
    require_each_decided(contract, opened, where)
    if (
        numbered and not opened.multilabel and {*opened.labels} <= {*contract.labels}
    ):  # the numbers of the model's classes, or of some of them
        opened = opened.relabelled(contract.labels)
    if numbered and len(opened.labels) != len(contract.labels):
        raise DataError(
            f"{where} has {len(contract.labels)} labels; {source} has {len(opened.labels)}.",
            "Give data with the model's classes with --data.",
        )
    notes += notes_of_skipped(opened.skipped)
    if data is None and contract.made_with is not None:
        _require_same(contract.made_with, opened, where)
    if contract.data is not None and contract.data.sha256 != opened.sha256:
        doubt = (
            "some test items may have been used in training"
            if purpose == "evaluation"
            else "its files are calibrated on these"
        )
        notes.append(
            f"{where.name} was trained on another version of {contract.data.source}, or on other data, than {source}: "
            f"{doubt}.{_ask_to_skip(contract.data, opened, reading)}"
        )
    if purpose == "evaluation":
        notes += _notes_on_test_items(contract, opened)
    return opened, [*notes, *resize_note(contract, opened)]


def require_each_decided(contract: Contract, data: DataSet, where: Path) -> None:
    """Refuse a model that gives one label an item for data whose items have any number of them.

    Raises:
        DataError: It does.
    """
    if data.multilabel and contract.task not in ("multilabel", "none"):
        raise DataError(
            f"Items of {data.source} have any number of labels (rows of 0 and 1), and {where} gives one label an item: "
            f"its task is {contract.task}.",
            "Give data with one label an item; or, if each output is of one label by itself, give --task multilabel, "
            "and --softmax if it is a logit.",
        )


def _require_same(made_with: DataRecord, opened: DataSet, where: Path) -> None:
    """Refuse remembered data of another content, unless only a part of them was read when the file was made."""
    if made_with.sha256 not in ("", opened.sha256):
        raise DataError(
            f"{made_with.source} has changed since {where} was made with it.", "Name the data to use with --data."
        )


def _ask_to_skip(trained_on: DataRecord, opened: DataSet, reading: Reading) -> str:
    """A sentence if the training may have left out unreadable files that are among these items."""
    count = sum(len(part) for part in (opened.train, opened.val, opened.test))
    if reading.skip_unreadable or trained_on.source != opened.source or count <= sum(trained_on.counts.values()):
        return ""
    return " If it was trained with --skip-unreadable, give that here, too."


def without_labels(data: DataSet, count: int) -> DataSet:
    """The same without labels, with up to `count` of all its items as test items, those of its test split first."""
    parts = (data.test, data.val, data.train)
    indices = np.concatenate([part.indices for part in parts])[:count]
    held = Split(data.train.source, indices, np.zeros(len(indices), np.int64))
    return replace(data, labels=(), test=held)


def _notes_on_test_items(contract: Contract, data: DataSet) -> list[str]:
    """Notes on test items that a user may not expect."""
    notes = []
    absent = np.flatnonzero(label_counts(data.test.y, len(data.labels)) == 0)
    if len(absent):
        some = ", ".join(data.labels[i] for i in absent[:6]) + (", ..." if len(absent) > 6 else "")
        notes.append(f"{data.source} has no test items of {len(absent)} of {len(data.labels)} classes: {some}.")
    others = len(data.train) + len(data.val)
    if contract.data is None and "test" in data.computed and others:
        how = how_all_test(data.source)
        notes.append(
            f"{data.source} has no test split, so {len(data.test)} of its {len(data.test) + others} items are the test "
            f"items, the same for every command.{f' To test on all, {how}.' if how else ''}"
        )
    return notes


def resize_note(contract: Contract, data: DataSet) -> list[str]:
    """A note that ImageNet models are usually evaluated on cropped images, while these files stretch them."""
    spec = contract.input
    held = data.test if len(data.test) else data.train
    if contract.data is not None or not spec.is_image or spec.resize != "stretch" or contract.outputs not in IMAGENET:
        return []
    sizes = [size for i in held.indices[:SAMPLE] if (size := held.source.stored_size(int(i))) is not None]
    if not sizes or not all(min(size) > max(spec.shape[:2]) for size in sizes):
        return []
    return [
        f"images of {data.source} are larger than the model's {spec.shape[0]} x {spec.shape[1]} and are stretched; "
        f"models with {contract.outputs} outputs are usually evaluated with --resize crop:0.875."
    ]


def data_record(data: DataSet) -> dict[str, Any]:
    """The record of a data set in a result."""
    split = "test" if data.labels else "all"
    return {"source": data.source, "sha256": data.sha256, "split": split, "count": len(data.test)}


def _onnx_contract(path: Path) -> Contract | None:
    text = onnx_props(path).get(MEMBER)
    return Contract.from_json(text, where=str(path)) if text is not None else None
