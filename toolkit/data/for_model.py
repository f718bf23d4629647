"""A model file's contract, and the data set opened the way that the contract describes.

Training writes into the contract which data a model was trained on and how an item is prepared. Every command that
measures a file (`evaluate`, `benchmark`, `convert`, `bundle`, `board`) reads it back here, so that all of them test a
file on the same items.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from edgepress.runtime import Contract, read_contract
from edgepress.runtime.contract import MEMBER
from edgepress.runtime.sessions import file_format
from edgepress.toolkit.data import open_data
from edgepress.toolkit.data.types import DataSet, Purpose
from edgepress.toolkit.errors import InputError, ModelFileError

IMAGENET = (1000, 1001)
"""Numbers of outputs of models of ImageNet's classes, without and with one for the background."""
SAMPLE = 8
"""Number of images whose size is looked at."""


def contract_of(path: Path) -> Contract:
    """The contract inside a `.keras`, `.tflite` or `.onnx` file; neither an engine nor Keras is loaded.

    Raises:
        ModelFileError: The file cannot be read, has another format, or has no contract.
    """
    if path.suffix in (".tflite", ".onnx") and (found := file_format(path)) != path.suffix[1:]:
        raise ModelFileError(f"{path} is a .{found} file under another name.", f"Rename it to {path.stem}.{found}.")
    contract = _onnx_contract(path) if path.suffix == ".onnx" else read_contract(path)
    if contract is None:
        raise ModelFileError(
            f"{path} carries no contract: it is damaged or cut off, or was not made by edgepress.",
            "Accepted: .keras files from edgepress train, .tflite and .onnx files from edgepress convert.",
        )
    return contract


def data_for(
    contract: Contract,
    data: str | None,
    *,
    where: Path,
    skip_unreadable: bool = False,
    purpose: Purpose = "evaluation",
) -> tuple[DataSet, list[str]]:
    """The data set, opened as a model takes it, with notes on what a user should know of it.

    Args:
        contract: The model's.
        data: The data set to open; None opens the one that the contract names.
        where: The model file, for messages.
        skip_unreadable: Skip images that cannot be read.
        purpose: "evaluation", or "calibration", for which the data need no labels and may have other classes.

    Raises:
        EdgepressError: No data set is named, or it cannot be opened or does not match the model.
    """
    source = data if data is not None else contract.data.source if contract.data else None
    if source is None:
        raise InputError(f"{where} does not say what data it was trained on.", "Name it with --data.")
    labels = contract.labels if purpose == "evaluation" else None
    opened = open_data(source, input=contract.input, labels=labels, skip_unreadable=skip_unreadable, purpose=purpose)
    notes = [f"Skipped as unreadable: {name} ({reason})" for name, reason in opened.skipped]
    if contract.data is not None and contract.data.sha256 != opened.sha256:
        doubt = "some test items may have been used in training" if labels else "its files are calibrated on these"
        notes.append(
            f"{where.name} was trained on another version of {contract.data.source}, or on other data, than {source}: "
            f"{doubt}."
        )
    if purpose == "evaluation":
        notes += _notes_on_test_items(contract, opened)
    return opened, [*notes, *resize_note(contract, opened)]


def _notes_on_test_items(contract: Contract, data: DataSet) -> list[str]:
    """What a user may not expect of the items that a model is tested on."""
    notes = []
    absent = np.setdiff1d(np.arange(len(data.labels)), data.test.y)
    if len(absent):
        some = ", ".join(data.labels[i] for i in absent[:6]) + (", ..." if len(absent) > 6 else "")
        notes.append(f"{data.source} has no test items of {len(absent)} of {len(data.labels)} classes: {some}.")
    others = len(data.train) + len(data.val)
    if contract.data is None and "test" in data.computed and others:
        notes.append(
            f"{data.source} has no test split, so {len(data.test)} of its {len(data.test) + others} items are the test "
            "items, the same for every command. To test on all, put them below test/, or name arrays x_test, y_test."
        )
    return notes


def resize_note(contract: Contract, data: DataSet) -> list[str]:
    """That a model looks like one of ImageNet, whose usual evaluation crops images, while its files stretch them."""
    spec, held = contract.input, data.test if len(data.test) else data.train
    if contract.data is not None or not spec.is_image or spec.resize != "stretch" or contract.outputs not in IMAGENET:
        return []
    sizes = [held.source.stored_size(int(i)) for i in held.indices[:SAMPLE]]
    if not all(size is not None and min(size) > max(spec.shape[:2]) for size in sizes):
        return []
    return [
        f"images of {data.source} are larger than the model's {spec.shape[0]} x {spec.shape[1]} and are stretched; "
        f"models with {contract.outputs} outputs are usually evaluated with --resize crop:0.875."
    ]


def data_record(data: DataSet) -> dict[str, Any]:
    """The record of a data set in a result."""
    return {"source": data.source, "sha256": data.sha256, "split": "test", "count": len(data.test)}


def _onnx_contract(path: Path) -> Contract | None:
    import onnx

    try:
        model = onnx.load(str(path), load_external_data=False)
    except OSError as e:
        raise ModelFileError(f"{path} can't be read: {e.strerror or e}.", "Check the path.") from e
    except Exception as e:  # protobuf's DecodeError, whose place differs between its releases
        raise ModelFileError(f"{path} is not an ONNX file: {e}.", "Convert the model again.") from e
    texts = [p.value for p in model.metadata_props if p.key == MEMBER]
    return Contract.from_json(texts[0], where=str(path)) if texts else None
