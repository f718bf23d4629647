"""The contract, adapter and data that a model is converted with, and the items for calibration and proof."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgepress.converters.adapter import InputAdapter, end_for
from edgepress.converters.contract.guess import guess_contract
from edgepress.converters.contract.hints import Hints, ModelFacts
from edgepress.converters.options.conversion import SAMPLES
from edgepress.converters.proof.compare import FEW, ITEMS
from edgepress.runtime import Contract
from edgepress.runtime.input_record import NamedInput
from edgepress.toolkit.data import calibration_rows, open_data
from edgepress.toolkit.data.for_model import data_for, require_each_decided, resize_note, with_labels_of
from edgepress.toolkit.data.input_arrays import stored_inputs
from edgepress.toolkit.data.readers.npz import headers, stored_item
from edgepress.toolkit.data.reading import Reading
from edgepress.toolkit.data.remembered import reading_options, to_remember
from edgepress.toolkit.data.types import DataSet, Split
from edgepress.toolkit.errors import DataError, InputError
from edgepress.toolkit.truth import label_counts

ENOUGH_ITEMS = 10
"""Items for each class from which on each class has some, unless items of it were left out."""
CALIBRATION_BATCH = 50
"""Calibration items that are read at once."""
PROOF_BYTES = 64 << 20
"""Size of the items on which files are verified."""
JUDGED = 500
"""Most validation items on which files are judged."""


@dataclass(frozen=True)
class ConversionPlan:
    """What a model's files will say, what adapts the model to it, its data if there are any, and notes on these."""

    contract: Contract
    adapter: InputAdapter
    data: DataSet | None
    notes: tuple[str, ...] = ()


def plan_for(
    path: Path, facts: ModelFacts, hints: Hints, *, data: str | DataSet | None, count: int, reading: Reading
) -> ConversionPlan:
    """The contract, adapter and data of a model; of data that are not in its contract, `count` training items."""
    if facts.contract is not None and not hints.about_contract:
        adapter = InputAdapter.of(facts.contract)
        if hints.softmax:
            adapter = dataclasses.replace(adapter, end=end_for(facts.contract.outputs, facts.contract.task))
        contract = facts.contract.without_limits().replace(adapter=None)  # the graph will do what it says
        if contract.data is not None or (data is None and contract.made_with is not None):  # its labels are the data's
            opened, notes = data_for(contract, data, where=path, reading=reading, purpose="calibration")
            return ConversionPlan(contract, adapter, opened, tuple(notes))
        plan = ConversionPlan(contract, adapter, None)
    else:
        hints, numbers = _without_images(hints, facts, data)
        try:
            guess = guess_contract(facts, hints, _tensors_in(data, facts, hints))
        except InputError as e:
            raise InputError(f"{path}: {e.message}", e.hint) from e
        plan = ConversionPlan(guess.contract, guess.adapter, None, (*numbers, *guess.notes))
    if data is None:
        return plan
    opened = (
        data
        if isinstance(data, DataSet)
        else open_data(
            data,
            input=plan.contract.input,
            multilabel=plan.contract.task == "multilabel",
            purpose="calibration",
            sample=(count, ITEMS),
            **reading.arguments,
            **reading_options(str(data), None, plan.contract.sound),
        )
    )
    require_each_decided(plan.contract, opened, path)
    opened = opened.named_columns(plan.contract.labels)
    plan = dataclasses.replace(plan, notes=(*plan.notes, *resize_note(plan.contract, opened)))
    plan = _with_labels_of(opened, _with_range_of(opened, dataclasses.replace(plan, data=opened)))
    contract = _remembering(opened, plan.contract, path.parent)
    return dataclasses.replace(plan, contract=contract, notes=(*plan.notes, *_missing_classes_note(opened)))


def _remembering(data: DataSet, contract: Contract, folder: Path) -> Contract:
    """The contract of a model in a folder, with the data that its files are made with, if they are of its labels."""
    if {*contract.labels} != {*data.labels} or not data.labels:
        return contract
    is_whole = len(data.test) > 0  # otherwise it is a sample, whose hash is that of no data set
    source = to_remember(data.source, folder)
    return contract.replace(
        made_with=dataclasses.replace(data.record, source=source, sha256=data.sha256 if is_whole else ""),
        sound=contract.sound or data.sound,
    )


def _without_images(hints: Hints, facts: ModelFacts, data: str | DataSet | None) -> tuple[Hints, tuple[str, ...]]:
    """Hints that items are tensors if the data are an `.npz` of numbers in the shape of an image, and a note of it."""
    if not isinstance(data, str) or Path(data).suffix != ".npz" or facts.contract is not None or len(facts.shape) != 3:
        return hints, ()
    item = stored_item(Path(data)) if not hints.image_options else None
    if item is None or item[0] == np.uint8 or item[1] != facts.shape:
        return hints, ()
    note = f"input: {data} holds numbers in the model's shape, so they are not images; if they are, give --color"
    return dataclasses.replace(hints, color="none"), (note,)


