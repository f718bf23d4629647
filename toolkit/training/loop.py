"""Train a classifier, and write its model, metrics and plots to a folder.

The loop is our own (`fitting`): an epoch depends only on the state before it, the seed and its
number, and the state is saved after each epoch (`checkpoint`). An interrupted run that is resumed therefore ends with
the same weights, bit for bit, as an uninterrupted one on the same machine; other processors or TensorFlow versions
round differently. Limit: one process, on the devices that TensorFlow finds, which becomes deterministic as a whole.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from edgepress.converters.contract.hints import Hints
from edgepress.runtime.filetypes import MODEL
from edgepress.toolkit.arguments import call_with
from edgepress.toolkit.data import calibration_rows, open_data
from edgepress.toolkit.data.objects import Data, Model, opened_or_named
from edgepress.toolkit.data.types import SPLITS, DataSet
from edgepress.toolkit.errors import InputError, TrainingError
from edgepress.toolkit.results.run_files import GRAPH, model_in
from edgepress.toolkit.training import batches, choosing, run_folder
from edgepress.toolkit.training.choosing import resolve_arguments
from edgepress.toolkit.training.course import Deviation, Training
from edgepress.toolkit.training.label_kinds import kind_of, refuse_for_multilabel
from edgepress.toolkit.training.nets import architectures
from edgepress.toolkit.training.nets.base_net import MEASURED, BaseNet, GraphNet, find_base
from edgepress.toolkit.training.teacher import StudentTargets, Teacher

BUILD_OPTIONS = ("width", "depth", "dropout", "weights", "freeze", "continued", "seed")


def train(
    data: Data,
    arch: str = choosing.AUTO,
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
    weights: str | Path | None = choosing.AUTO,
    base: Model | BaseNet | None = None,
    features: str = "",
    hints: Hints | None = None,
    freeze: bool = False,
    continued: bool = False,
    teacher: Model | None = None,
    trust: bool = False,
    minutes: float | None = None,
    seed: int = 0,
    resume: bool = False,
    overwrite: bool = False,
    stop_after: int | None = None,
    progress: bool = True,
    on_note: Callable[[str], None] | None = None,
) -> run_folder.TrainResult:
    """Train a net from nothing, or a pre-trained one in two steps; docs/training.md says how.

    Args:
        data: A name or path as for `open_data`, or an opened data set. The test split is used once, at the end. Of
            multi-label data (rows of 0 and 1), the net ends in a sigmoid for each label.
        arch: A name in `architectures.ARCHITECTURES`, or "auto" to choose by the data (`choosing`).
        out: Folder to write the model, its metrics, history and plots to; None for `runs/DATA-ARCH`.
        epochs: Passes over the training split; None for the architecture's default, as for the next two.
        batch_size: Largest number of items in a step.
        learning_rate: Learning rate of the first step, above 0.
        patience: Epochs without improvement after which training stops; None never stops early.
        class_weights: Weight each class by the inverse of its number of training items; not of multi-label data.
        augmentation: A name in `augment.AUGMENTATIONS`.
        width: Multiplier of the number of channels; see `architectures.build`, as for the next four.
        depth: Number of layers.
        dropout: Dropout rate before the classifier.
        weights: Initial weights; "auto" for those that come with edgepress, "none" or None to train from nothing.
        base: Begin with the body of this classifier instead of `arch` and `weights`: a `.keras`, `.h5`, `.hdf5`,
            `.tflite` (float or quantized) or `.onnx` file, a SavedModel folder, or a run's folder. The result is a
            float `.tflite`.
        features: Name of the tensor of its float graph that holds its features; "" for what its last layer reads.
        hints: What you know of its input.
        freeze: Train only the classifier.
        continued: Train the model of `weights` on, classifier included.
        teacher: A classifier of the same labels whose answers are learned as well as the labels (`teacher.Teacher`): a
            `.keras`, `.h5`, `.hdf5`, `.tflite` or `.onnx` file, a SavedModel folder, or a run's folder.
        trust: Run code inside the file of `base` or `teacher`; see `Hints`.
        minutes: Time for the training, above 0: fewer epochs or, of a pre-trained net, fewer layers.
        seed: Seed of the initial weights, dropout, order and augmentation.
        resume: Resume the run that `out` holds; the result of a finished run is returned, an empty folder starts one.
        overwrite: Replace a run that `out` holds.
        stop_after: Epoch after which the run is left unfinished, to be resumed; None trains to the end. An unfinished
            run has no model, and its metrics are empty.
        progress: Show a progress bar on standard error.
        on_note: Called with what was found and chosen, each value that was guessed of a teacher that edgepress did not
            make, and what `minutes` led to.

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
    data = opened_or_named(data)
    if resume and overwrite:
        raise InputError("resume and overwrite exclude each other.", "Give only one of --resume and --overwrite.")
    note = on_note or (lambda text: None)
    net = call_with(find_base, locals(), on_note=note)
    opened = _open(data, net, choosing.photo_size(arch, weights))
    given: dict[str, Any] = {
        "epochs": epochs,
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "patience": patience,
        "class_weights": class_weights,
        "augmentation": augmentation,
        "width": width,
        "depth": depth,
        "dropout": dropout,
        "freeze": freeze,
        "seed": seed,
        "teacher": teacher,
    }
    # Left out otherwise, so that runs from before these options can be resumed.
    given |= {"continued": True} if continued else {}
    given |= {} if minutes is None else {"minutes": minutes}
    refuse_for_multilabel(opened, class_weights=class_weights, teacher=teacher)
    choice = choosing.choose(opened, arch, weights, net)
    arguments = resolve_arguments(given, choice, opened)
    folder = run_folder.default_folder(opened.source, choice.arch) if out is None else run_folder.named_folder(out)
    note(choosing.describe(opened, choice, arguments))
    model, deviation = _new_model(opened, arguments, net)
    with ExitStack() as stack:
        taught: Teacher | None = None
        if teacher is not None:
            guessed = partial(_note_guess, note)
            taught = stack.enter_context(Teacher(model_in(teacher), opened, guessed, trust=trust))
        stack.enter_context(run_folder.only_run(folder))
        identity = run_folder.identity_of(opened, arguments, taught.sha256 if taught else None)
        state = run_folder.begin(folder, identity, resume=resume, overwrite=overwrite)
        if state is None:
            return run_folder.load_result(folder)
        targets = StudentTargets(taught, opened.train.y, arguments["augmentation"]) if taught else None
        training = Training(model, opened, arguments, targets, deviation, folder, progress, note)
        if not training.run(state, stop_after):
            return run_folder.TrainResult(folder / (GRAPH if net else MODEL), {}, state.history)
        facts = taught.facts() if taught else None
        run_folder.finish(model, opened, state, arguments=arguments, teacher=facts, folder=folder)
        return run_folder.load_result(folder)


def _note_guess(note: Callable[[str], None], text: str) -> None:
    note(f"Guessed of the teacher: {text}")


def _open(data: str | Path | DataSet, base: BaseNet | None, photo_size: int | None) -> DataSet:
    """The data, with items as the base takes them if there is one."""
    if not isinstance(data, DataSet):
        return open_data(data, input=base.input) if base else open_data(data, photo_size=photo_size)
    if base and data.input != base.input:
        raise InputError(
            f"{base.name} takes other items than {data.source} was opened with: {base.input}, not {data.input}.",
            "Give the data by their name or path.",
        )
    return data


def _new_model(data: DataSet, arguments: dict[str, Any], base: BaseNet | None) -> tuple[Any, Deviation]:
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
    deviation = None if variance is None else np.sqrt(variance)
    if base is not None:
        items = data.train.read(calibration_rows(data.train, MEASURED))
        return GraphNet(base, items, classes=len(data.labels), kind=kind_of(data)), deviation
    options = {key: arguments[key] for key in BUILD_OPTIONS if key in arguments} | {"mean": mean, "variance": variance}
    options |= {"classes": len(data.labels), "activation": kind_of(data).activation}
    return architectures.build(arguments["arch"], data.input, **options), deviation
