"""Evaluate one file on the test split: the file itself, through the engine that will run it.

A `.tflite` or `.onnx` file is answered by an engine in child processes, one per core. Finished answers are kept, so
that an interrupted evaluation can resume (`benchmarking.collect`). A `.keras` file is run by Keras, in a child
process.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, ClassVar, Unpack

import numpy as np
import numpy.typing as npt

from edgepress.converters.contract.hints import Hints
from edgepress.converters.process.worker import ChildDied, Emit, Worker
from edgepress.converters.schemes import BASELINES
from edgepress.converters.sources.keras import load_keras
from edgepress.runtime import load
from edgepress.runtime.errors import parsing
from edgepress.toolkit.arguments import OnProgress
from edgepress.toolkit.data.for_model import data_for, data_record, describe
from edgepress.toolkit.data.objects import Data, source_of
from edgepress.toolkit.data.reading import Reading, ReadingArguments
from edgepress.toolkit.data.types import Split
from edgepress.toolkit.errors import EdgepressError, InputError, ModelFileError
from edgepress.toolkit.measurement.benchmarking.accuracy import accepted_counts, accepted_fields, without_promise
from edgepress.toolkit.measurement.benchmarking.answers import Answers
from edgepress.toolkit.measurement.benchmarking.collect import collect_answers
from edgepress.toolkit.measurement.benchmarking.remarks import facts_of_file
from edgepress.toolkit.reports.notebooks.printed import Printed
from edgepress.toolkit.reports.notebooks.views import evaluation_html
from edgepress.toolkit.results.remarks.checks import CONTRADICTION, remarks
from edgepress.toolkit.results.remarks.facts import Facts, Remark
from edgepress.toolkit.results.run_files import model_in
from edgepress.toolkit.stats.metrics import calibration_error, metrics_of
from edgepress.toolkit.stats.samples import share_interval
from edgepress.toolkit.training.facts import accuracy_of_groups
from edgepress.toolkit.truth import label_counts
from edgepress.toolkit.workers.answer import judge
from edgepress.toolkit.workers.opening import Candidate

FLOAT = ("keras", *BASELINES)
"""Schemes of float models, on whose accuracy quantization has no influence."""
SILENCE_S = 600.0
"""Seconds that Keras may take to open a file, and for each batch, before the evaluation fails."""
BATCH = 64
"""Items that are read and answered at once."""
TIME_CAP_S = 3600.0
"""Seconds that a file may take to answer the test split before the evaluation fails."""


class Evaluation(Printed, dict[str, Any]):
    """The document that `evaluate --json` prints: a dictionary that notebooks and `print` show as tables."""

    def _repr_html_(self) -> str:
        return evaluation_html(self)


def evaluate(
    file: str | Path,
    *,
    data: Data | None = None,
    engine: str | None = None,
    threads: int = 1,
    jobs: int | None = None,
    hints: Hints | None = None,
    cache: Path | None = None,
    on_progress: OnProgress | None = None,
    **reading: Unpack[ReadingArguments],
) -> Evaluation:
    """Accuracy, precision, recall, F1, calibration error and the confusion matrix of a file on the test split.

    Of multi-label data, exact match, mean F1 and mean average precision with 95 % intervals take the place of accuracy
    and confusion (`edgepress.toolkit.stats.multilabel`).

    Args:
        file: A `.keras` file of `edgepress train`, its run's folder, or any `.tflite` or `.onnx` classifier.
        data: The data set, as for training; None opens the one that the file's contract names.
        engine: Engine that runs the file; None takes the first installed one that opens it. Not for `.keras`.
        threads: Number of threads that the engine may use in each process.
        jobs: Number of parallel processes, at least 1; None: number of CPUs / `threads`. Not for `.keras`.
        hints: What you know of a file that edgepress did not make.
        cache: Folder that keeps answers, so that an interrupted evaluation can resume; None keeps none. See
            `edgepress.toolkit.documents.default_cache`. Not for `.keras`.
        on_progress: Called with "accuracy" and the share that is done, 0-1.

    Returns:
        A dictionary of "file", "scheme", "engine", "data", "notes", "ece" (`calibration_error`), "accepted" (of a
        file of `calibrate`: how many answers are accepted and how many of these are wrong, with intervals, also for
        each class, and the risk-coverage curve; else None), the metrics of `metrics_of`, "groups" (of data
        that are split by groups, `group_figures`; else None), and of a float file "remarks": what limits its accuracy
        (docs/advice.md). Notebooks and `print` show it as tables.

    Raises:
        EdgepressError: The file or the data can't be used, or do not fit each other.

    Example:
        >>> from edgepress.toolkit import evaluate
        >>> evaluate("edgepress-demo/variants/model-int8.tflite")["accuracy"] > 0.9
        True
    """
    data = source_of(data)
    path = model_in(file)
    about = describe(path, hints)
    contract = about.contract
    opened, notes = data_for(contract, data, where=path, reading=Reading(**reading), numbered=about.numbered)
    about = about.labelled(opened)
    if path.suffix == ".keras":
        if engine is not None:
            raise InputError(f"{path} is run by Keras; the engine {engine} cannot open it.", "Omit --engine.")
        answers = Answers("keras", *judge(model_scores(path, opened.test), None, multilabel=opened.multilabel))
    else:
        candidate = Candidate(path, engine, threads, contract=about.contract_json)
        (outcome,) = collect_answers(
            [candidate], opened, jobs=jobs, cap_s=TIME_CAP_S, cache=cache, on_progress=on_progress
        )
        if isinstance(outcome, EdgepressError):
            raise outcome
        answers = outcome
    command = ["edgepress", "evaluate", str(path), *([] if engine is None else ["--engine", engine])]
    facts = facts_of_file(path, about.contract, opened, answers.predicted, command=command, hints=hints)
    return Evaluation(
        {
            "file": str(path),
            "scheme": contract.scheme,
            "engine": answers.engine,
            "data": data_record(opened),
            "notes": [*about.notes, *notes, *without_promise(contract, answers.engine)],
            **metrics_of(opened.test.y, answers.predicted, answers.scores_by_label, labels=opened.labels),
            "groups": accuracy_of_groups(opened, answers.predicted),
            "accepted": _count_accepted(answers, opened.test.y, opened.labels),
            "ece": calibration_error(answers.confidence, answers.predicted == opened.test.y),
            "remarks": [remark.to_dict() for remark in _new_steps(facts)] if contract.scheme in FLOAT else [],
        }
    )


def _new_steps(facts: Facts) -> list[Remark]:
    """The remarks; none says to run this command again, unless the data are to be changed before."""
    return [
        replace(remark, command="") if remark.command == facts.look and remark.kind != CONTRADICTION else remark
        for remark in remarks(facts)
    ]


def _count_accepted(answers: Answers, y: npt.NDArray[np.int64], labels: Sequence[str]) -> dict[str, Any] | None:
    """How many answers a calibrated file accepts, with the 95 % intervals of that share and of their error."""
    counts = accepted_counts(answers, y, classes=len(labels))
    if counts is None:
        return None
    fields = accepted_fields(answers, y)
    classes = zip(labels, label_counts(y, len(labels)).tolist(), *(c.tolist() for c in counts), strict=True)
    return {
        **_shares(len(y), fields["accepted"], fields["accepted_wrong"]),
        "per_class": [{"label": label, "items": items, **_shares(items, *rest)} for label, items, *rest in classes],
        "coverage": list(fields["coverage"]),
        "risk": list(fields["risk"]),
    }


def _shares(items: int, count: int, errors: int) -> dict[str, Any]:
    """Accepted items and wrong ones among them, each with its share and the 95 % interval; None of no items."""
    return {
        "count": count,
        "errors": errors,
        "share": asdict(share_interval(count, items)) if items else None,
        "error": asdict(share_interval(errors, count)) if count else None,
    }


def model_scores(path: Path, split: Split) -> npt.NDArray[np.float32]:
    """Answers of a `.keras` or float `.tflite` to all items of a split, in order: float32, (len(split), classes)."""
    try:
        with Worker(silence_s=SILENCE_S) as worker:
            list(worker.call(_open, path))
            return np.concatenate([scores for x, _ in split.batches(BATCH) for scores in worker.call(_score, x)])
    except ChildDied as e:
        raise ModelFileError(f"{path} crashed the process that ran it ({e}).", "Make it again.") from e


class _Opened:
    """The model that a child process has opened."""

    path: ClassVar[Path]
    answer: ClassVar[Callable[[npt.NDArray[Any]], Any]]


def _open(path: Path, emit: Emit) -> None:
    _Opened.path = path
    _Opened.answer = load(path).scores if path.suffix == ".tflite" else load_keras(path).predict_on_batch


def _score(items: npt.NDArray[Any], emit: Emit) -> None:
    with parsing(_Opened.path, failed="can't be run"):
        takes = items if _Opened.path.suffix == ".tflite" else items.astype(np.float32)
        emit(np.asarray(_Opened.answer(takes), np.float32))
