"""What is compared to diagnose accuracy: the model, the file and the data, after checks that they belong together."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy.typing as npt

from edgepress.converters.contract.hints import Facts, Hints
from edgepress.converters.diagnosis.examine import (
    Examined,
    ExamineJob,
)
from edgepress.converters.proof.compare import SEEDED
from edgepress.converters.schemes import SCHEMES
from edgepress.converters.sources.keras import sha256_of
from edgepress.converters.waist import WaistJob
from edgepress.runtime.contract import Contract
from edgepress.toolkit import conversion
from edgepress.toolkit.data import calibration_rows
from edgepress.toolkit.data.for_model import data_for, describe, unlabelled
from edgepress.toolkit.data.types import DataSet, Split
from edgepress.toolkit.engines.environments import onnx2tf_python
from edgepress.toolkit.errors import InputError, ModelFileError

Array = npt.NDArray[Any]
ANSWERED = 1000
"""Items that both files answer."""
BATCH = 50
WEAKER = 0.05
"""Agreement lost since the file was made from which on a note says so."""
ENOUGH = 30
"""Items on which the file must have been compared then."""


def described(file: Path, hints: Hints, data: str | None, skip_unreadable: bool) -> tuple[Contract, DataSet, list[str]]:
    """The file's contract, its data, and notes on both.

    Raises:
        InputError: The file is not quantized.
    """
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


def job_for(
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
    """The job, after checks that the file and the model belong together.

    Raises:
        InputError: They do not.
    """
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


def doubts(path: Path, facts: Facts, contract: Contract, found: Examined) -> list[str]:
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


def _few(labels: tuple[str, ...]) -> str:
    return ", ".join(labels[:4]) + (", ..." if len(labels) > 4 else "")
