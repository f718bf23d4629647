"""The part of a diagnosis that runs in a child process: open both files, match them, and measure the layers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgepress.converters.adapter import InputAdapter
from edgepress.converters.calibration import Batches
from edgepress.converters.diagnosis.harm import Choice
from edgepress.converters.diagnosis.layer import WRONG, weights_error
from edgepress.converters.diagnosis.layers import Measured, measured
from edgepress.converters.diagnosis.matching import Matched, by_name, by_reference, by_value
from edgepress.converters.diagnosis.onnx_file import OnnxFile
from edgepress.converters.diagnosis.tflite_file import TFLiteFile
from edgepress.converters.errors import ConversionError
from edgepress.converters.graph.program import Program
from edgepress.converters.graph.step import UnknownOperationError
from edgepress.converters.opening import opened
from edgepress.converters.rewrites.table import Rewrite, rewrites_for, rewritten_onnx, rewritten_tflite
from edgepress.converters.schemes import SCHEMES, Tuning
from edgepress.converters.sources.base import Onnx2tf
from edgepress.converters.to_onnx import interface
from edgepress.converters.to_onnx.from_tflite import float_onnx_of
from edgepress.converters.to_onnx.quantize import prepared
from edgepress.converters.tuning.judge import macs
from edgepress.converters.waist import Waist, WaistJob, make_waist
from edgepress.converters.worker import Emit
from edgepress.runtime import Model, load
from edgepress.runtime.contract import Contract
from edgepress.runtime.decisions import softmax, two_columns
from edgepress.runtime.errors import InputError, parsing

Array = npt.NDArray[Any]
CHOICES: dict[str, Choice] = {"softmax": "one", "logits": "one", "sigmoid": "each", "multilabel": "each"}
"""What is decided from the scores of a task; from others, nothing."""
BUDGET, FEWEST = 1e12, 8
"""Multiply-accumulates that the layers may take, about half a minute, and the least number of items."""
FEW = 4
"""Number of items on which tensors are matched."""
MATCHED = 0.5
"""Share of the tensors of a graph that a file must have for its names to be used."""


@dataclass(frozen=True)
class ExamineJob:
    """Compare the model that is open with a file that was made of it, and report an `Examined`.

    Attributes:
        file: The quantized file.
        contract: Its contract, or what is known of a file without one.
        adapter: The operations before and after the model.
        items: Returns the items that both answer, in batches (n, *item shape).
        layer_items: The items on which layers are measured, (n, *item shape); fewer are used for large nets.
        onnx2tf: What makes TFLite files of ONNX models; other models do not need it.
        waist: How the float graph is tuned, if the file says that it was.
    """

    file: Path
    contract: Contract
    adapter: InputAdapter
    items: Batches
    layer_items: Array
    onnx2tf: Onnx2tf = None
    waist: WaistJob | None = None


@dataclass(frozen=True)
class AnswerJob:
    """Answer items with a file, and report the scores: float32, (n, outputs).

    Attributes:
        file: The file.
        items: Items (n, *item shape).
    """

    file: Path
    items: Array


@dataclass(frozen=True)
class Share:
    """How much of a part of the work is done, 0-1."""

    part: str
    done: float


@dataclass(frozen=True)
class Examined:
    """What was found.

    Attributes:
        engine: The engine that ran the file.
        truth: The model's scores as the file should give them, (n, labels).
        scores: The file's scores.
        measured: The layers.
        items: Number of items on which these were measured.
        steps: Number of operations of the float graph.
        matched: How many of their results were found in the file.
        notes: What a reader must know beside that.
    """

    engine: str
    truth: Array
    scores: Array
    measured: Measured
    items: int
    steps: int
    matched: int
    notes: tuple[str, ...] = ()


def examine(job: ExamineJob, emit: Emit) -> None:
    """Do an `ExamineJob`."""
    choice = CHOICES.get(job.contract.task, "none")
    model = load(job.file, contract=job.contract)
    truth, scores = _both(job, model)
    emit(Share("answers", 1.0))
    with parsing(job.file, "Convert the model again.", failed="can't be compared with its model"):
        program, held, notes, graph = _compared(job)
    count = max(FEWEST, int(BUDGET / (macs(graph) * (len(program.steps) + 1) / 2 + 1)))
    items = job.layer_items[:: max(1, -(-len(job.layer_items) // count))]
    found = measured(program, held, items, choice, lambda share: emit(Share("layers", share)))
    known = [step.output for step in program.steps]
    emit(
        Examined(
            model.engine,
            truth,
            scores,
            found,
            len(items),
            len(known),
            sum(name in held.tensors for name in known),
            notes,
        )
    )


def answers_of_both(job: ExamineJob, emit: Emit) -> None:
    """Report the model's and the file's scores of the items of a job: two arrays (n, labels)."""
    emit(_both(job, load(job.file, contract=job.contract)))


def _both(job: ExamineJob, model: Model) -> tuple[Array, Array]:
    truth, scores = [], []
    for batch in job.items():
        truth.append(_truth(job, batch))
        scores.append(_answers(model, batch))
    return np.concatenate(truth), np.concatenate(scores)


def answer(job: AnswerJob, emit: Emit) -> None:
    """Do an `AnswerJob`."""
    emit(_answers(load(job.file), job.items))


def _answers(model: Model, items: Array) -> Array:
    return np.concatenate([model.answer(items[i : i + 1]).reshape(1, -1) for i in range(len(items))])


def _truth(job: ExamineJob, batch: Array) -> Array:
    """The scores that the file should give, as it gives them."""
    found = job.adapter.finish(opened().answer(job.adapter.apply(batch)))
    if job.contract.task == "logits":
        return softmax(found)
    return two_columns(found) if job.contract.task == "sigmoid" else found


def _compared(job: ExamineJob) -> tuple[Program, Matched, tuple[str, ...], bytes]:
    """The float graph as a program, what the file makes of it, notes, and the float graph.

    Raises:
        InputError: The file is not quantized, or has too little in common with the model.
    """
    graph = opened().tflite(job.adapter, job.onnx2tf)
    file = _opened_file(job)
    program, held = _matched(job, file, graph, "")
    notes: list[str] = []
    if job.waist is not None:
        found: list[Waist] = []
        make_waist(job.waist, found.append)
        tuning = SCHEMES[job.contract.scheme].tuning
        if found and tuning in found[-1].tuned:
            program, held = _matched(job, file, found[-1].graph(tuning), tuning)
    if job.contract.tuning.get("repairs") and _has_other_weights(program, held):
        program, held = _of_the_file(program, held)
        notes.append(
            "the file was repaired when it was made, with other data or options than here: what rounding its weights "
            "costs is not known, and its ranges are compared with the values that its own weights give"
        )
    if not held.roundings and not held.constants and not notes:
        raise InputError(
            f"{job.file} is not quantized: its weights and values are those of the float model.",
            "Give a quantized variant; edgepress compare shows how any two files differ.",
        )
    matched = sum(step.output in held.tensors or step.output in held.roundings for step in program.steps)
    if not matched and not held.constants:
        raise InputError(
            f"No tensor of {job.file} could be matched with one of the model.",
            "Give the model that it was converted from, with the options that it was converted with.",
        )
    if held.unknown:
        some = ", ".join(held.unknown[:3]) + (", ..." if len(held.unknown) > 3 else "")
        notes.append(f"the weights of {len(held.unknown)} layers were not found in the file: {some}")
    return program, held, tuple(notes), graph


def _opened_file(job: ExamineJob) -> TFLiteFile | OnnxFile:
    if job.file.suffix == ".tflite":
        return TFLiteFile(job.file.read_bytes())
    import onnx

    return OnnxFile(onnx.load(str(job.file)))


def _rewrites(job: ExamineJob) -> tuple[Rewrite, ...]:
    scheme, target = SCHEMES.get(job.contract.scheme), job.contract.target
    rows = rewrites_for(scheme, target, "float") if scheme is not None else ()  # type: ignore[arg-type]
    return tuple(row for row in rows if row.name in job.contract.rewrites)


def _matched(job: ExamineJob, file: TFLiteFile | OnnxFile, graph: bytes, tuning: Tuning) -> tuple[Program, Matched]:
    """The float graph as a program and the file's tensors in it; `graph` is tuned by `tuning`."""
    few = job.layer_items[:FEW]
    if isinstance(file, TFLiteFile):
        program = _program(rewritten_tflite(graph, _rewrites(job))[0])
        if _share(program, file.names) >= MATCHED:
            return program, by_name(program, file)
        return program, by_value(program, file, _values(program, few), file.values(few, file.names))
    program = _program(graph)
    mine = _values(program, few)
    for reference in _references(job, graph, tuning):
        if len({*reference.names} & {*file.names}) >= MATCHED * len(file.names):
            theirs = reference.values(few, reference.names)
            return program, by_reference(program, file, reference, mine, theirs)
    return program, by_value(program, file, mine, file.values(few, file.names))


