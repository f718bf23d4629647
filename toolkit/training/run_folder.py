"""The folder of a training run: lock it, decide whether to start or resume, and write the results.

`checkpoint.npz` exists while a run is unfinished; `model.keras` (or `model.tflite`, of a run that began with another
tool's model) is written last, when it is finished.
"""

from __future__ import annotations

import csv
import dataclasses
import importlib.metadata
import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from edgepress.converters.contract.write import write_keras_contract
from edgepress.converters.files import whole_file, write_bytes, write_csv, write_json
from edgepress.runtime.contract import Contract
from edgepress.runtime.decisions import decide
from edgepress.runtime.filetypes import MODEL, VARIANTS
from edgepress.toolkit.data.remembered import to_remember
from edgepress.toolkit.data.types import DataSet
from edgepress.toolkit.documents import read_json, read_limited
from edgepress.toolkit.errors import InputError, TrainingError
from edgepress.toolkit.escaping import shell_line
from edgepress.toolkit.reports.notebooks.printed import Printed
from edgepress.toolkit.reports.notebooks.views import training_html
from edgepress.toolkit.results.remarks.checks import remarks
from edgepress.toolkit.results.run_files import GRAPH, METRICS, run_model
from edgepress.toolkit.stats.metrics import metrics_of
from edgepress.toolkit.text import short_repr
from edgepress.toolkit.training import batches, checkpoint
from edgepress.toolkit.training.checkpoint import TrainingState
from edgepress.toolkit.training.facts import MORE, accuracy_of_groups, confusion_of, facts_of
from edgepress.toolkit.training.label_kinds import kind_of
from edgepress.toolkit.training.nets.base_net import GraphNet
from edgepress.toolkit.training.options import RunOptions
from edgepress.toolkit.training.plots import plot_confusion_matrix, plot_learning_curves, plot_mistakes

HISTORY = "history.csv"
MODEL_SUFFIXES = (".keras", ".h5", ".hdf5", ".tflite", ".onnx")
"""Suffixes of files that users take a run for."""


@dataclasses.dataclass(frozen=True)
class TrainResult(Printed):
    """The result of a run.

    Attributes:
        model: The `.keras` file, with its contract inside; of a run that began with a model of another tool, a float
            `.tflite`.
        metrics: The content of `metrics.json`; "accuracy" and the other metrics are those of the test split, "remarks"
            says what else than quantization limits the accuracy (docs/advice.md).
        history: One row per epoch; see `checkpoint.TrainingState`.
    """

    model: Path
    metrics: dict[str, Any]
    history: list[dict[str, float]]

    __repr__ = short_repr

    def _repr_html_(self) -> str:
        return training_html(str(self.model), self.metrics, self.history)


def chosen_folder(out: str | Path | None, source: str, arch: str) -> Path:
    """The folder of a run: the one that a user named, or the usual one.

    Raises:
        InputError: It has the name of a model file.
    """
    if out is None:
        return Path("runs") / f"{Path(source).stem}-{arch}"
    folder = Path(out)
    if folder.suffix in MODEL_SUFFIXES and not folder.is_dir():
        hint = f"Name a folder, such as {folder.with_suffix('')}; the model in it is {MODEL}."
        raise InputError(f"A training writes a folder, and {folder} is the name of a file.", hint)
    return folder


@contextmanager
def only_run(folder: Path) -> Iterator[None]:
    """Create the folder of a run and lock it against other runs.

    Raises:
        TrainingError: Another run is using it.
        InputError: It can't be created or written.
    """
    import filelock

    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(folder / ".lock")
        lock.acquire(timeout=0)
    except filelock.Timeout:
        hint = "Wait until it has finished, or name another folder with --out."
        raise TrainingError(f"Another run is using {folder}.", hint) from None
    except OSError as e:
        raise InputError(f"The folder {folder} can't be used: {e.strerror or e}.", "Check the path.") from e
    with lock:
        lock.release()  # the lock acquired above; `with` acquired it once more
        yield


def begin(folder: Path, began_with: dict[str, Any], options: RunOptions) -> TrainingState | None:
    """The state to continue from, a new one, or None if the run is finished.

    A finished run has no checkpoint; one that was killed between the two loses it here.
    """
    finished = run_model(folder) is not None and not options.overwrite
    state = None if options.overwrite or finished else checkpoint.load(folder)
    if (state or finished) and not options.resume:
        contents = f"an unfinished run (epoch {state.epochs_done})" if state else "a finished run"
        raise TrainingError(
            f"{folder} contains {contents}.",
            "Resume it with --resume, replace it with --overwrite, or name another folder with --out.",
        )
    if state:
        require_same(state.began_with, began_with, folder)
        return state
    if finished:
        require_same(load_result(folder).metrics["began_with"], began_with, folder)
        (folder / checkpoint.NAME).unlink(missing_ok=True)
        return None
    if options.overwrite:
        # Converted files of the former model would be taken for those of the new one. They go first, so that a kill
        # leaves none. Of a link only the link goes: it may lead to somebody else's files.
        for place in (folder / VARIANTS, folder / VARIANTS / "calibrated"):
            if place.is_symlink():
                place.unlink()
            for path in (path for path in place.glob("*") if path.suffix in (".tflite", ".onnx")):
                path.unlink()
    for name in (MODEL, GRAPH, METRICS, checkpoint.NAME):
        (folder / name).unlink(missing_ok=True)
    return TrainingState(began_with)


