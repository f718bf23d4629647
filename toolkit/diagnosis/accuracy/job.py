"""What is compared to diagnose accuracy: the model, the file and the data, after checks that they belong together."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy.typing as npt

from edgepress.converters.contract.hints import Hints, ModelFacts
from edgepress.converters.conversion.float_graph import FloatGraphJob
from edgepress.converters.diagnosis.job import Examined, ExamineJob
from edgepress.converters.files import sha256_of
from edgepress.converters.numeric.metrics import agreement
from edgepress.converters.options.conversion import SAMPLES, ConversionOptions
from edgepress.converters.proof.compare import SEEDED
from edgepress.converters.schemes import SCHEMES
from edgepress.runtime.contract import Contract
from edgepress.toolkit.conversion.convert import items_for
from edgepress.toolkit.conversion.plan import plan_for
from edgepress.toolkit.data import calibration_rows
from edgepress.toolkit.data.for_model import data_for, describe, require_one_input, without_labels
from edgepress.toolkit.data.reading import STRICT, Reading
from edgepress.toolkit.data.types import DataSet, Split
from edgepress.toolkit.errors import InputError, ModelFileError

Array = npt.NDArray[Any]
ANSWERED = 1000
"""Items that both files answer."""
BATCH = 50
"""Items that are read at a time."""
WEAKER = 0.05
"""Agreement lost since the file was made from which on a note says so."""
ENOUGH = 30
"""Items on which the file must have been compared then and here."""
CHANCE = 3
"""Standard errors that are not chance."""


@dataclass(frozen=True)
class Subject:
    """What is compared.

    Attributes:
        model: The model.
        hints: What the user knows of it.
        file: The quantized file.
        contract: Its contract.
        data: The data's name; None for those of the contract.
        opened: The data.
        split: The items that both answer.
        reading: How the data are read.
    """

    model: Path
    hints: Hints
    file: Path
    contract: Contract
    data: str | None
    opened: DataSet
    split: Split
    reading: Reading = STRICT

    @property
    def words(self) -> tuple[str, ...]:
        """The options that the user gave with which alone a command opens the model and the data."""
        return (*self.hints.words, *self.reading.words)


def describe_subject(
    model: Path, file: Path, hints: Hints, *, data: str | None, items: int, reading: Reading
) -> tuple[Subject, list[str]]:
    """A model, its quantized file and at most so many items of the data, and notes on these.

    Raises:
        InputError: The file is not quantized.
    """
    not_quantized = InputError(
        f"{file} is not a quantized file.", "Give the model first, and then its .tflite or .onnx."
    )
    try:
        about = describe(file, hints, alone=False)
    except ModelFileError as e:
        if file.suffix in (".tflite", ".onnx"):
            raise
        raise not_quantized from e
    contract = about.contract
    if contract.scheme in SCHEMES and SCHEMES[contract.scheme].is_float32:
        raise InputError(
            f"{file} is {contract.scheme}: nothing in it is quantized, so there is nothing to diagnose.",
            "Give a quantized variant of the model.",
        )
    if file.suffix not in (".tflite", ".onnx"):
        raise not_quantized
    labelled = contract.task != "none"
    opened, notes = data_for(
        contract,
        data,
        where=file,
        reading=reading,
        numbered=about.numbered,
        purpose="evaluation" if labelled else "calibration",
    )
    about = about.labelled(opened)
    opened = opened if labelled else without_labels(opened, ANSWERED)
    rows = calibration_rows(opened.test, items)
    split = Split(opened.test.source, opened.test.indices[rows], opened.test.y[rows])
    return Subject(model, hints, file, about.contract, data, opened, split, reading), [*about.notes, *notes]


def _require_whole(contract: Contract, file: Path) -> None:
    """Refuse a file whose normalization `convert` moved into its contract: its graph and the model's begin apart."""
    if contract.adapter is not None and contract.scheme in SCHEMES and set(contract.adapter.std) != {1.0}:
        raise InputError(
            f"{file} takes items that are normalized by its contract, and layers are compared from the input on.",
            "Compare the answers: edgepress compare, or edgepress evaluate.",
        )


def job_for(subject: Subject, facts: ModelFacts, folder: Path, *, layer_items: int) -> ExamineJob:
    """The job, after checks that the file and the model belong together.

    Raises:
        InputError: They do not.
    """
    path = subject.model
    file = subject.file
    contract = subject.contract
    hints = subject.hints
    require_one_input(contract, file, "diagnose")
    _require_whole(contract, file)
    plan = plan_for(path, facts, hints, data=subject.data, count=layer_items, reading=Reading(skip_unreadable=True))
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
                f"{file} has the labels {_join_few(contract.labels)}; {path} has {_join_few(plan.contract.labels)}.",
                "Give the model that the file was converted from.",
            )
    adapter = replace(plan.adapter, item=contract.input)
    split = subject.split
    return ExamineJob(
        file,
        contract,
        adapter,
        partial(_batches, split),
        split.read(calibration_rows(split, layer_items)),
        _float_graph(subject, folder, adapter),
        logits=plan.contract.task == "logits" and plan.adapter.end is None,
    )


def _float_graph(subject: Subject, folder: Path, adapter: Any) -> FloatGraphJob | None:
    """How the float graph was tuned, if it was and the data have what it takes."""
    contract = subject.contract
    opened = subject.opened
    scheme = SCHEMES.get(contract.scheme)
    if scheme is None or not scheme.repairs or not contract.compression.get("repairs") or not len(opened.train):
        return None
    items = items_for(opened, SAMPLES, contract)
    return FloatGraphJob(
        folder,
        adapter,
        items["calibration"],
        items.get("validation"),
        contract.task != "none",
        (scheme.repairs,),
        ConversionOptions(rewrites=bool(contract.rewrites)),
    )


def _batches(split: Split) -> Iterable[Array]:
    return (x for x, _ in split.batches(BATCH))


def doubts(subject: Subject, facts: ModelFacts, examined: Examined) -> list[str]:
    """What speaks against the comparison itself."""
    path = subject.model
    contract = subject.contract
    notes = list(examined.notes)
    made_of = facts.contract.parent_sha256 if facts.contract else ""
    if contract.parent_sha256 and contract.parent_sha256 not in (sha256_of(path), made_of):
        notes.append(
            f"the file says that it was converted from another file than {path}, or from another version of it"
        )
    if examined.matched < examined.steps / 2:
        notes.append(
            f"{examined.matched} of the {examined.steps} results of the model's operations were found in the file; "
            "layers that were not are left out"
        )
    proof = contract.verification
    agreed = _agreement(examined)
    if proof is None or proof.agreement is None or agreed is None or not proof.varies or proof.on == SEEDED:
        return notes
    spread = math.sqrt(
        proof.agreement * (1 - proof.agreement) / proof.items + agreed * (1 - agreed) / len(examined.reference)
    )
    if agreed < proof.agreement - max(WEAKER, CHANCE * spread) and min(proof.items, len(examined.reference)) >= ENOUGH:
        notes.append(
            f"when the file was made, it agreed with its model on {proof.agreement:.1%} of {proof.items} items of "
            f"{proof.on}: either these data are others, or the file was changed, or the model is opened otherwise"
        )
    return notes


def _agreement(examined: Examined) -> float | None:
    return agreement(examined.reference, examined.scores) if examined.reference.shape[1] > 1 else None


def _join_few(labels: tuple[str, ...]) -> str:
    return ", ".join(labels[:4]) + (", ..." if len(labels) > 4 else "")
