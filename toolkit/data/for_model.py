"""A model file's contract, and the data set opened the way that the contract describes.

Training writes into the contract which data a model was trained on and how an item is prepared. Every command that
measures a file (`evaluate`, `benchmark`, `convert`, `bundle`, `board`) reads it back here, so that all of them test a
file on the same items.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgepress.converters.contract.metadata import onnx_props
from edgepress.runtime import Contract, read_contract
from edgepress.runtime.contract import MEMBER
from edgepress.runtime.filetypes import format_of
from edgepress.runtime.flatbuffer import lacking
from edgepress.toolkit.data import open_data
from edgepress.toolkit.data.types import DataSet
from edgepress.toolkit.errors import DataError, InputError, ModelFileError


def contract_of(path: Path) -> Contract:
    """The contract inside a `.keras`, `.tflite` or `.onnx` file; neither an engine nor Keras is loaded.

    Raises:
        ModelFileError: The file cannot be read, has another format, or has no contract.
    """
    found = format_of(path, ("tflite", "onnx", "keras"), ".tflite, .onnx and .keras files")
    if path.suffix != f".{found}":
        raise ModelFileError(f"{path} is a .{found} file under another name.", f"Rename it to {path.stem}.{found}.")
    contract = _onnx_contract(path) if found == "onnx" else read_contract(path)
    if contract is None and found == "tflite" and (error := lacking(path, path.read_bytes())):
        raise error
    if contract is None:
        raise ModelFileError(
            f"{path} carries no contract: it is damaged or cut off, or was not made by edgepress.",
            "Accepted: .keras files from edgepress train, .tflite and .onnx files from edgepress convert.",
        )
    return contract


def data_for(
    contract: Contract, data: str | None, *, where: Path, skip_unreadable: bool = False
) -> tuple[DataSet, list[str]]:
    """The data set, opened as a model takes it, with notes if the model was trained on another one.

    Args:
        contract: The model's.
        data: The data set to open; None opens the one that the contract names.
        where: The model file, for messages.
        skip_unreadable: Skip images that cannot be read.

    Raises:
        EdgepressError: No data set is named, or it cannot be opened or does not match the model, or the model has no
            labels.
    """
    if contract.task == "none":
        raise InputError(
            f"{where} has no labels (its task is none), so there is no accuracy to measure.",
            "Its error against the source model is in its contract: edgepress inspect.",
        )
    source = data if data is not None else contract.data.source if contract.data else None
    if source is None:
        raise InputError(f"{where} does not say what data it was trained on.", "Name it with --data.")
    opened = open_data(source, input=contract.input, labels=contract.labels, skip_unreadable=skip_unreadable)
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
