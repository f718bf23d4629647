"""Calibrate files: what their probabilities mean, and which answers are accepted with a promise; `calibrate`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Unpack

import numpy as np
import numpy.typing as npt

from edgepress.converters.process.worker import ChildDied, Worker
from edgepress.runtime.decisions import decide
from edgepress.runtime.engines import PACKAGED
from edgepress.runtime.sessions import file_format
from edgepress.toolkit.arguments import OnProgress, check_arguments
from edgepress.toolkit.conversion.inspection import write_annotated
from edgepress.toolkit.data import open_data
from edgepress.toolkit.data.for_model import Described, data_for, describe, without_labels
from edgepress.toolkit.data.objects import Data, opened_or_named, source_of
from edgepress.toolkit.data.reading import STRICT, Reading, ReadingArguments
from edgepress.toolkit.data.remembered import reading_options
from edgepress.toolkit.data.types import DataSet, notes_of_skipped
from edgepress.toolkit.errors import InputError
from edgepress.toolkit.machine.environments import engine_for, python_for
from edgepress.toolkit.measurement.benchmarking.answers import crash_error
from edgepress.toolkit.measurement.benchmarking.collect import shards
from edgepress.toolkit.measurement.calibrating.fit import Fit, fit
from edgepress.toolkit.measurement.calibrating.references import Wish
from edgepress.toolkit.text import SHARE, parse
from edgepress.toolkit.workers.answer import score_items
from edgepress.toolkit.workers.opening import Candidate, Opening, open_candidate

FOLDER = "calibrated"
"""Folder beside the first file that the calibrated copies are written to, unless another is given."""
CONFIDENCE = 0.95
"""Probability with which a promise holds, 0-1, unless the user sets it."""
SILENCE_S = 600.0
"""Seconds that a file may take to open, or to answer one shard."""
MOST_UNKNOWN = 5000
"""Most unknown items that are answered."""
TASKS = ("softmax", "logits", "sigmoid")
"""Tasks whose classes exclude each other."""


@dataclass(frozen=True)
class Calibrated:
    """A calibrated file.

    Attributes:
        file: The file.
        path: The copy that carries the calibration; None if nothing can be promised.
        earlier: Without `path`, the copy of an earlier calibration that is still there; None if there is none.
        engine: The engine that answered.
        data: Name or path of the data.
        notes: What a user should know of the data.
        fit: What was fitted, and what it is worth.
        wish: What was to be promised.
        ends: Whether the file itself ends in a softmax or sigmoid.
    """

    file: Path
    path: Path | None
    earlier: Path | None
    engine: str
    data: str
    notes: tuple[str, ...]
    fit: Fit
    wish: Wish
    ends: bool = True

    def to_dict(self) -> dict[str, Any]:
        """The document that `calibrate --json` prints for a file; without the stored references."""
        document = asdict(self.fit)
        if unknown := document["limits"]["unknown"]:
            del unknown["references"]
        return {
            "file": str(self.file),
            "calibrated": None if self.path is None else str(self.path),
            "earlier": None if self.earlier is None else str(self.earlier),
            "engine": self.engine,
            "data": self.data,
            **asdict(self.wish),
            **document,
            "notes": list(self.notes),
        }


@check_arguments
def calibrate(
    *files: str | Path,
    max_error: str | float | None = None,
    max_rejected: str | float | None = None,
    data: Data | None = None,
    unknown: Data | None = None,
    confidence: str | float = CONFIDENCE,
    engine: str | None = None,
    out: str | Path | None = None,
    on_progress: OnProgress | None = None,
    **reading: Unpack[ReadingArguments],
) -> list[Calibrated]:
    """Measure what answers are worth, and write copies of files that reject what they are not sure of.

    The threshold belongs to a file and its engine: another file of the same model has another one. All test items are
    used: all fit the probabilities, a quarter chooses thresholds and references, the rest measures the promise.

    Args:
        files: `.tflite` or `.onnx` classifiers with labels that exclude each other.
        max_error: Promise that at most this share of accepted answers is wrong, such as "2%" or 0.02.
        max_rejected: Promise instead that at most this share of known items is rejected.
        data: The data set, or an opened one, whose test split is used; None opens the one that a file's contract names.
        unknown: A folder or data set of items that are of none of the labels.
        confidence: Probability that a promise holds.
        engine: Engine that runs the files; None takes the first installed one.
        out: Folder for the copies; None: `calibrated` beside the first file.
        on_progress: Called with "scores" and the share that is done, 0-1.

    Returns:
        One result a file, in their order; one without `path` names the limit that could be promised.

    Raises:
        EdgepressError: A file, the data or an option can't be used.

    Example:
        >>> from edgepress.toolkit import calibrate
        >>> calibrate("edgepress-demo/variants/model-int8.tflite", max_error="5%")[0].fit.accuracy > 0.9
        True
    """
    data = opened_or_named(data)
    unknown = source_of(unknown)
    wish = _wish(max_error, max_rejected, confidence)
    paths = [Path(file) for file in files]
    if not paths:
        raise InputError("No file is given.", "Name .tflite or .onnx files.")
    subjects = [_describe(path, data, unknown, engine=engine, reading=Reading(**reading)) for path in paths]
    targets = targets_of(paths, paths[0].parent / FOLDER if out is None else Path(out))
    results = []
    for number, (subject, target) in enumerate(zip(subjects, targets, strict=True)):

        def progress(share: float, number: int = number) -> None:
            if on_progress is not None:
                on_progress("scores", (number + share) / len(paths))

        results.append(_calibrate(subject, target, wish, progress))
    return results


def answers_to(file: Path, data: DataSet, *, engine: str) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Whether each answer of a calibrated file to test items is right, and whether it is accepted: bool, shape (N,).

    Args:
        file: A copy that `calibrate` wrote.
        data: The data, of its labels and input.
        engine: The engine that it was calibrated on.

    Raises:
        EdgepressError: The file can't be opened.
    """
    subject = _describe(file, data, None, engine=engine, reading=STRICT)
    contract = subject.about.contract
    scores = _scores(subject.candidate, data, lambda count: None)
    accepted = contract.limits.accepted(scores)
    return decide(scores, contract)[0] == data.test.y, np.ones(len(scores), np.bool_) if accepted is None else accepted


