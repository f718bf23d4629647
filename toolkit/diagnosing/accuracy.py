"""Why a quantized file is inaccurate: layer by layer and class by class beside its model, and what to try first."""

from __future__ import annotations

import shlex
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgepress.converters.contract.hints import Facts, Hints
from edgepress.converters.diagnosis.examine import (
    AnswerJob,
    Examined,
    ExamineJob,
    Share,
    answer,
    answers_of_both,
    examine,
)
from edgepress.converters.diagnosis.harm import agreement
from edgepress.converters.opening import OpenJob, open_model
from edgepress.converters.proof.compare import SEEDED
from edgepress.converters.schemes import SCHEMES
from edgepress.converters.sources.keras import sha256_of
from edgepress.converters.waist import WaistJob
from edgepress.converters.worker import ChildDied, Worker
from edgepress.runtime.contract import Contract
from edgepress.runtime.decisions import decide
from edgepress.runtime.filetypes import kind_of
from edgepress.toolkit import conversion
from edgepress.toolkit.data import calibration_rows
from edgepress.toolkit.data.for_model import data_for, describe, unlabelled
from edgepress.toolkit.data.types import DataSet, Split
from edgepress.toolkit.diagnosing.accuracy_result import AccuracyDiagnosis, ClassLoss, Remedy
from edgepress.toolkit.diagnosing.accuracy_text import sentences
from edgepress.toolkit.diagnosing.remedies import Conversion, conversions
from edgepress.toolkit.engines.environments import onnx2tf_python
from edgepress.toolkit.errors import EdgepressError, InputError, ModelFileError
from edgepress.toolkit.progress import OnProgress
from edgepress.toolkit.stats.intervals import class_drops, paired_drop

Array = npt.NDArray[Any]
SILENCE_S = 1800.0
"""Seconds that one part of the work may take."""
ANSWERED, MEASURED, TRIED_ITEMS = 1000, 64, 200
"""Items that both files answer, items on which layers are measured, and items on which remedies are tried."""
BATCH = 50
TRIES = 2
"""Remedies that are tried; each is a conversion."""
SOUND = 0.995
"""Agreement from which on nothing is tried."""
WEAKER = 0.05
"""Agreement lost since the file was made from which on a note says so."""
ENOUGH = 30
"""Items on which the file must have been compared then."""


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
    contract, opened, given = _described(other, hints, data, skip_unreadable)
    notes += given
    rows = calibration_rows(opened.test, items)
    split = Split(opened.test.source, opened.test.indices[rows], opened.test.y[rows])
    with Worker(silence_s=SILENCE_S) as worker, tempfile.TemporaryDirectory(prefix="edgepress-") as folder:
        try:
            say(f"Opening {path}")
            (facts,) = worker.call(open_model, OpenJob(path, hints))
            job = _job(path, other, facts, contract, opened, split, hints, data, Path(folder), layer_items, install)
            say(f"Comparing {other} with it, layer by layer")
            found = _examined(worker, job, on_progress)
            notes += _doubts(path, facts, contract, found)
            diagnosis = _diagnosis(path, other, contract, opened, split, found, notes)
            proposed = conversions(contract, found.measured.layers, data)
            if (diagnosis.agreement or 0.0) < SOUND and proposed and attempt:
                tried = _tried(worker, path, hints, proposed, contract, opened, job, other, Path(folder), say)
            else:
                tried = [Remedy(text=one.text, command=one.command(str(path))) for one in proposed]
        except ChildDied as e:
            raise ModelFileError(
                f"{path} or {other} crashed the process that compared them: {e}.",
                "One of them is damaged: copy it again.",
            ) from e
    diagnosis = replace(diagnosis, remedies=(*tried, *_training(path, contract, data)))
    return replace(diagnosis, text=sentences(diagnosis, opened.labels))


