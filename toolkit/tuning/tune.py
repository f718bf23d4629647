"""Tune a classifier for quantization: `tune`, which the command of the same name calls."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any, get_args

from edgepress.converters.contract.hints import Hints
from edgepress.converters.conversion import TOOLS, Conversion
from edgepress.converters.files import whole_file
from edgepress.converters.sources.keras import sha256_of
from edgepress.toolkit import conversion as conversions
from edgepress.toolkit.data import calibration_rows
from edgepress.toolkit.data.types import Split
from edgepress.toolkit.engines.environments import onnx2tf_python
from edgepress.toolkit.errors import InputError, TrainingError
from edgepress.toolkit.training import augment, checkpoint, run_folder
from edgepress.toolkit.tuning.work import Bits, Progress, Tuned, TuneJob, tune_here

REPORT = "tuning.json"
EVERY = 1 << 30
"""More items than any data have: all of them are trained on."""


@dataclass(frozen=True)
class TuneResult:
    """The result of a run.

    Attributes:
        model: The tuned float `.tflite`, with its contract inside.
        facts: "kept" is "distillation", or "start" if nothing was better than the repaired graph; "before" and "after"
            are the figures of the quantized file on validation items: "accuracy" and "agreement" with the float model,
            0-1, and "noise_db"; "steps" and "bits".
        history: One row for each part of the training.
    """

    model: Path
    facts: dict[str, Any]
    history: list[dict[str, float]]

    def summary(self) -> dict[str, Any]:
        """The JSON document of `tune --json`."""
        return {"model": str(self.model), **self.facts, "history": self.history}


def tune(
    model: str | Path,
    data: str | None = None,
    *,
    bits: int = 8,
    minutes: float = 10.0,
    out: str | Path | None = None,
    hints: Hints | None = None,
    augmentation: str = "auto",
    seed: int = 0,
    skip_unreadable: bool = False,
    install: bool = True,
    resume: bool = False,
    overwrite: bool = False,
    on_note: Callable[[str], None] | None = None,
    on_progress: Callable[[float, str], None] | None = None,
) -> TuneResult:
    """Train a model's constants and ranges so that its quantized files answer as it does: quantization-aware training.

    The model may be of any format; the result is a float `.tflite` that `convert` makes every scheme of. If nothing is
    better than what `convert` makes without, on validation items, the result is that.

    Args:
        model: A `.keras`, `.h5`, `.hdf5`, `.tflite` or `.onnx` file, or a SavedModel folder.
        data: Data like those it was trained on; None opens those that the model's contract names. Labels are used
            where there are some.
        bits: Bits of the weights, 8 or 4.
        minutes: Time for training; preparing takes a minute more.
        out: Folder for the result; None: `tuned` next to the model.
        hints: What you know of a model that edgepress did not train.
        augmentation: Augmentation of the training items, as for `train`.
        seed: Seed of their order and augmentation.
        skip_unreadable: Leave out images that can't be read instead of failing.
        install: Whether onnx2tf, which makes TFLite files of ONNX models, may be installed when it is first needed.
        resume: Resume the run that `out` holds; an empty folder starts one.
        overwrite: Replace a run that `out` holds.
        on_note: Called with each guess about the model.
        on_progress: Called with the share of the training that is done, 0-1, and a line of figures.

    Raises:
        EdgepressError: The model, the data or an option can't be used, or `out` holds another run.
        KeyboardInterrupt: Ctrl-C; the message says how to resume.

    Example:
        >>> from edgepress.toolkit import tune
        >>> tune("edgepress-demo/model.keras", bits=4, minutes=1).model.name
        'model-tuned.tflite'
    """
    path, note, progress = Path(model), on_note or (lambda text: None), on_progress or (lambda share, text: None)
    if bits not in get_args(Bits):
        raise InputError(f"bits is {bits}; accepted: 8 or 4.")
    if not 0 < minutes < 1e5:
        raise InputError(f"minutes is {minutes}; accepted: above 0, below 100000.")
    if resume and overwrite:
        raise InputError("resume and overwrite exclude each other.", "Pass only one of them.")
    folder = path.parent / "tuned" if out is None else Path(out)
    with Conversion(path, hints=hints) as conversion, contextlib.ExitStack() as lock:
        target = folder / f"{conversion.stem}-tuned.tflite"
        if target.exists() and target.samefile(path):
            raise InputError(f"{target} is the model itself, and would be overwritten.", "Name another folder.")
        options = {"hints": hints or Hints(), "skip_unreadable": skip_unreadable}
        job = _job(conversion, target, data, options, augmentation, note)
        lock.enter_context(run_folder.only_run(folder))  # only now, so that what can't be tuned leaves no folder
        asked = {"bits": bits, "minutes": minutes, "seed": seed, "augmentation": job["augmentation"]}
        began = {"model": sha256_of(path), "items": len(job["train"]), "data": data or "", **asked}
        if (found := _begin(folder, target, began, resume=resume, overwrite=overwrite)) is not None:
            return found
        onnx2tf = onnx2tf_python(note, install=install) if conversion.facts.format == "onnx" else None
        try:
            done = Tuned({}, [])
            for report in conversion.work(tune_here, TuneJob(**job | asked, onnx2tf=onnx2tf, began_with=began)):
                if isinstance(report, Progress):
                    progress(report.share, report.text)
                else:
                    done = report
        except KeyboardInterrupt:
            raise KeyboardInterrupt("Stopped. Resume with the same command and --resume.") from None
        result = TuneResult(target, done.facts, done.history)
        with whole_file(folder / REPORT) as temporary:
            text = json.dumps(result.summary() | {"model": target.name, "began_with": began}, indent=2)
            temporary.write_text(text, encoding="utf-8")
        return result


def _job(
    conversion: Conversion,
    target: Path,
    data: str | None,
    options: dict[str, Any],
    augmentation: str,
    note: Callable[[str], None],
) -> dict[str, Any]:
    """Arguments of the `TuneJob` that follow from the model and its data."""
    facts = conversion.facts
    plan = conversions.plan_for(
        conversion.path, facts, options["hints"], data, EVERY, skip_unreadable=options["skip_unreadable"]
    )
    for text in (*facts.notes, *plan.notes):
        note(text)
    if plan.data is None or not len(plan.data.train):
        hint = "Give data like its training data with --data."
        raise InputError(f"{conversion.path} names no data that it was trained on, and tuning needs some.", hint)
    items = conversions.items_for(plan.data, conversions.SAMPLES, plan.contract)
    train: Split = plan.data.train
    tools = {name: metadata.version(name) for name in TOOLS}
    contract = plan.contract.replace(parent_sha256=sha256_of(conversion.path), tools=tools)
    return {
        "target": target,
        "contract": contract,
        "adapter": plan.adapter,
        "calibration": items["calibration"],
        "validation": items.get("validation") or partial(_first, train),
        "train": train,
        "labelled": contract.task == "softmax" and [*contract.labels] == [*plan.data.labels],
        "augmentation": augment.resolve(augmentation, contract.input),
    }


def _first(train: Split, count: int) -> tuple[Any, None]:
    """Training items, where there are no others."""
    rows = calibration_rows(train, min(count, conversions.JUDGED))
    return train.read(rows), None


def _begin(folder: Path, target: Path, began: dict[str, Any], *, resume: bool, overwrite: bool) -> TuneResult | None:
    """The result of a finished run that is resumed; None if there is work to do, after what is there was checked."""
    state = None if overwrite else checkpoint.load(folder)
    finished = target.exists() and (folder / REPORT).exists() and not overwrite
    if (state or finished) and not resume:
        raise TrainingError(
            f"{folder} contains {'an unfinished' if state else 'a finished'} run.",
            "Choose another folder, resume it, or overwrite it.",
        )
    if state:
        run_folder.require_same(state.began_with, began, folder)
        return None
    if finished:
        report = json.loads((folder / REPORT).read_text(encoding="utf-8"))
        run_folder.require_same(report.pop("began_with"), began, folder)
        history = report.pop("history")
        return TuneResult(target, {name: value for name, value in report.items() if name != "model"}, history)
    for name in (target.name, REPORT, checkpoint.NAME):
        (folder / name).unlink(missing_ok=True)
    return None