@dataclass(frozen=True)
class _Subject:
    """A file that is to be calibrated, with its data.

    Attributes:
        about: Its contract.
        candidate: The file on its engine.
        opened: The data.
        others: Items of none of the labels, in the place of the test items; None if there are none.
        notes: What a user should know of them.
    """

    about: Described
    candidate: Candidate
    opened: DataSet
    others: DataSet | None
    notes: tuple[str, ...]


def targets_of(paths: Sequence[Path], folder: Path) -> list[Path]:
    """The copies, in the order of the files; checked before anything is computed."""
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is not a folder.", "Name a folder with --out.")
    beside = [folder.exists() and path.parent.exists() and folder.samefile(path.parent) for path in paths]
    names = [f"{p.stem}-calibrated{p.suffix}" if near else p.name for p, near in zip(paths, beside, strict=True)]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise InputError(f"Several copies would be {folder / twice[0]}.", "Calibrate one file at a time.")
    return [folder / name for name in names]


def _wish(max_error: str | float | None, max_rejected: str | float | None, confidence: str | float) -> Wish:
    if (max_error is None) == (max_rejected is None):
        raise InputError(
            "One promise is needed." if max_error is None else "Only one promise can be kept at a time.",
            "Give either --max-error 2% (of accepted answers) or --max-rejected 5% (of known items).",
        )
    shares = {}
    options = {"--max-error": max_error, "--max-rejected": max_rejected, "--confidence": confidence}
    for option, value in options.items():
        share = parse(option, value, SHARE)
        if share is not None and share >= 1:  # `parse` refuses 0
            raise InputError(f"{option} is {value!r}; accepted: a share above 0 and below 1, such as 2%.")
        shares[option] = share
    limit = shares["--max-rejected"] if max_error is None else shares["--max-error"]
    assert limit is not None
    sure = shares["--confidence"]
    assert sure is not None
    return Wish("rejected" if max_error is None else "error", limit, sure)


