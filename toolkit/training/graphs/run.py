"""Runs that train a float graph, `tune` and `prune`: their folder, their child process, and their report."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

from edgepress.converters.contract.hints import Hints
from edgepress.converters.conversion.conversion import TOOLS, Conversion
from edgepress.converters.errors import CollapseError
from edgepress.converters.files import sha256_of, whole_file
from edgepress.converters.options.conversion import SAMPLES
from edgepress.converters.process.worker import Emit
from edgepress.toolkit.conversion.convert import JUDGED, items_for
from edgepress.toolkit.conversion.plan import plan_for
from edgepress.toolkit.data import calibration_rows
from edgepress.toolkit.data.for_model import require_one_input
from edgepress.toolkit.data.types import Split
from edgepress.toolkit.errors import InputError, TrainingError
from edgepress.toolkit.training import batches, checkpoint, run_folder
from edgepress.toolkit.training.graphs.job import GraphJob, Progress, Trained
from edgepress.toolkit.training.graphs.options import GraphOptions
from edgepress.toolkit.training.label_kinds import kind_of


@dataclass(frozen=True, kw_only=True)
class Run:
    """A run of `tune` or `prune`; attributes that are not explained are arguments of both.

    Attributes:
        verb: What the model is afterwards: "tuned" or "pruned", in the names of the folder and of the file.
        report: Name of the report.
        scratch: Patterns of names of files that only an unfinished run needs, besides the checkpoint.
        options: Their options.
    """

    verb: str
    report: str
    scratch: tuple[str, ...]
    options: GraphOptions
    data: str | None
    hints: Hints | None
    on_note: Callable[[str], None] | None
    on_progress: Callable[[float, str], None] | None


@dataclass(frozen=True)
class GraphResult:
    """The result of a run.

    Attributes:
        model: The float `.tflite`, with its contract inside.
        facts: Figures for JSON.
        history: One row for each part of the training.
    """

    model: Path
    facts: dict[str, Any]
    history: list[dict[str, float]]

    def summary(self) -> dict[str, Any]:
        """The JSON document that the command prints."""
        return {"model": str(self.model), **self.facts, "history": self.history}


EVERY = 1 << 30
"""More items than any data have: all of them are trained on."""


def carry_out(path: Path, run: Run, work: Callable[[Any, Emit], None], job_of: Callable[..., GraphJob]) -> GraphResult:
    """Carry out a run in its folder, or return the result of one that is finished.

    Args:
        path: The model.
        run: Its options.
        work: What the child process does with the job.
        job_of: The type of the job.

    Raises:
        EdgepressError: The model or the data can't be used, or the folder has another run.
        KeyboardInterrupt: Ctrl-C; the message says how to resume.
    """
    note = run.on_note or (lambda text: None)
    progress = run.on_progress or (lambda share, text: None)
    folder = path.parent / run.verb if run.options.out is None else Path(run.options.out)
    with Conversion(path, hints=run.hints) as conversion, contextlib.ExitStack() as lock:
        target = folder / f"{conversion.stem}-{run.verb}.tflite"
        if target.exists() and target.samefile(path):
            raise InputError(
                f"{target} is the model itself, and would be overwritten.", "Name another folder with --out."
            )
        job, content = job_arguments(conversion, target, run, note)
        lock.enter_context(run_folder.only_run(folder))  # only now, so that what can't be trained leaves no folder
        began: dict[str, Any] = {"model": sha256_of(path), "data_sha256": content, "hints": str(run.hints or Hints())}
        began |= job["options"].recorded
        finished = finished_run(target, run, began)
        if finished is not None:
            forget(folder, run.scratch)  # it was killed before it did
            return GraphResult(target, finished, finished.pop("history"))
        trained = Trained({}, [])
        try:
            for report in conversion.call(work, job_of(**job, began_with=began)):
                if isinstance(report, Progress):
                    progress(report.share, report.text)
                else:
                    trained = report
        except CollapseError:
            forget(folder, run.scratch)
            raise
        except KeyboardInterrupt:
            raise KeyboardInterrupt("Stopped. Resume with the same command and --resume.") from None
        result = GraphResult(target, trained.facts, trained.history)
        write_report(folder / run.report, result.summary(), began)
        forget(folder, run.scratch)  # only now: a run that is killed before resumes at the end of its training
        return result


def forget(folder: Path, scratch: Iterable[str]) -> None:
    """Remove what only an unfinished run needs: the checkpoint first, which says that there is one."""
    for path in (folder / checkpoint.NAME, *(path for name in scratch for path in folder.glob(name))):
        path.unlink(missing_ok=True)


def job_arguments(
    conversion: Conversion, target: Path, run: Run, note: Callable[[str], None]
) -> tuple[dict[str, Any], str]:
    """Arguments of a job that follow from the model and its data, and the data's hash.

    Arguments have the names of `GraphJob`'s attributes.

    Args:
        conversion: The open model.
        target: Path of the result.
        run: The options.
        note: Called with each guess about the model.

    Raises:
        EdgepressError: The model or the data can't be used, or there are no data.
    """
    facts = conversion.facts
    hints = run.hints or Hints()
    plan = plan_for(conversion.path, facts, hints, data=run.data, count=EVERY, reading=run.options)
    require_one_input(plan.contract, conversion.path, "tune" if run.verb == "tuned" else "prune")
    for text in (*facts.notes, *plan.notes):
        note(text)
    if plan.data is None or not len(plan.data.train):
        hint = "Give data like its training data with --data."
        raise InputError(f"{conversion.path} does not record its training data, and training needs some.", hint)
    items = items_for(plan.data, SAMPLES, plan.contract)
    train: Split = plan.data.train
    tools = {name: metadata.version(name) for name in TOOLS}
    contract = plan.contract.replace(parent_sha256=sha256_of(conversion.path), tools=tools)
    options = run.options
    sound = plan.data.sound is not None
    chosen = batches.resolve(options.augmentation, contract.input, sound=sound, mixes=batches.can_mix(train))
    arguments = {
        "target": target,
        "options": dataclasses.replace(options, augmentation=chosen),
        "contract": contract,
        "adapter": plan.adapter,
        "calibration": items["calibration"],
        "validation": items.get("validation") or partial(_read_training_items, train),
        "train": train,
        "labelled": contract.task == kind_of(plan.data).task and [*contract.labels] == [*plan.data.labels],
    }
    return arguments, plan.data.sha256


def _read_training_items(train: Split, count: int) -> tuple[Any, None]:
    """Training items, where there are no others."""
    rows = calibration_rows(train, min(count, JUDGED))
    return train.read(rows), None


def finished_run(target: Path, run: Run, began: dict[str, Any]) -> dict[str, Any] | None:
    """The report of a finished run that is resumed; None if there is work to do, after what is there was checked.

    Args:
        target: Path of its result, in its folder.
        run: Its options.
        began: What must be equal for a run to be resumed.

    Raises:
        TrainingError: The folder has a run that is not to be resumed, or one of another kind.
    """
    folder, report, overwrite = target.parent, run.report, run.options.overwrite
    finished = target.exists() and (folder / report).exists() and not overwrite
    state = None if overwrite or finished else checkpoint.load(folder)
    if (state or finished) and not run.options.resume:
        raise TrainingError(
            f"{folder} contains {'an unfinished' if state else 'a finished'} run.",
            "Resume it with --resume, replace it with --overwrite, or name another folder with --out.",
        )
    if state:
        run_folder.require_same(state.began_with, began, folder)
        return None
    if finished:
        figures = run_folder.load_report(folder / report)
        run_folder.require_same(figures.pop("began_with"), began, folder)
        return {name: value for name, value in figures.items() if name != "model"}
    for name in (target.name, report, checkpoint.NAME):
        (folder / name).unlink(missing_ok=True)
    return None


def write_report(path: Path, summary: Mapping[str, Any], began: Mapping[str, Any]) -> None:
    """Write the report of a finished run, which `finished_run` reads, beside its model."""
    with whole_file(path) as temporary:
        text = json.dumps({**summary, "model": Path(summary["model"]).name, "began_with": began}, indent=2)
        temporary.write_text(text, encoding="utf-8")
