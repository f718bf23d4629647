"""The measured figures of a file, for `remarks`: those of its answers, and of the run that it came from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgepress.converters.contract.hints import Hints
from edgepress.converters.files import sha256_of
from edgepress.runtime import Contract
from edgepress.runtime.decisions import same_answers
from edgepress.runtime.filetypes import MODEL
from edgepress.toolkit.data.types import DataSet
from edgepress.toolkit.errors import EdgepressError
from edgepress.toolkit.escaping import shell_line
from edgepress.toolkit.remarks.facts import Facts, FloatPair
from edgepress.toolkit.results.run_files import run_model
from edgepress.toolkit.training import run_folder
from edgepress.toolkit.training.facts import MORE, confusion_of, facts_of, right_and_wrong


def facts_of_file(
    file: Path,
    contract: Contract,
    data: DataSet,
    predicted: npt.NDArray[np.int64],
    *,
    command: Sequence[str | Path],
    hints: Hints | None = None,
    pair: FloatPair | None = None,
    max_drop_pp: float = 1.0,
) -> Facts:
    """The figures of a file: those of its answers, and if its run is beside it and had the same data, of the training.

    Args:
        file: The file.
        contract: Its contract.
        data: The data, opened as the file takes them.
        predicted: The answer that it gives to each test item, of the shape of its labels.
        command: The command that measures it again, without data and hints.
        hints: What the user said of a file that others made, which commands repeat.
        pair: The quantized file that too few items leave unproven.
        max_drop_pp: Largest drop that counts as usable, percentage points.
    """
    same = contract.data is not None and contract.data.sha256 == data.sha256
    run = _run_of(file, contract) if same else None
    # A training on data that a file is only measured on is no advice: it might be the user's test set.
    own = same or (contract.data is not None and contract.data.source == data.source)
    known = {"arch": contract.arch} if own else {}
    described = (hints or Hints()).words
    named = [] if same else ["--data", data.source]
    if own and contract.data is not None:  # opened by the rule of its training, "none" if that named and found none
        data = replace(data, group=contract.data.group)
    return facts_of(
        data,
        _confusion(data, predicted),
        arguments=run.metrics["arguments"] if run else known,
        val_confusion=confusion_of(run.metrics["val"]) if run else None,
        history=[row for row in run.history if row.get("epoch", 1)] if run else (),
        look=shell_line("edgepress", "evaluate", file, *named, *described),
        more=shell_line(*command, "--data", MORE, *described),
        pair=pair,
        max_drop_pp=max_drop_pp,
        foreign=not contract.arch,
    )


def _confusion(data: DataSet, predicted: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Of the test items: true class down, predicted class across; of multi-label data, right and wrong answers."""
    if data.multilabel:
        return right_and_wrong(int(same_answers(predicted, data.test.y).sum()), len(data.test))
    classes = len(data.labels)
    codes = data.test.y * classes + predicted
    return np.bincount(codes, minlength=classes**2).reshape(classes, classes)


def _run_of(file: Path, contract: Contract) -> run_folder.TrainResult | None:
    """The finished run that a file came from, if it is in its folder or the folder above."""
    for folder in (file.parent, file.parent.parent):
        model = run_model(folder) or folder / MODEL
        try:
            if not model.samefile(file) and sha256_of(model) != contract.parent_sha256:
                continue
            result = run_folder.load_result(folder)
            classes = len(contract.labels) if contract.task != "multilabel" else 2
            matrix = confusion_of(result.metrics["val"])
            if matrix.shape == (classes, classes) and (matrix >= 0).all() and _is_whole(result):
                return result
        except (OSError, EdgepressError, LookupError, TypeError, ValueError):
            continue  # a remark less; whatever lies there is not ours, or damaged
    return None


def _is_whole(run: run_folder.TrainResult) -> bool:
    """Whether the figures that checks read are there, and can be what they stand for."""
    arguments = run.metrics["arguments"]
    shares = np.array([[row[name] for name in ("accuracy", "val_accuracy")] for row in run.history])
    losses = np.array([row["val_loss"] for row in run.history])
    return bool(
        isinstance(arguments["arch"], str)
        and isinstance(arguments["epochs"], int)
        and arguments["learning_rate"] > 0
        and arguments["dropout"] >= 0
        and ((shares >= 0) & (shares <= 1)).all()
        and np.isfinite(losses).all()
    )
