"""Why a quantized file is inaccurate: layer by layer and class by class beside its model, and what to try first."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Unpack

import numpy as np
import numpy.typing as npt

from edgepress.converters.contract.hints import Hints
from edgepress.converters.conversion.float_graph import OpenJob, open_model
from edgepress.converters.diagnosis.examine import DECISIONS, examine
from edgepress.converters.diagnosis.job import Examined, ExamineJob, Share
from edgepress.converters.numeric.metrics import Decision, agreement, decisions_of
from edgepress.converters.process.scratch import ScratchFolder
from edgepress.converters.process.worker import ChildDied, Worker
from edgepress.converters.schemes import SCHEMES
from edgepress.runtime.decisions import decide, same_answers
from edgepress.runtime.filetypes import kind_of
from edgepress.toolkit.arguments import OnProgress
from edgepress.toolkit.data.objects import Data, Model, source_of
from edgepress.toolkit.data.reading import Reading, ReadingArguments
from edgepress.toolkit.data.types import DataSet, Split
from edgepress.toolkit.diagnosis.accuracy.fixes import conversions, try_fixes
from edgepress.toolkit.diagnosis.accuracy.job import ANSWERED, Subject, describe_subject, doubts, job_for
from edgepress.toolkit.diagnosis.accuracy.result import AccuracyDiagnosis, ClassLoss, Fix, sentences
from edgepress.toolkit.errors import InputError, ModelFileError
from edgepress.toolkit.escaping import shell_line
from edgepress.toolkit.results.run_files import model_in
from edgepress.toolkit.stats.intervals import class_drops, paired_drop
from edgepress.toolkit.truth import label_hits, labels_by_item

SILENCE_S = 1800.0
"""Seconds that one part of the work may take."""
MEASURED = 64
"""Items on which layers are measured."""
SOUND = 0.995
"""Agreement from which on nothing is tried."""
APART = 0.05
"""Share of the decisions by which the engine must lose more than the simulation."""
CHANCE = 2
"""Standard errors by which it must, too."""


def diagnose_accuracy(
    model: Model,
    file: str | Path,
    *,
    data: Data | None = None,
    hints: Hints | None = None,
    test_items: int = ANSWERED,
    samples: int = MEASURED,
    attempt: bool = True,
    on_note: Callable[[str], None] | None = None,
    on_start: Callable[[str], None] | None = None,
    on_progress: OnProgress | None = None,
    **reading: Unpack[ReadingArguments],
) -> AccuracyDiagnosis:
    """Say why a quantized file answers otherwise than its model, and what to try first.

    Each layer is rounded alone as the file does it, and what that changes in the answers is measured; so the layer that
    makes the error is found, and not those that only pass it on.

    Args:
        model: The model that the file was converted from, or its float `.tflite` or `.onnx`.
        file: The quantized `.tflite` or `.onnx`.
        data: Data with the model's classes; None opens those that the file's contract names.
        hints: What you know of a model that edgepress did not train, as for its conversion.
        test_items: Number of test items that both answer, spread over the classes.
        samples: Number of them on which layers are measured; large nets take fewer.
        attempt: Whether fixes are tried before they are recommended, by converting the model again.
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
    data = source_of(data)
    path = model_in(model)
    other = Path(file)
    hints = hints or Hints()
    say = on_start or (lambda text: None)
    if test_items < 1 or samples < 1:
        raise InputError(f"test_items is {test_items} and samples is {samples}; at least 1 is needed.")
    kind_of(path)
    subject, notes = describe_subject(path, other, hints, data=data, items=test_items, reading=Reading(**reading))
    with Worker(silence_s=SILENCE_S) as worker, ScratchFolder() as folder:
        try:
            say(f"Opening {path}")
            (facts,) = worker.call(open_model, OpenJob(path, hints))
            job = job_for(subject, facts, Path(folder), layer_items=samples)
            say(f"Comparing {other} with it, layer by layer")
            examined = _examine(worker, job, on_progress)
            diagnosis = _diagnosis(subject, examined, (*notes, *doubts(subject, facts, examined)))
            proposed = conversions(subject.contract, examined.measured.layers, data, len(subject.opened.train))
            if (diagnosis.agreement or 0.0) < SOUND and proposed and attempt:
                fixes = try_fixes(worker, subject, proposed, job, folder=Path(folder), say=say)
            else:
                fixes = [Fix(text=one.text, command=one.command(str(path), subject.words)) for one in proposed]
        except ChildDied as e:
            raise ModelFileError(
                f"{path} or {other} crashed the process that compared them: {e}.",
                "One of them is damaged: copy it again.",
            ) from e
    diagnosis = replace(diagnosis, fixes=(*fixes, *_training(subject)))
    return replace(diagnosis, text=sentences(diagnosis, subject.opened.labels))


