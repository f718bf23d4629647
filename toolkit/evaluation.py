"""Evaluate one file on the test split: the file itself, through the engine that will run it.

A `.tflite` or `.onnx` file is answered by an engine in child processes, one per core. Finished answers are kept, so
that an interrupted evaluation can resume (`benchmarking.collect`). A `.keras` file is run by Keras, in this process.
"""

from __future__ import annotations

from pathlib import Path
from shlex import quote
from typing import Any

from edgepress.converters.contract.hints import Hints
from edgepress.converters.schemes import BASELINES
from edgepress.converters.sources.keras import load_keras
from edgepress.runtime.decisions import decide
from edgepress.toolkit.benchmarking.collect import Answers, collect_answers
from edgepress.toolkit.data.for_model import data_for, data_record, describe
from edgepress.toolkit.errors import EdgepressError, InputError
from edgepress.toolkit.notebooks.views import evaluation_html
from edgepress.toolkit.progress import OnProgress
from edgepress.toolkit.remarks.checks import remarks
from edgepress.toolkit.stats.metrics import calibration_error, classification_metrics
from edgepress.toolkit.training.batches import predict_scores
from edgepress.toolkit.training.file_facts import facts_of_file
from edgepress.toolkit.workers.opening import Candidate

FLOAT = ("keras", *BASELINES)
"""Schemes of float models, on whose accuracy quantization has no influence."""
TIME_CAP_S = 3600.0
"""Seconds that a file may take to answer the test split before the evaluation fails."""


class Evaluation(dict[str, Any]):
    """The document that `evaluate --json` prints: a dictionary that notebooks show as tables."""

    def _repr_html_(self) -> str:
        return evaluation_html(self)


def evaluate(
    file: str | Path,
    *,
    data: str | None = None,
    engine: str | None = None,
    threads: int = 1,
    jobs: int | None = None,
    hints: Hints | None = None,
    skip_unreadable: bool = False,
    cache: Path | None = None,
    on_progress: OnProgress | None = None,
) -> Evaluation:
    """Accuracy, precision, recall, F1, calibration error and the confusion matrix of a file on the test split.

    Args:
        file: A `.keras` file of `edgepress train`, or any `.tflite` or `.onnx` classifier.
        data: The data set, as for training; None opens the one that the file's contract names.
        engine: Engine that runs the file; None takes the first installed one that opens it. Not for `.keras`.
        threads: Number of threads that the engine may use in each process.
        jobs: Number of parallel processes, at least 1; None: number of CPUs / `threads`. Not for `.keras`.
        hints: What you know of a file that edgepress did not make.
        skip_unreadable: Skip images that cannot be read instead of failing.
        cache: Folder that keeps answers, so that an interrupted evaluation can resume; None keeps none. See
            `edgepress.toolkit.caches.default_cache`. Not for `.keras`.
        on_progress: Called with "accuracy" and the share that is done, 0-1.

    Returns:
        A dictionary of "file", "scheme", "engine", "data", "notes", "ece" (`calibration_error`), the metrics of
        `classification_metrics`, and of a float file "remarks": what limits its accuracy (docs/advice.md). Notebooks
        show it as tables.

    Raises:
        EdgepressError: The file or the data can't be used, or do not fit each other.

    Example:
        >>> from edgepress.toolkit import evaluate
        >>> evaluate("edgepress-demo/variants/model-int8.tflite")["accuracy"] > 0.9
        True
    """
    path = Path(file)
    about = describe(path, hints)
    contract = about.contract
    opened, notes = data_for(contract, data, where=path, skip_unreadable=skip_unreadable, numbered=about.numbered)
    about = about.labelled(opened)
    if path.suffix == ".keras":
        if engine is not None:
            raise InputError(f"{path} is run by Keras; the engine {engine} cannot open it.", "Omit --engine.")
        answers = Answers("keras", *decide(predict_scores(load_keras(path), opened.test)))
    else:
        candidate = Candidate(path, engine, threads, contract=about.given)
        (found,) = collect_answers(
            [candidate], opened, jobs=jobs, cap_s=TIME_CAP_S, cache=cache, on_progress=on_progress
        )
        if isinstance(found, EdgepressError):
            raise found
        answers = found
    facts = facts_of_file(
        path, about.contract, opened, answers.predicted, command=f"edgepress evaluate {quote(str(path))}"
    )
    return Evaluation(
        {
            "file": str(path),
            "scheme": contract.scheme,
            "engine": answers.engine,
            "data": data_record(opened),
            "notes": [*about.notes, *notes],
            **classification_metrics(opened.test.y, answers.predicted, labels=opened.labels),
            "ece": calibration_error(answers.confidence, answers.predicted == opened.test.y),
            "remarks": [remark.to_dict() for remark in remarks(facts)] if contract.scheme in FLOAT else [],
        }
    )
