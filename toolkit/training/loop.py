"""Train a classifier, and write its model, metrics and plots to a folder.

The loop is our own, over Keras' `train_on_batch`: an epoch depends only on the state before it, the seed and its
number, and the state is saved after each epoch (`checkpoint`). An interrupted run that is resumed therefore ends with
the same weights, bit for bit, as an uninterrupted one on the same machine; other processors or TensorFlow versions
round differently. Limit: one process, on the devices that TensorFlow finds, which becomes deterministic as a whole.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgepress.runtime.filetypes import MODEL
from edgepress.toolkit.data import open_data
from edgepress.toolkit.data.types import SPLITS, DataSet, Split
from edgepress.toolkit.errors import InputError, NotANumberError, TrainingError
from edgepress.toolkit.results.run_files import model_in
from edgepress.toolkit.training import architectures, augment, batches, checkpoint, run_folder
from edgepress.toolkit.training.checkpoint import TrainingState
from edgepress.toolkit.training.teacher import StudentTargets, Teacher, distillation_loss, label_accuracy

Advance = Callable[[int, dict[str, float]], None]
Deviation = npt.NDArray[np.float32] | None
"""Standard deviation of float32 items along their last axis; None for images."""
Weights = npt.NDArray[np.float32] | None
"""Weight of each class, shape (classes,); None if all weigh the same."""
BUILD_OPTIONS = ("width", "depth", "dropout", "weights", "freeze", "continued", "seed")


def train(
    data: str | Path | DataSet,
    arch: str = "lenet",
    *,
    out: str | Path | None = None,
    epochs: int | None = None,
    batch_size: int | None = None,
    learning_rate: float | None = None,
    patience: int | None = 15,
    class_weights: bool = False,
    augmentation: str = "auto",
    width: float | None = None,
    depth: int | None = None,
    dropout: float | None = None,
    weights: str | Path | None = None,
    freeze: bool = False,
    continued: bool = False,
    teacher: str | Path | None = None,
    trust: bool = False,
    seed: int = 0,
    resume: bool = False,
    overwrite: bool = False,
    stop_after: int | None = None,
    progress: bool = True,
    on_note: Callable[[str], None] | None = None,
) -> run_folder.TrainResult:
    """Train with Adam, cross-entropy and a cosine decay of the learning rate; keep the epoch with the best validation.

    Args:
        data: A name or path as for `open_data`, or an opened data set. The test split is used once, at the end.
        arch: A name in `architectures.ARCHITECTURES`.
        out: Folder to write the model, its metrics, history and plots to; None for `runs/DATA-ARCH`.
        epochs: Passes over the training split; None for the architecture's default, as for the next two.
        batch_size: Largest number of items in a step.
        learning_rate: Learning rate of the first step, above 0.
        patience: Epochs without improvement after which training stops; None never stops early.
        class_weights: Weight each class by the inverse of its number of training items.
        augmentation: A name in `augment.AUGMENTATIONS`.
        width: Multiplier of the number of channels; see `architectures.build`, as for the next four.
        depth: Number of layers.
        dropout: Dropout rate before the classifier.
        weights: Initial weights.
        freeze: Train only the classifier.
        continued: Train the model of `weights` on, classifier included.
        teacher: A classifier of the same labels whose answers are learned as well as the labels (`teacher.Teacher`): a
            `.keras`, `.h5`, `.hdf5`, `.tflite` or `.onnx` file, a SavedModel folder, or a run's folder.
        trust: Run code inside the teacher's file; see `Hints`.
        seed: Seed of the initial weights, dropout, order and augmentation.
        resume: Resume the run that `out` holds; the result of a finished run is returned, an empty folder starts one.
        overwrite: Replace a run that `out` holds.
        stop_after: Epoch after which the run is left unfinished, to be resumed; None trains to the end. An unfinished
            run has no model, and its metrics are empty.
        progress: Show a progress bar on standard error.
        on_note: Called with each value that was guessed of a teacher that edgepress did not make.

    Returns:
        The model's path, its metrics on the test split, and the history.

    Raises:
        EdgepressError: The data or an argument can't be used, or `out` holds another run or can't be written.
        KeyboardInterrupt: Ctrl-C; the message says how to resume.

    Example:
        >>> from edgepress.toolkit import train
        >>> train("digits", "lenet", out="runs/digits", epochs=3).metrics["accuracy"] > 0.9
        True
    """
    if resume and overwrite:
        raise InputError("resume and overwrite exclude each other.", "Give only one of --resume and --overwrite.")
    opened = data if isinstance(data, DataSet) else open_data(data)
    given: dict[str, Any] = {
        "arch": arch,
        "epochs": epochs,
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "patience": patience,
        "class_weights": class_weights,
        "augmentation": augmentation,
        "width": width,
        "depth": depth,
        "dropout": dropout,
        "weights": weights,
        "freeze": freeze,
        "seed": seed,
        "teacher": teacher,
    }
    if continued:  # left out otherwise, so that runs from before this option can be resumed
        given["continued"] = True
    arguments = _resolve_arguments(given, opened)
    folder = run_folder.default_folder(opened.source, arch) if out is None else Path(out)
    model, deviation = _new_model(opened, arguments)
    with ExitStack() as stack:
        opened_teacher: Teacher | None = None
        if teacher is not None:
            note = on_note or (lambda text: None)
            opened_teacher = stack.enter_context(Teacher(model_in(teacher), opened, note, trust=trust))
        stack.enter_context(run_folder.only_run(folder))
        taught_by = opened_teacher.sha256 if opened_teacher is not None else None
        identity = run_folder.identity_of(opened, arguments, taught_by)
        state = run_folder.begin(folder, identity, resume=resume, overwrite=overwrite)
        if state is None:
            return run_folder.load_result(folder)
        targets = None
        if opened_teacher is not None:
            targets = StudentTargets(opened_teacher, opened.train.y, arguments["augmentation"])
        last = arguments["epochs"] if stop_after is None else min(stop_after, arguments["epochs"])
        _fit(model, opened, state, targets, folder=folder, last_epoch=last, deviation=deviation, progress=progress)
        if stop_after is not None and not state.is_over(arguments["epochs"]):
            return run_folder.TrainResult(folder / MODEL, {}, state.history)
        taught = opened_teacher.facts() if opened_teacher is not None else None
        run_folder.finish(model, opened, state, arguments=arguments, teacher=taught, folder=folder)
        return run_folder.load_result(folder)


def _resolve_arguments(given: dict[str, Any], data: DataSet) -> dict[str, Any]:
    """The arguments of a run: checked, ready for JSON, and with the architecture's defaults instead of None."""
    row = architectures.architecture(given["arch"])
    unset = [name for name in ("epochs", "batch_size", "learning_rate", "width", "dropout") if given[name] is None]
    arguments = given | {name: getattr(row, name) for name in unset}
    arguments["augmentation"] = augment.resolve(given["augmentation"], data.input)
    arguments["depth"] = given["depth"] or next(iter(row.depths), given["depth"])
    arguments |= {name: None if given[name] is None else str(given[name]) for name in ("weights", "teacher")}
    for name, least in (("epochs", 1), ("batch_size", 1), ("patience", 1), ("seed", 0)):
        if arguments[name] is not None and arguments[name] < least:
            raise InputError(f"{name} is {arguments[name]}; accepted: {least} or more.")
    if not 0 < arguments["learning_rate"] < math.inf:
        raise InputError(f"learning_rate is {arguments['learning_rate']}; accepted: above 0.")
    return arguments


