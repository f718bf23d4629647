"""Try remedies for a file's accuracy before they are recommended, by converting its model again."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy.typing as npt

from edgepress.converters.contract.hints import Hints
from edgepress.converters.diagnosis.examine import (
    AnswerJob,
    ExamineJob,
    answer,
    answers_of_both,
)
from edgepress.converters.worker import ChildDied, Worker
from edgepress.runtime.contract import Contract
from edgepress.runtime.decisions import decide
from edgepress.toolkit import conversion
from edgepress.toolkit.data import calibration_rows
from edgepress.toolkit.data.types import DataSet
from edgepress.toolkit.diagnosing.accuracy_result import Remedy
from edgepress.toolkit.diagnosing.remedies import Conversion
from edgepress.toolkit.errors import EdgepressError

Array = npt.NDArray[Any]
TRIED_ITEMS = 200
"""Items on which remedies are tried."""
TRIES = 2
"""Remedies that are tried; each is a conversion."""


def tried(
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