def _training(subject: Subject) -> list[Fix]:
    """The fix of last resort."""
    scheme = SCHEMES.get(subject.contract.scheme)
    if scheme is None or scheme.repairs not in ("int8", "int4"):
        return []
    words = ["edgepress", "tune", str(subject.model), *(["--data", subject.data] if subject.data else [])]
    words += ["--bits", "4"] if scheme.repairs == "int4" else []
    words += subject.words
    return [Fix(text="train the quantized net to answer like the model", command=shell_line(*words))]


def _examine(worker: Worker, job: ExamineJob, on_progress: OnProgress | None) -> Examined:
    examined: Examined | None = None
    for report in worker.call(examine, job):
        if isinstance(report, Examined):
            examined = report
        elif isinstance(report, Share) and report.part == "layers" and on_progress:
            on_progress(report.part, report.done)
    assert examined is not None
    return examined


def _diagnosis(subject: Subject, examined: Examined, notes: tuple[str, ...]) -> AccuracyDiagnosis:
    contract = subject.contract
    opened = subject.opened
    split = subject.split
    labelled = contract.task != "none" and bool(opened.labels)
    each = opened.multilabel if labelled else contract.task == "multilabel"
    decided = [decide(scores, contract, multilabel=each)[0] for scores in (examined.reference, examined.scores)]
    right = [same_answers(answers, split.y) for answers in decided] if labelled else []
    drop = paired_drop(right[0], right[1]) if labelled else None
    agreed = float(same_answers(*decided).mean()) if contract.task != "none" else None
    decision = DECISIONS.get(contract.task, "none")
    simulated = None
    if decision != "none":
        simulated = agreement(examined.measured.scores, examined.measured.together, decision, threshold=0)
    layer_scores = (examined.layer_reference, examined.layer_scores)
    reference, answers = (decide(scores, contract, multilabel=each)[0] for scores in layer_scores)
    same = np.asarray(reference == answers, np.bool_)  # each label by itself, as in the simulation
    return AccuracyDiagnosis(
        model=str(subject.model),
        file=str(subject.file),
        scheme=contract.scheme if contract.scheme in SCHEMES else "",
        engine=examined.engine,
        data=opened.source,
        items=len(split),
        accuracy=float(right[1].mean()) if labelled else None,
        model_accuracy=float(right[0].mean()) if labelled else None,
        trained_accuracy=contract.test_accuracy,
        drop_pp=drop.estimate if drop else None,
        drop_low_pp=drop.low if drop else None,
        drop_high_pp=drop.high if drop else None,
        agreement=agreed,
        simulated_agreement=simulated,
        text="",
        layers=examined.measured.layers,
        layer_items=examined.items,
        classes=tuple(_classes(opened, split, decided)) if labelled else (),
        fixes=(),
        notes=notes,
        layer_agreement=float(same.mean()) if decision != "none" else None,
        engine_differs=decision != "none" and examined.whole and _lost_by_engine(examined, same, decision),
    )


def _lost_by_engine(examined: Examined, same: npt.NDArray[np.bool_], decision: Decision) -> bool:
    """Whether more decisions are lost by the engine than in the simulation, by more than chance and `APART`."""
    reference, together = (
        decisions_of(scores, decision, threshold=0) for scores in (examined.measured.scores, examined.measured.together)
    )
    simulated = reference == together
    if simulated.shape != same.shape:
        return False
    lost = int((simulated & ~same).sum())
    won = int((same & ~simulated).sum())
    return lost - won > max(APART * same.size, CHANCE * math.sqrt(lost + won))


def _classes(opened: DataSet, split: Split, decided: list[npt.NDArray[np.int64]]) -> list[ClassLoss]:
    losses = []
    model, file = (label_hits(answers, split.y) for answers in decided)
    labels = labels_by_item(split.y)[1]
    drops = class_drops(model, file, labels, classes=len(opened.labels))
    for number, drop in enumerate(drops):
        if drop is not None:
            own = labels == number
            losses.append(
                ClassLoss(
                    label=opened.labels[number],
                    support=int(own.sum()),
                    model=float(model[own].mean()),
                    file=float(file[own].mean()),
                    drop_pp=drop.estimate,
                    drop_low_pp=drop.low,
                    drop_high_pp=drop.high,
                )
            )
    return sorted(losses, key=lambda loss: -loss.drop_pp)