def _new_model(data: DataSet, arguments: dict[str, Any]) -> tuple[Any, Deviation]:
    """The model with its initial weights, and the deviation of the training items."""
    if empty := [name for name in SPLITS if not len(getattr(data, name))]:
        raise TrainingError(f"The {empty[0]} split of {data.source} is empty.", "Training needs all three splits.")

    import keras
    import tensorflow as tf

    tf.config.experimental.enable_op_determinism()
    keras.backend.clear_session()  # otherwise layer names continue the numbering of an earlier model
    mean, variance = (None, None) if data.input.dtype == "uint8" else batches.moments(data.train)
    if variance is not None and not np.isfinite(variance).all():
        hint = "Scale them down, or look for outliers."
        raise InputError(f"Some values in {data.source} are so large that their variance is beyond float32.", hint)
    options = {key: arguments[key] for key in BUILD_OPTIONS if key in arguments} | {"mean": mean, "variance": variance}
    model = architectures.build(arguments["arch"], data.input, classes=len(data.labels), **options)
    return model, None if variance is None else np.sqrt(variance)


def _fit(
    model: Any,
    data: DataSet,
    state: TrainingState,
    targets: StudentTargets | None,
    *,
    folder: Path,
    last_epoch: int,
    deviation: Deviation,
    progress: bool,
) -> None:
    """Train until `last_epoch` or until patience runs out, then set the model to its best weights."""
    run = state.began_with
    _compile(model, learning_rate=run["learning_rate"], has_teacher=targets is not None)
    variables = model.trainable_variables + model.non_trainable_variables  # including the seeds of dropout
    if state.history:
        checkpoint.restore(variables, model.optimizer.variables, state)

    epochs = run["epochs"]
    steps = batches.steps(len(data.train), run["batch_size"])
    weights = batches.balanced_weights(data.train.y, len(data.labels)) if run["class_weights"] else None
    read = partial(
        batches.training_batches,
        data.train,
        batch_size=run["batch_size"],
        augmentation=run["augmentation"],
        seed=run["seed"],
        deviation=deviation,
        targets=targets,
    )
    try:
        with _bar(epochs, steps, done=len(state.history), show=progress) as advance:
            while not state.is_over(last_epoch):
                started = time.monotonic()
                row = _epoch(model, data.val, state, read, steps=steps, weights=weights, advance=advance)
                row |= {"seconds": round(time.monotonic() - started, 3)}
                state.add(row, checkpoint.values(variables), checkpoint.values(model.optimizer.variables))
                checkpoint.save(state, folder)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            f"Stopped after epoch {len(state.history)} of {epochs}. Resume with the same command and --resume."
        ) from None
    except NotANumberError:
        (folder / checkpoint.NAME).unlink(missing_ok=True)  # resuming from it would fail in the same way
        raise
    checkpoint.assign(variables, state.best)


