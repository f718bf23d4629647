"""The part of a diagnosis that runs in a child process: open both files, match them, and measure the layers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from edgepress.converters.arrays import Array
from edgepress.converters.conversion.float_graph import get_open_model
from edgepress.converters.diagnosis.aligning import compare_graphs
from edgepress.converters.diagnosis.damage import extents_of
from edgepress.converters.diagnosis.job import AnswerJob, Examined, ExamineJob, Share
from edgepress.converters.diagnosis.layers import measure_layers
from edgepress.converters.numeric.metrics import Decision
from edgepress.converters.process.worker import Emit
from edgepress.converters.ptq.score import macs
from edgepress.runtime import Model, load
from edgepress.runtime.decisions import softmax, two_columns
from edgepress.runtime.errors import parsing

DECISIONS: dict[str, Decision] = {"softmax": "one", "logits": "one", "sigmoid": "each", "multilabel": "each"}
"""What is decided from the scores of a task; from others, nothing."""
EXTENT_ITEMS = 256
"""Items on which ranges of values are measured, a pass over the graph each."""
BUDGET = 1e12
"""Multiply-accumulates that the layers may take, about half a minute."""
FEWEST = 8
"""The least number of items."""


def examine(job: ExamineJob, emit: Emit) -> None:
    """Do an `ExamineJob`."""
    decision = DECISIONS.get(job.contract.task, "none")
    model = load(job.file, contract=job.contract)
    reference, scores = _both(job, model)
    emit(Share("answers", 1.0))
    with parsing(job.file, "Convert the model again.", failed="can't be compared with its model"):
        program, held, notes, graph = compare_graphs(job)
    count = max(FEWEST, int(BUDGET / (macs(graph) * (len(program.steps) + 1) / 2 + 1)))
    items = job.layer_items[:: max(1, -(-len(job.layer_items) // count))]
    extents = extents_of(program, _take_items(job.items(), max(len(items), min(EXTENT_ITEMS, count))))
    layers = measure_layers(
        program, held, items, decision=decision, on_progress=lambda share: emit(Share("layers", share)), extents=extents
    )
    known = [step.output for step in program.steps]
    emit(
        Examined(
            model.engine,
            reference,
            scores,
            layers,
            len(items),
            len(known),
            sum(name in held.tensors for name in known),
            _reference(job, items),
            _answers(model, items),
            not held.unknown,
            notes,
        )
    )


def answers_of_both(job: ExamineJob, emit: Emit) -> None:
    """Report the model's and the file's scores of the items of a job: two arrays (n, labels)."""
    emit(_both(job, load(job.file, contract=job.contract)))


def _take_items(batches: Iterable[Array], count: int) -> Iterator[Array]:
    """The first items of some batches."""
    for batch in batches:
        yield batch[:count]
        count -= len(batch)
        if count <= 0:
            return


def _both(job: ExamineJob, model: Model) -> tuple[Array, Array]:
    reference = []
    scores = []
    for batch in job.items():
        reference.append(_reference(job, batch))
        scores.append(_answers(model, batch))
    return np.concatenate(reference), np.concatenate(scores)


def answer(job: AnswerJob, emit: Emit) -> None:
    """Do an `AnswerJob`."""
    emit(_answers(load(job.file), job.items))


def _answers(model: Model, items: Array) -> Array:
    return np.concatenate([model.answer(items[i : i + 1]).reshape(1, -1) for i in range(len(items))])


def _reference(job: ExamineJob, batch: Array) -> Array:
    """The scores that the file should give, as it gives them."""
    scores = job.adapter.finish(get_open_model().answer(job.adapter.apply(batch)))
    if job.logits and job.contract.task == "logits":
        return softmax(scores)
    return two_columns(scores) if job.contract.task == "sigmoid" else scores
