"""What may fix a file that is inaccurate: conversions of its model, which are tried before they are recommended."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy.typing as npt

from edgepress.converters.diagnosis.examine import answer, answers_of_both
from edgepress.converters.diagnosis.job import AnswerJob, ExamineJob
from edgepress.converters.diagnosis.layer import QuantizedLayer
from edgepress.converters.float_layers import layer_name
from edgepress.converters.numeric.statistics import METHODS
from edgepress.converters.options.conversion import SAMPLES
from edgepress.converters.process.worker import ChildDied, Worker
from edgepress.converters.schemes import SCHEMES, checked_target, finer, schemes_for
from edgepress.runtime.contract import Contract
from edgepress.runtime.decisions import decide, same_answers
from edgepress.toolkit.conversion.convert import convert
from edgepress.toolkit.data import calibration_rows
from edgepress.toolkit.diagnosis.accuracy.job import Subject
from edgepress.toolkit.diagnosis.accuracy.result import Fix
from edgepress.toolkit.errors import EdgepressError
from edgepress.toolkit.escaping import shell_line

Array = npt.NDArray[Any]
TRIED_ITEMS = 200
"""Items on which fixes are tried."""
TRIES = 2
"""Fixes that are tried; each is a conversion."""
FEW = 3
"""Layers that may be kept in float."""
MOST = 0.5
"""Share of the error that they must have together."""
MORE = 1000
"""Calibration items to try if the default number was too small."""
LESS = {
    "int8": "keep weights in 8 bits",
    "int16x8": "keep activations in 16 bits, which most CPUs compute slowly",
    "float16": "keep activations in float",
}
"""What a scheme of a precision rounds less than one that comes before it."""
OPTIONS = {
    "data": "--data",
    "calibration": "--calibration",
    "samples": "--samples",
    "target": "--target",
    "keep_float": "--keep-float",
}
"""Options of `edgepress convert` by argument of `convert`."""


@dataclass(frozen=True)
class ProposedConversion:
    """A conversion that may fix a file.

    Attributes:
        text: What it does, to follow "Try to".
        scheme: What to convert to.
        arguments: Arguments of `convert`, as the command has them, too.
    """

    text: str
    scheme: str
    arguments: Mapping[str, Any] = field(default_factory=dict)

    def command(self, model: str, words: Sequence[str]) -> str:
        """The command that does it, of a model that so many options open."""
        line = ["edgepress", "convert", model, "--to", self.scheme, *words]
        for name, value in self.arguments.items():
            line += [OPTIONS[name], str(value)]
        return shell_line(*line)


def conversions(
    contract: Contract, layers: Sequence[QuantizedLayer], data: str | None, train: int | None = None
) -> list[ProposedConversion]:
    """The conversions that may fix a file, those that fit its worst layer first.

    Unless the file is damaged, none of them makes the same file again; and its target runs the files of all.

    Args:
        contract: Its contract.
        layers: Its layers, those with a fault first.
        data: The data set if the model does not name it.
        train: Number of items that there are to calibrate on; None if that is not known.
    """
    if contract.scheme not in SCHEMES:
        return []
    base: dict[str, Any] = {} if data is None else {"data": data}
    if contract.target != "cpu":
        base["target"] = contract.target
    proposed: dict[tuple[str, str], ProposedConversion] = {}
    runs = schemes_for(checked_target(contract.target))
    for one in _fitting(contract, layers, train):
        if one.scheme in runs:
            arguments = {**base, **one.arguments}
            proposed.setdefault((one.scheme, repr(arguments)), ProposedConversion(one.text, one.scheme, arguments))
    return list(proposed.values())


def _fitting(contract: Contract, layers: Sequence[QuantizedLayer], train: int | None) -> Iterator[ProposedConversion]:
    scheme = SCHEMES[contract.scheme]
    fault = layers[0].fault if layers else ""
    if fault in ("range", "clipped"):
        yield ProposedConversion("convert it again, with the ranges of data like its training data", scheme.name)
    elif layers and layers[0].damaged:
        yield ProposedConversion("convert it again", scheme.name)
    if scheme.repairs and "repairs" not in contract.compression:
        yield ProposedConversion(
            "equalize its channels and correct its biases, as conversions do by default", scheme.name
        )
    ranges = contract.compression.get("calibration", {})
    if scheme.calibrated and not fault and ranges.get("method") != "mse" and ranges.get("trials", 1) < len(METHODS):
        yield ProposedConversion("take ranges by the error of rounding", scheme.name, {"calibration": "mse"})
    if scheme.calibrated and fault in ("range", "clipped", "") and (train is None or train > SAMPLES):
        yield ProposedConversion("calibrate on more items", scheme.name, {"samples": MORE})
    worst = [layer for layer in layers if layer.cost > 0][:FEW]
    if scheme.calibrated and not scheme.is_mixed and sum(layer.cost for layer in worst) >= MOST:
        mixed = f"{scheme.format}-mixed"
        names = "|".join(f"{re.escape(layer_name(layer.name))}$" for layer in worst)
        yield ProposedConversion("keep its costliest layers in float", mixed, {"keep_float": names})
    target = checked_target(contract.target)
    name = finer(scheme, target)
    while name and not SCHEMES[name].is_float32:
        in_float = scheme.arithmetic == "float32"  # then weights alone are rounded
        yield ProposedConversion("keep weights in 16 bits" if in_float else LESS[SCHEMES[name].precision], name)
        name = finer(SCHEMES[name], target)


def try_fixes(
    worker: Worker,
    subject: Subject,
    proposed: Sequence[ProposedConversion],
    job: ExamineJob,
    *,
    folder: Path,
    say: Callable[[str], None],
) -> list[Fix]:
    """The fixes in the order in which they should be used; those that were tried and help come first."""
    opened = subject.opened
    held = opened.val if len(opened.val) else opened.test
    items = held.read(calibration_rows(held, TRIED_ITEMS))
    how: dict[str, Any] = {"hints": subject.hints, **subject.reading.arguments, "verify": False}
    reference: Array | None = None
    helped: list[Fix] = []
    others: list[Fix] = []
    for number, one in enumerate(proposed):
        command = one.command(str(subject.model), subject.words)
        if helped or number >= TRIES:
            others.append(Fix(text=one.text, command=command))
            continue
        say(f"Trying to {one.text}")
        try:
            if reference is None:
                reference, before = _reference(worker, job, items)
            (variant,) = convert(subject.model, one.scheme, out=folder / str(number), **how, **one.arguments)
            if variant.path is None:
                continue
            (scores,) = worker.call(answer, AnswerJob(variant.path, items))
        except (EdgepressError, ChildDied):
            continue
        agreed = _agreement(reference, scores, subject.contract)
        fix = Fix(text=one.text, command=command, tried=True, agreement=agreed, before=before)
        if agreed > before:
            helped.append(fix)
    return [*helped, *others]


def _reference(worker: Worker, job: ExamineJob, items: Array) -> tuple[Array, float]:
    """The model's scores of some items, and the share of them for which the file gives its label."""
    ((reference, scores),) = worker.call(answers_of_both, replace(job, items=partial(_one_batch, items)))
    return reference, _agreement(reference, scores, job.contract)


def _one_batch(items: Array) -> Iterable[Array]:
    return (items,)


def _agreement(reference: Array, scores: Array, contract: Contract) -> float:
    each = contract.task == "multilabel"
    return float(same_answers(*(decide(s, contract, multilabel=each)[0] for s in (reference, scores))).mean())