def _compile(model: Any, *, learning_rate: float, has_teacher: bool) -> None:
    import keras

    model.compile(
        optimizer=keras.optimizers.Adam(learning_rate),
        loss=distillation_loss if has_teacher else "sparse_categorical_crossentropy",
        metrics=[keras.metrics.MeanMetricWrapper(label_accuracy, name="accuracy") if has_teacher else "accuracy"],
        jit_compile=False,  # on a CPU, compiling a small network takes longer than it saves
    )
    model.optimizer.build(model.trainable_variables)


def _epoch(
    model: Any,
    val: Split,
    state: TrainingState,
    read: Callable[..., Iterator[batches.Batch]],
    *,
    steps: int,
    weights: Weights,
    advance: Advance,
) -> dict[str, float]:
    """Train for one epoch, whose batches `read` returns, and validate; returns its row of the history."""
    run = state.began_with
    epoch = len(state.history)
    count = 0
    sums = np.zeros(2)
    for step, (x, y) in enumerate(read(epoch=epoch), start=epoch * steps):
        rate = run["learning_rate"] * (1 + math.cos(math.pi * step / (run["epochs"] * steps))) / 2
        model.optimizer.learning_rate = rate
        labels = y if y.ndim == 1 else y[:, 0].astype(np.int64)  # behind them are a teacher's answers
        logs = model.train_on_batch(x, y, None if weights is None else weights[labels], return_dict=True)
        _require_number(logs["loss"], epoch)
        count = count + len(y)
        sums = sums + len(y) * np.array([logs["loss"], logs["accuracy"]], np.float64)
        so_far = {"loss": float(sums[0] / count), "accuracy": float(sums[1] / count)}
        advance(epoch, so_far)
    scores = batches.predict_scores(model, val, batch_size=run["batch_size"])
    row = {"epoch": epoch + 1, **so_far, **_loss_and_accuracy(scores, val.y), "learning_rate": rate}
    _require_number(row["val_loss"], epoch)
    advance(epoch, row)
    return row


def _loss_and_accuracy(scores: npt.NDArray[np.float32], y: npt.NDArray[np.int64]) -> dict[str, float]:
    chosen = scores[np.arange(len(y)), y].astype(np.float64)
    loss = -np.log(np.maximum(chosen, 1e-7)).mean()  # Keras' own bound; NaN passes through
    return {"val_loss": float(loss), "val_accuracy": float((scores.argmax(axis=1) == y).mean())}


def _require_number(loss: float, epoch: int) -> None:
    if not math.isfinite(loss):
        hint = "Lower the learning rate, or look for outliers in the data."
        raise NotANumberError(f"The loss became {loss} in epoch {epoch + 1}.", hint)


@contextmanager
def _bar(epochs: int, steps: int, *, done: int, show: bool) -> Iterator[Advance]:
    """A progress bar over all epochs on standard error: epoch, loss, accuracy, time left."""
    from edgepress.toolkit.terminal import BarColumn, Description, Progress, TimeRemainingColumn, console

    columns = (Description(), BarColumn(), TimeRemainingColumn(compact=True))
    with Progress(*columns, console=console(stderr=True), disable=not show) as progress:
        task = progress.add_task("starting", total=epochs * steps, completed=done * steps)

        def advance(epoch: int, logs: dict[str, float]) -> None:
            text = f"epoch {epoch + 1}/{epochs}  loss {logs['loss']:.4f}  accuracy {logs['accuracy']:.2%}"
            if "val_accuracy" in logs:
                text += f"  validation {logs['val_accuracy']:.2%}"
            progress.update(task, description=text, advance=0 if "val_accuracy" in logs else 1)

        yield advance