def _training(path: Path, contract: Contract, data: str | None) -> list[Remedy]:
    """The remedy of last resort."""
    scheme = SCHEMES.get(contract.scheme)
    if scheme is None or scheme.tuning not in ("int8", "int4"):
        return []
    words = ["edgepress", "tune", str(path), *(["--data", data] if data else [])]
    words += ["--bits", "4"] if scheme.tuning == "int4" else []
    return [Remedy(text="train the quantized net to answer like the model", command=shlex.join(words))]


def _described(
    file: Path, hints: Hints, data: str | None, skip_unreadable: bool
) -> tuple[Contract, DataSet, list[str]]:
    """The file's contract, its data, and notes on both."""
    try:
        about = describe(file, hints, alone=False)
    except ModelFileError as e:
        if file.suffix in (".tflite", ".onnx"):
            raise
        raise InputError(f"{file} is no quantized file.", "Give the model first, and then its .tflite or .onnx.") from e
    contract = about.contract
    if contract.scheme in SCHEMES and SCHEMES[contract.scheme].is_float32:
        raise InputError(
            f"{file} is {contract.scheme}: nothing in it is quantized, so there is nothing to diagnose.",
            "Give a quantized variant of the model.",
        )
    if file.suffix not in (".tflite", ".onnx"):
        raise InputError(f"{file} is no quantized file.", "Give the model first, and then its .tflite or .onnx.")
    labelled = contract.task != "none"
    opened, notes = data_for(
        contract,
        data,
        where=file,
        skip_unreadable=skip_unreadable,
        numbered=about.numbered,
        purpose="evaluation" if labelled else "calibration",
    )
    about = about.labelled(opened)
    return about.contract, opened if labelled else unlabelled(opened, ANSWERED), [*about.notes, *notes]


def _job(
    path: Path,
    file: Path,
    facts: Facts,
    contract: Contract,
    opened: DataSet,
    split: Split,
    hints: Hints,
    data: str | None,
    folder: Path,
    layer_items: int,
    install: bool,
) -> ExamineJob:
    """The job, after checks that the file and the model belong together."""
    plan = conversion.plan_for(path, facts, hints, data, layer_items, skip_unreadable=True)
    if plan.contract.input.shape != contract.input.shape or plan.contract.outputs != contract.outputs:
        raise InputError(
            f"{file} takes {list(contract.input.shape)} and has {contract.outputs} outputs; {path} takes "
            f"{list(plan.contract.input.shape)} and has {plan.contract.outputs}: they do not belong together.",
            "Give the model that the file was converted from.",
        )
    if contract.labels and plan.contract.labels and {*contract.labels} != {*plan.contract.labels}:
        known = facts.contract is not None or hints.labels is not None
        if known:
            raise InputError(
                f"{file} has the labels {_few(contract.labels)}; {path} has {_few(plan.contract.labels)}.",
                "Give the model that the file was converted from.",
            )
    from_onnx = facts.format == "onnx"
    onnx2tf = onnx2tf_python(lambda text: None, install=install) if from_onnx else None
    adapter = replace(plan.adapter, item=contract.input)
    rows = calibration_rows(split, layer_items)
    return ExamineJob(
        file,
        contract,
        adapter,
        partial(_batches, split),
        split.read(rows),
        onnx2tf,
        _waist(contract, opened, folder, adapter, onnx2tf),
    )


def _waist(contract: Contract, opened: DataSet, folder: Path, adapter: Any, onnx2tf: Any) -> WaistJob | None:
    """How the float graph was tuned, if it was and the data have what it takes."""
    scheme = SCHEMES.get(contract.scheme)
    if scheme is None or not scheme.tuning or not contract.tuning.get("repairs") or not len(opened.train):
        return None
    given = conversion.items_for(opened, conversion.SAMPLES, contract)
    return WaistJob(
        folder,
        adapter,
        onnx2tf,
        given["calibration"],
        given.get("validation"),
        contract.task != "none",
        (scheme.tuning,),
        True,
        "auto",
    )


