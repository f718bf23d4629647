"""Evaluate one file on the test split: always the file itself, through the engine that would run it.

A `.tflite` or `.onnx` file is answered by an engine in processes of its own, one a core, and what was answered is kept,
so that an evaluation that was stopped goes on where it was (`benchmarking.collect`). A `.keras` file is run
by Keras, here. Never is one judged by the other.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgepress.converters import load_keras
from edgepress.runtime import Contract, read_contract
from edgepress.runtime.contract import MEMBER
from edgepress.runtime.sessions import file_format
from edgepress.toolkit.benchmarking.collect import Answers, OnProgress, collect_answers
from edgepress.toolkit.data import open_data
from edgepress.toolkit.data.types import DataSet
from edgepress.toolkit.errors import DataError, EdgepressError, InputError, ModelFileError
from edgepress.toolkit.stats.metrics import calibration_error, classification_metrics
from edgepress.toolkit.training.batches import predict_scores
from edgepress.toolkit.workers.answer import decide
from edgepress.toolkit.workers.opening import Candidate

TIME_CAP_S = 3600.0
"""Seconds that a file may take to answer the test split."""


def evaluate(
    file: str | Path,
    *,
    data: str | None = None,
    engine: str | None = None,
    threads: int = 1,
    jobs: int | None = None,
    skip_unreadable: bool = False,
    cache: Path | None = None,
    on_progress: OnProgress | None = None,
) -> dict[str, Any]:
    """Accuracy, precision, recall, F1, calibration error and the confusion matrix of a file on the test split.

    Args:
        file: A `.keras`, `.tflite` or `.onnx` file that edgepress made.
        data: The data, as for training; None opens what the file's contract names.
        engine: What runs the file; None takes the first installed engine that opens it. Not for `.keras`.
        threads: Threads that the engine may use in each process.
        jobs: Processes that answer side by side, at least 1; None: the CPUs over `threads`. Not for `.keras`.
        skip_unreadable: Leave out images that can't be read instead of failing.
        cache: Folder that keeps answers, so that the next call goes on where this one was stopped; None keeps none.
            See `answers_cache.default_cache`. Not for `.keras`.
        on_progress: Called with "accuracy" and the share that is done.

    Returns:
        "file", "scheme", "engine", "data", "notes", "ece" (`calibration_error`) and what `classification_metrics`
        gives.

    Raises:
        EdgepressError: The file or the data can't be used, or do not fit each other.

    Example:
        >>> from edgepress.toolkit import evaluate
        >>> evaluate("edgepress-demo/variants/model-int8.tflite")["accuracy"] > 0.9
        True
    """
    path = Path(file)
    contract = contract_of(path)
    opened, notes = data_for(contract, data, where=path, skip_unreadable=skip_unreadable)
    if path.suffix == ".keras":
        if engine is not None:
            raise InputError(f"{path} is run by Keras; an engine ({engine}) can't open it.", "Leave --engine out.")
        answers = Answers("keras", *decide(predict_scores(load_keras(path), opened.test)))
    else:
        candidate = Candidate(path, engine, threads)
        (found,) = collect_answers(
            [candidate], opened, jobs=jobs, cap_s=TIME_CAP_S, cache=cache, on_progress=on_progress
        )
        if isinstance(found, EdgepressError):
            raise found
        answers = found
    metrics = classification_metrics(opened.test.y, answers.predicted, labels=opened.labels)
    return {
        "file": str(path),
        "scheme": contract.scheme,
        "engine": answers.engine,
        "data": data_record(opened),
        "notes": notes,
        **metrics,
        "ece": calibration_error(answers.confidence, answers.predicted == opened.test.y),
    }


def contract_of(path: Path) -> Contract:
    """The contract inside a `.keras`, `.tflite` or `.onnx` file; no engine and no Keras is loaded.

    Raises:
        ModelFileError: The file can't be read, is of another kind, or has no contract.
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
    contract: Contract, data: str | None, *, where: Path, skip_unreadable: bool = False
) -> tuple[DataSet, list[str]]:
    """The data opened as a model takes them, and notes if they are not those that it was trained on.

    Args:
        contract: The model's.
        data: What to open; None opens what the contract names.
        where: The model file, for messages.
        skip_unreadable: Leave out images that can't be read.

    Raises:
        EdgepressError: There are none, they can't be opened, or do not fit the model.
    """
    source = data if data is not None else contract.data.source if contract.data else None
    if source is None:
        raise InputError(f"{where} does not say what data it was trained on.", "Name them with --data.")
    opened = open_data(source, input=contract.input, labels=contract.labels, skip_unreadable=skip_unreadable)
    if not len(opened.test):
        raise DataError(f"{source} has no test items.", "Give data with a test split.")
    notes = [f"Left out as unreadable: {name} ({reason})" for name, reason in opened.skipped]
    if contract.data is not None and contract.data.sha256 != opened.sha256:
        notes.append(
            f"{source} is not what {where.name} was trained on ({contract.data.source}, as it then was): some of its "
            f"test items may have been trained on."
        )
    return opened, notes


def data_record(data: DataSet) -> dict[str, Any]:
    """What a result says of the data that it was measured on."""
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