def identity_of(data: DataSet, arguments: dict[str, Any], teacher_sha256: str | None) -> dict[str, Any]:
    """What must be equal for a run to be resumed, as JSON returns it; a teacher may have moved, but not changed."""
    facts = {"data": data.sha256, "input": dataclasses.asdict(data.input), "labels": data.labels}
    return dict(json.loads(json.dumps(arguments | facts | {"teacher": teacher_sha256})))


def require_same(then: dict[str, Any], now: dict[str, Any], folder: Path) -> None:
    """Raise `TrainingError` if a run began with other arguments or data than it would now."""
    changed = [f"{key} was {then.get(key)!r} and is {now[key]!r}" for key in now if then.get(key) != now[key]]
    if changed:
        raise TrainingError(
            f"The run in {folder} can't be resumed with other arguments or data: {'; '.join(changed)[:600]}.",
            "Give the original ones, name another folder with --out, or start again with --overwrite.",
        )


def load_report(file: Path) -> dict[str, Any]:
    """Load the figures of a finished run; "began_with" is what `require_same` compares.

    Raises:
        TrainingError: The file is missing or damaged.
    """
    try:
        report = read_json(file)
        if not isinstance(report.get("began_with"), dict):
            raise ValueError(f"{file.name} does not say what it began with")
    except (OSError, ValueError) as e:
        raise _error_of_unfinished(file.parent, e) from e
    return report


def _error_of_unfinished(folder: Path, e: Exception) -> TrainingError:
    return TrainingError(f"{folder} contains no finished run: {e}.", "Start again with --overwrite.")


def load_result(folder: Path) -> TrainResult:
    """Load the result of a finished run.

    Raises:
        TrainingError: The folder contains no finished run.
    """
    metrics = load_report(folder / METRICS)
    try:
        table = read_limited(folder / HISTORY).decode()
        history = [{key: float(value) for key, value in row.items()} for row in csv.DictReader(io.StringIO(table))]
    except (OSError, ValueError, TypeError, csv.Error) as e:
        raise _error_of_unfinished(folder, e) from e
    return TrainResult(run_model(folder) or folder / MODEL, metrics, history)


def finish(
    model: Any,
    data: DataSet,
    state: TrainingState,
    *,
    arguments: dict[str, Any],
    teacher: dict[str, Any] | None,
    folder: Path,
) -> None:
    """Evaluate the best weights and write the results; the model is written last, to mark the run as finished."""
    target = folder / (GRAPH if isinstance(model, GraphNet) else MODEL)
    batch_size = arguments["batch_size"]
    labels = data.labels
    scores, val_scores = (batches.predict_scores(model, s, batch_size=batch_size) for s in (data.test, data.val))
    kind = kind_of(data)
    (predicted, _), (val_predicted, _) = (decide(s, multilabel=data.multilabel) for s in (scores, val_scores))
    test = metrics_of(data.test.y, predicted, scores, labels=labels)
    val = metrics_of(data.val.y, val_predicted, val_scores, labels=labels)
    facts = facts_of(
        data,
        confusion_of(test),
        arguments=arguments,
        val_confusion=confusion_of(val),
        history=[row for row in state.history if row["epoch"]],
        look=shell_line("edgepress", "evaluate", target),
        more=shell_line("edgepress", "evaluate", target, "--data", MORE),
    )
    tools = {name: importlib.metadata.version(name) for name in ("edgepress", "tensorflow", "keras", "numpy")}
    metrics = {
        "schema_version": 1,
        "arch": arguments["arch"],
        **test,
        "groups": accuracy_of_groups(data, predicted),
        "val": val,
        "cross_validation": state.planned.get("cross_validation"),
        "best_epoch": int(state.history[state.best_epoch - 1]["epoch"]),
        "epochs_run": state.epochs_done,
        "seconds": round(sum(row["seconds"] for row in state.history), 1),
        "parameters": model.count_params(),
        "seed": arguments["seed"],
        "arguments": arguments,
        "teacher": teacher,
        "data": dataclasses.asdict(data.record),
        "remarks": [remark.to_dict() for remark in remarks(facts)],
        "began_with": state.began_with,
        "tools": tools,
    }
    plot_learning_curves(state.history, folder / "learning_curves.png", best_epoch=metrics["best_epoch"])
    if not data.multilabel:
        plot_confusion_matrix(test["confusion_matrix"], data.labels, folder / "confusion_matrix.png")
    if data.input.is_image:
        plot_mistakes(data.test, scores, data.labels, folder / "mistakes.png")
    write_csv(folder / HISTORY, list(state.history[0]), state.history)
    write_json(folder / METRICS, metrics)
    contract = Contract(
        task=kind.task,
        labels=data.labels,
        input=data.input,
        scheme="keras",
        arch=arguments["arch"],
        test_accuracy=test["accuracy"],
        data=dataclasses.replace(data.record, source=to_remember(data.source, folder)),
        tools=tools,
        compression={} if teacher is None else {"teacher": teacher},
        sound=data.sound,
    )
    _write_model(model, contract, target)
    (folder / checkpoint.NAME).unlink()


def _write_model(model: Any, contract: Contract, target: Path) -> None:
    if isinstance(model, GraphNet):
        write_bytes(target, model.file(contract))
        return
    import keras

    with whole_file(target) as temporary:
        keras.Model(model.inputs[0], model.outputs[0], name=model.name).save(temporary)  # without the optimizer
        write_keras_contract(temporary, contract)
