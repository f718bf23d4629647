"""Why a quantized file is inaccurate: layer by layer and class by class beside its model, and what to try first."""

from __future__ import annotations

import shlex
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgepress.converters.contract.hints import Hints
from edgepress.converters.diagnosis.examine import (
    Examined,
    ExamineJob,
    Share,
    examine,
)
from edgepress.converters.diagnosis.harm import agreement
from edgepress.converters.opening import OpenJob, open_model
from edgepress.converters.schemes import SCHEMES
from edgepress.converters.worker import ChildDied, Worker
from edgepress.runtime.contract import Contract
from edgepress.runtime.decisions import decide
from edgepress.runtime.filetypes import kind_of
from edgepress.toolkit.data import calibration_rows
from edgepress.toolkit.data.types import DataSet, Split
from edgepress.toolkit.diagnosing.accuracy_job import ANSWERED, described, doubts, job_for
from edgepress.toolkit.diagnosing.accuracy_result import AccuracyDiagnosis, ClassLoss, Remedy
from edgepress.toolkit.diagnosing.accuracy_text import sentences
from edgepress.toolkit.diagnosing.accuracy_tries import tried
from edgepress.toolkit.diagnosing.remedies import conversions
from edgepress.toolkit.errors import InputError, ModelFileError
from edgepress.toolkit.progress import OnProgress
from edgepress.toolkit.stats.intervals import class_drops, paired_drop

Array = npt.NDArray[Any]
SILENCE_S = 1800.0
"""Seconds that one part of the work may take."""
MEASURED = 64
"""Items on which layers are measured."""
SOUND = 0.995
"""Agreement from which on nothing is tried."""


def diagnose_accuracy(
    model: str | Path,
    file: str | Path,
    *,
    data: str | None = None,
    hints: Hints | None = None,
    items: int = ANSWERED,
    layer_items: int = MEASURED,
    attempt: bool = True,
    skip_unreadable: bool = False,
    install: bool = True,
    on_note: Callable[[str], None] | None = None,
    on_start: Callable[[str], None] | None = None,
    on_progress: OnProgress | None = None,
) -> AccuracyDiagnosis:
    """Say why a quantized file answers otherwise than its model, and what to try first.

    Each layer is rounded alone as the file does it, and what that changes in the answers is measured; so the layer that
    makes the error is found, and not those that only pass it on.

    Args:
        model: The model that the file was converted from, or its float `.tflite` or `.onnx`.
        file: The quantized `.tflite` or `.onnx`.
        data: Data with the model's classes; None opens those that the file's contract names.
        hints: What you know of a model that edgepress did not train, as for its conversion.
        items: Number of test items that both answer, spread over the classes.
        layer_items: Number of them on which layers are measured; large nets take fewer.
        attempt: Whether remedies are tried before they are recommended, by converting the model again.
        skip_unreadable: Skip images that can't be read instead of failing.
        install: Whether onnx2tf may be installed, which ONNX models need.
        on_note: Called with what a user should know.
        on_start: Called with what begins, in words.
        on_progress: Called with "layers" and the share that is done, 0-1.

    Raises:
        InputError: The file is not quantized, does not belong to the model, or names no data.
        ModelFileError: A file can't be opened.
        DataError: The data can't be used, or have other classes.

    Example:
        >>> from edgepress.toolkit import diagnose_accuracy
        >>> print(diagnose_accuracy("edgepress-demo/model.keras", "edgepress-demo/variants/model-int8.tflite").text)
    """
    path, other, hints = Path(model), Path(file), hints or Hints()
    say, notes = on_start or (lambda text: None), list[str]()
    if items < 1 or layer_items < 1:
        raise InputError(f"items is {items} and layer_items {layer_items}; at least 1 is needed.")
    kind_of(path)
    contract, opened, given = described(other, hints, data, skip_unreadable)
    notes += given
    rows = calibration_rows(opened.test, items)
    split = Split(opened.test.source, opened.test.indices[rows], opened.test.y[rows])
    with Worker(silence_s=SILENCE_S) as worker, tempfile.TemporaryDirectory(prefix="edgepress-") as folder:
        try:
            say(f"Opening {path}")
            (facts,) = worker.call(open_model, OpenJob(path, hints))
            job = job_for(path, other, facts, contract, opened, split, hints, data, Path(folder), layer_items, install)
            say(f"Comparing {other} with it, layer by layer")
            found = _examined(worker, job, on_progress)
            notes += doubts(path, facts, contract, found)
            diagnosis = _diagnosis(path, other, contract, opened, split, found, notes)
            proposed = conversions(contract, found.measured.layers, data)
            if (diagnosis.agreement or 0.0) < SOUND and proposed and attempt:
                remedies = tried(worker, path, hints, proposed, contract, opened, job, other, Path(folder), say)
            else:
                remedies = [Remedy(text=one.text, command=one.command(str(path))) for one in proposed]
        except ChildDied as e:
            raise ModelFileError(
                f"{path} or {other} crashed the process that compared them: {e}.",
                "One of them is damaged: copy it again.",
            ) from e
    diagnosis = replace(diagnosis, remedies=(*remedies, *_training(path, contract, data)))
    return replace(diagnosis, text=sentences(diagnosis, opened.labels))