def _references(job: ExamineJob, graph: bytes, tuning: Tuning) -> Iterator[OnnxFile]:
    """The float ONNX models that the file may be made of, before quantization."""
    bare = InputAdapter(job.adapter.item, job.adapter.item.shape)  # the graph contains the adapter
    makers: list[Callable[[], Any]] = [partial(opened().onnx, job.adapter)] if not tuning else []
    makers.append(lambda: interface.adapted(float_onnx_of(graph), bare))
    for make in makers:
        try:
            yield OnnxFile(prepared(rewritten_onnx(make(), _rewrites(job))[0]))
        except ConversionError:
            continue


def _program(graph: bytes) -> Program:
    try:
        return Program(graph)
    except UnknownOperationError as e:
        raise InputError(
            f"The layers of this model can't be measured one by one: {e}.",
            "edgepress compare shows what the file loses by class.",
        ) from e


def _values(program: Program, items: Array) -> dict[str, Array]:
    rows = [program.run(item[np.newaxis].astype(program.dtype)) for item in items]
    return {n: np.concatenate([np.asarray(r[n]) for r in rows]) for n in rows[0] if len(rows[0][n].shape)}


def _share(program: Program, names: Sequence[str] | Any) -> float:
    known, held = [step.output for step in program.steps], {*names}
    return sum(name in held for name in known) / max(len(known), 1)


def _has_other_weights(program: Program, held: Matched) -> bool:
    """Whether weights of the file are not those of the graph, rounded."""
    errors = [weights_error(step, held) for step in program.weighted()]
    return any(error is not None and error > WRONG for error in errors)


def _of_the_file(program: Program, held: Matched) -> tuple[Program, Matched]:
    """A float graph with the weights of the file, of which nothing but its values is rounded then."""
    return _program(program.with_constants(held.constants)), replace(held, constants={})