def _batches(split: Split) -> Iterable[Array]:
    return (x for x, _ in split.batches(BATCH))


def _examined(worker: Worker, job: ExamineJob, on_progress: OnProgress | None) -> Examined:
    found: Examined | None = None
    for report in worker.call(examine, job):
        if isinstance(report, Examined):
            found = report
        elif isinstance(report, Share) and report.part == "layers" and on_progress:
            on_progress(report.part, report.done)
    assert found is not None
    return found


def _doubts(path: Path, facts: Facts, contract: Contract, found: Examined) -> list[str]:
    """What speaks against the comparison itself."""
    notes = list(found.notes)
    made_of = facts.contract.parent_sha256 if facts.contract else ""
    if contract.parent_sha256 and contract.parent_sha256 not in (sha256_of(path), made_of):
        notes.append(
            f"the file says that it was converted from another file than {path}, or from another version of it"
        )
    if found.matched < found.steps / 2:
        notes.append(
            f"{found.matched} of the {found.steps} results of the model's operations were found in the file; layers "
            "that were not are left out"
        )
    proof, agreed = contract.verification, _agreement(found)
    if proof is None or proof.agreement is None or agreed is None or not proof.varies or proof.on == SEEDED:
        return notes
    if agreed < proof.agreement - WEAKER and proof.items >= ENOUGH:
        notes.append(
            f"when the file was made, it agreed with its model on {proof.agreement:.1%} of {proof.items} items of "
            f"{proof.on}: either these data are others, or the file was changed, or the model is opened otherwise"
        )
    return notes


def _agreement(found: Examined) -> float | None:
    if found.truth.shape[1] < 2:
        return None
    return float((found.truth.argmax(axis=1) == found.scores.argmax(axis=1)).mean())


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


def _tried(
    worker: Worker,
    path: Path,
    hints: Hints,
    proposed: list[Conversion],
    contract: Contract,
    opened: DataSet,
    job: ExamineJob,
    file: Path,
    folder: Path,
    say: Callable[[str], None],
) -> list[Remedy]:
    """The remedies in the order in which they should be used; those that were tried and help come first."""
    held = opened.val if len(opened.val) else opened.test
    items = held.read(calibration_rows(held, TRIED_ITEMS))
    truth: Array | None = None
    helped: list[Remedy] = []
    others: list[Remedy] = []
    for number, one in enumerate(proposed):
        command = one.command(str(path))
        if helped or number >= TRIES:
            others.append(Remedy(text=one.text, command=command))
            continue
        say(f"Trying to {one.text}")
        try:
            if truth is None:
                truth, before = _reference(worker, job, items, file)
            made = conversion.convert(
                path, one.scheme, out=folder / str(number), hints=hints, verify=False, **one.arguments
            )
            if made[0].path is None:
                continue
            (scores,) = worker.call(answer, AnswerJob(made[0].path, items))
        except (EdgepressError, ChildDied):
            continue
        agreed = _same(truth, scores, contract)
        remedy = Remedy(text=one.text, command=command, tried=True, agreement=agreed, before=before)
        if agreed > before:
            helped.append(remedy)
    return [*helped, *others]


def _reference(worker: Worker, job: ExamineJob, items: Array, file: Path) -> tuple[Array, float]:
    """The model's scores of some items, and the share of them for which the file gives its label."""
    ((truth, scores),) = worker.call(answers_of_both, replace(job, items=partial(_one_batch, items)))
    return truth, _same(truth, scores, job.contract)


def _one_batch(items: Array) -> Iterable[Array]:
    return (items,)


def _same(truth: Array, scores: Array, contract: Contract) -> float:
    return float((decide(truth, contract)[0] == decide(scores, contract)[0]).mean())


def _few(labels: tuple[str, ...]) -> str:
    return ", ".join(labels[:4]) + (", ..." if len(labels) > 4 else "")