def _training(path: Path, contract: Contract, data: str | None) -> list[Remedy]:
    """The remedy of last resort."""
    scheme = SCHEMES.get(contract.scheme)
    if scheme is None or scheme.tuning not in ("int8", "int4"):
        return []
    words = ["edgepress", "tune", str(path), *(["--data", data] if data else [])]
    words += ["--bits", "4"] if scheme.tuning == "int4" else []
    return [Remedy(text="train the quantized net to answer like the model", command=shlex.join(words))]


def _examined(worker: Worker, job: ExamineJob, on_progress: OnProgress | None) -> Examined:
    found: Examined | None = None
    for report in worker.call(examine, job):
        if isinstance(report, Examined):
            found = report
        elif isinstance(report, Share) and report.part == "layers" and on_progress:
            on_progress(report.part, report.done)
    assert found is not None
    return found


def _diagnosis(
    path: Path,
    file: Path,
    contract: Contract,
    opened: DataSet,
    split: Split,
    found: Examined,
    notes: list[str],
) -> AccuracyDiagnosis:
    labelled = contract.task != "none" and bool(opened.labels)
    right = [decide(scores, contract)[0] == split.y for scores in (found.truth, found.scores)] if labelled else []
    drop = paired_drop(right[0], right[1]) if labelled else None
    agreed = None
    if contract.task != "none":
        agreed = float((decide(found.truth, contract)[0] == decide(found.scores, contract)[0]).mean())
    simulated = agreement(found.measured.scores, found.measured.together, "one") if contract.task != "none" else None
    return AccuracyDiagnosis(
        model=str(path),
        file=str(file),
        scheme=contract.scheme if contract.scheme in SCHEMES else "",
        engine=found.engine,
        data=opened.source,
        items=len(split),
        accuracy=float(right[1].mean()) if labelled else None,
        model_accuracy=float(right[0].mean()) if labelled else None,
        drop_pp=drop.estimate if drop else None,
        drop_low_pp=drop.low if drop else None,
        drop_high_pp=drop.high if drop else None,
        agreement=agreed,
        simulated_agreement=simulated,
        text="",
        layers=found.measured.layers,
        layer_items=found.items,
        classes=tuple(_classes(opened, split, right)) if labelled else (),
        remedies=(),
        notes=tuple(notes),
    )


def _classes(opened: DataSet, split: Split, right: list[npt.NDArray[np.bool_]]) -> list[ClassLoss]:
    losses = []
    drops = class_drops(right[0], right[1], split.y, classes=len(opened.labels))
    for number, drop in enumerate(drops):
        if drop is not None:
            own = split.y == number
            losses.append(
                ClassLoss(
                    label=opened.labels[number],
                    support=int(own.sum()),
                    model=float(right[0][own].mean()),
                    file=float(right[1][own].mean()),
                    drop_pp=drop.estimate,
                    drop_low_pp=drop.low,
                    drop_high_pp=drop.high,
                )
            )
    return sorted(losses, key=lambda loss: -loss.drop_pp)