def _describe(
    path: Path,
    source: str | DataSet | None,
    unknown: str | Path | None,
    *,
    engine: str | None,
    reading: Reading,
) -> _Subject:
    format = file_format(path)
    about = describe(path)
    if about.contract.task not in TASKS:
        raise InputError(
            f"{path} has the task {about.contract.task}; accepted: {', '.join(TASKS)}.",
            "Classes must exclude each other; a decision threshold for several labels: edgepress annotate --threshold.",
        )
    if engine is not None and engine not in PACKAGED:
        raise InputError(f"The engine {engine!r} is unknown.", f"Accepted: {', '.join(PACKAGED)}.")
    name = engine_for(path, format, engine)
    opened, notes = data_for(about.contract, source, where=path, reading=reading, numbered=about.numbered)
    about = about.labelled(opened)
    others = None
    if unknown is not None:
        others = _open_unknown(str(unknown), opened, reading=reading)
        notes += notes_of_skipped(others.skipped)
    return _Subject(about, Candidate(path, name, contract=about.contract_json), opened, others, (*about.notes, *notes))


def _calibrate(subject: _Subject, target: Path, wish: Wish, progress: Callable[[float], None]) -> Calibrated:
    candidate = subject.candidate
    opened = subject.opened
    contract = subject.about.contract
    others = subject.others
    total = len(opened.test) + (len(others.test) if others else 0)
    scores = _scores(candidate, opened, lambda count: progress(count / total))
    unlike = None
    if others is not None:
        unlike = _scores(candidate, others, lambda count: progress((len(scores) + count) / total))
    name = str(candidate.engine)
    result = fit(
        scores,
        opened.test.y,
        wish,
        engine=name,
        data=opened.source,
        decided=decide(scores, contract)[0],
        unknown=unlike,
    )
    limits = result.limits
    promised = limits.accept is not None
    if promised:
        calibrated = contract.replace(probability=limits.probability, accept=limits.accept, unknown=limits.unknown)
        calibrated = calibrated.replace(drift=result.drift, listen=None)  # its threshold is of other probabilities
        write_annotated(candidate.file, calibrated, target)
    return Calibrated(
        candidate.file,
        target if promised else None,
        target if not promised and target.exists() else None,
        name,
        opened.source,
        subject.notes,
        result,
        wish,
        contract.task != "logits" and not (contract.adapter is not None and contract.adapter.sigmoid),
    )


def _open_unknown(source: str, data: DataSet, *, reading: Reading) -> DataSet:
    """Items of none of the labels, in the place of the test items; their own labels are not read."""
    same = reading_options(source, data.table, data.sound)
    opened = open_data(source, input=data.input, purpose="calibration", **reading.arguments, **same)
    return replace(without_labels(opened, MOST_UNKNOWN), labels=data.labels)


def _scores(candidate: Candidate, data: DataSet, on_items: Any) -> npt.NDArray[np.float32]:
    """Scores of the test items, float32, shape (N, labels), by a process of its own."""
    scores = np.empty((len(data.test), len(data.labels)), np.float32)
    done = 0
    try:
        with Worker(python=python_for(candidate.engine or ""), silence_s=SILENCE_S) as worker:
            (_,) = worker.call(open_candidate, Opening(candidate, data.labels, data.input))
            for rows in shards(data):
                (part,) = worker.call(score_items, np.asarray(data.test.read(rows)))
                scores[rows] = part
                done += len(part)
                on_items(done)
    except ChildDied as e:
        raise crash_error(candidate, e) from e
    return scores