def _tensors_in(data: str | DataSet | None, facts: ModelFacts, hints: Hints) -> list[str]:
    """The inputs, of several, for which an `.npz` holds numbers and not pixels."""
    if not isinstance(data, str) or Path(data).suffix != ".npz" or not facts.inputs or hints.image_options:
        return []
    members = headers(Path(data))
    named = [NamedInput(shape=shape, dtype="float32", name=name) for name, shape in facts.inputs]
    keys = stored_inputs(Path(data), members, named)
    stored = [members.get(key) or members.get(f"{key}_train") or members.get(f"{key}_test") for key in keys]
    return [each.name for each, header in zip(named, stored, strict=True) if header and header.dtype != np.uint8]


def _with_labels_of(data: DataSet, plan: ConversionPlan) -> ConversionPlan:
    """A model without labels takes the data's, if there are as many; other classes serve for calibration alone."""
    contract = plan.contract
    if contract.task == "none" or not data.labels or {*contract.labels} == {*data.labels}:
        return plan
    if data.multilabel and len(data.labels) != len(contract.labels):
        raise DataError(
            f"The rows of labels in {data.source} have {len(data.labels)} columns, and the model has "
            f"{len(contract.labels)} outputs.",
            "Give a column for each output, in their order.",
        )
    relabelled = with_labels_of(data, contract, plan.notes)
    if relabelled is None:
        note = f"data: {data.source} has other classes than the model, so it is used for calibration only"
        return dataclasses.replace(plan, notes=(*plan.notes, note))
    return dataclasses.replace(plan, contract=relabelled[0], notes=relabelled[1])


def _missing_classes_note(data: DataSet) -> tuple[str, ...]:
    """A note if calibration items are of some of the classes alone, although there are enough of them for all."""
    present = np.count_nonzero(label_counts(data.train.y, len(data.labels))) if data.labels else 0
    if not 0 < present < len(data.labels) or len(data.train) < ENOUGH_ITEMS * len(data.labels):
        return ()
    return (
        f"data: the training items of {data.source} are of {present} of its {len(data.labels)} classes: ranges and "
        "repairs follow from these alone, and items of the others may lose more than is measured; give some of each",
    )


def _with_range_of(data: DataSet, plan: ConversionPlan) -> ConversionPlan:
    """A model of integers without a limit takes that of the data, for the items of its self-test."""
    if not plan.contract.input.is_integer or plan.contract.input.value_range is not None:
        return plan
    x = data.train.read(calibration_rows(data.train, SAMPLES))
    low = float(x.min())
    high = float(x.max())
    item = dataclasses.replace(plan.contract.input, value_range=(low, high))
    note = f"input: whole numbers from {low:.0f} to {high:.0f}, as in {data.source}"
    adapter = dataclasses.replace(plan.adapter, item=item)
    contract = plan.contract.replace(input=item)
    return dataclasses.replace(plan, contract=contract, adapter=adapter, notes=(*plan.notes, note))


def items_for(data: DataSet | None, count: int, contract: Contract) -> dict[str, Any]:
    """Calibration items, from the training split, and items to judge and verify on: arguments of `Conversion.run`.

    Files are verified on validation items, which were not calibrated on; if there are too few, on training items, too.
    """
    if data is None:
        return {"calibration": tuple, "proof_own": False}
    labelled = contract.task != "none" and bool(data.labels) and {*contract.labels} == {*data.labels}
    if labelled:
        data = data.relabelled(contract.labels)
    rows = calibration_rows(data.train, count)
    split = Split(data.train.source, data.train.indices[rows], data.train.y[rows])
    parts = [data.val] if len(data.val) >= FEW else [part for part in (data.val, data.train) if len(part)]
    item_bytes = contract.input.item.itemsize
    most = max(FEW, min(ITEMS, PROOF_BYTES // item_bytes))
    rows_of = [(part, calibration_rows(part, most)) for part in parts]
    items = {
        "calibration": partial(_batches, split),
        "proof": np.concatenate([part.read(rows) for part, rows in rows_of])[:most],
        "proof_labels": np.concatenate([part.y[rows] for part, rows in rows_of])[:most] if labelled else None,
        "proof_name": data.source,
        "proof_own": contract.data is not None and contract.data.sha256 == data.sha256,
    }
    if len(data.val) >= FEW:
        items["validation"] = partial(_validation, data.val, labelled=labelled)
    return items


def _validation(split: Split, count: int, *, labelled: bool) -> tuple[npt.NDArray[Any], npt.NDArray[np.int64] | None]:
    """Up to `count` validation items, spread over the classes, and their labels, if these are the model's."""
    rows = calibration_rows(split, min(count, JUDGED))
    return split.read(rows), split.y[rows] if labelled else None


def _batches(split: Split) -> Iterable[npt.NDArray[Any]]:
    return (x for x, _ in split.batches(CALIBRATION_BATCH))
