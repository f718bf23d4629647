"""Train a classifier, and write its model, metrics and plots to a folder.

The loop is our own (`fitting`): an epoch depends only on the state before it, the seed and its
number, and the state is saved after each epoch (`checkpoint`). An interrupted run that is resumed therefore ends with
the same weights, bit for bit, as an uninterrupted one on the same machine; other processors or TensorFlow versions
round differently. Limit: one process, on the devices that TensorFlow finds, which becomes deterministic as a whole.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgepress.converters.contract.hints import Hints
from edgepress.runtime.filetypes import MODEL
from edgepress.toolkit.arguments import call_with
from edgepress.toolkit.data import calibration_rows, open_data
from edgepress.toolkit.data.objects import Data, Model, opened_or_named
from edgepress.toolkit.data.types import SPLITS, DataSet, Split
from edgepress.toolkit.errors import InputError, TrainingError
from edgepress.toolkit.results.run_files import GRAPH, model_in
from edgepress.toolkit.training import batches, checkpoint, choosing, fitting, run_folder, transfer
from edgepress.toolkit.training.batches import FLIPPING
from edgepress.toolkit.training.checkpoint import TrainingState
from edgepress.toolkit.training.choosing import resolve_arguments
from edgepress.toolkit.training.false_alarms import can_hear, ends_of_rounds, hear_background, with_background
from edgepress.toolkit.training.features import Body
from edgepress.toolkit.training.fitting import Fitting
from edgepress.toolkit.training.label_kinds import kind_of, refuse_for_multilabel
from edgepress.toolkit.training.learners import Learner, ModelLearner
from edgepress.toolkit.training.nets import architectures
from edgepress.toolkit.training.nets.base_net import MEASURED, BaseNet, GraphNet, find_base, parts_of
from edgepress.toolkit.training.teacher import StudentTargets, Teacher

Deviation = npt.NDArray[np.float32] | None
"""Standard deviation of float32 items along their last axis; None for images."""
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
        training = _Training(model, opened, arguments, targets, deviation, folder, progress, note)
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


@dataclasses.dataclass(frozen=True)
class _Training:
    """One training of a model: in two steps if its weights are pre-trained.

    Attributes:
        model: The Keras model.
        data: The data.
        arguments: The arguments of the run.
        targets: What a teacher's student is to answer.
        deviation: Standard deviation of the training items.
        folder: The run's folder.
        progress: Whether to show progress.
        note: Called with what a limit on time led to.
    """

    model: Any
    data: DataSet
    arguments: dict[str, Any]
    targets: StudentTargets | None
    deviation: Deviation
    folder: Path
    progress: bool
    note: Callable[[str], None]

    def run(self, state: TrainingState, stop_after: int | None) -> bool:
        """Train; returns whether the training is over."""
        planned = self.arguments["epochs"]
        started = time.monotonic() - sum(row["seconds"] for row in state.history)
        if self.arguments.get("two_steps"):
            body, head = parts_of(self.model)
            run = self._transfer(body, head, state, started)
        else:
            run = self._fitting(self._model_learner(), keeps_last=self._is_mixed)
            if (limit := self._seconds_left(started)) is not None and not state.planned:
                state.planned |= {"epochs": max(1, min(planned, fitting.epochs_in(run, limit)))}
        epochs = state.planned.get("epochs", planned)
        if epochs < planned and self.arguments.get("minutes"):
            layers = ", of the last layers alone" if state.planned.get("layers") == "last" else ""
            self.note(f"{self.arguments['minutes']:g} minutes allow {epochs} of {planned} epochs{layers}.")
        last = epochs if stop_after is None else min(stop_after, epochs)
        if self._is_mixed and self.targets is None and can_hear(self.data.train, self.data.labels):
            self._fit_in_rounds(run, state, last_epoch=last, epochs=epochs)
        else:
            fitting.fit(run, state, last_epoch=last, epochs=epochs)
        return stop_after is None or state.is_over(epochs)

    def _fit_in_rounds(self, run: Fitting, state: TrainingState, *, last_epoch: int, epochs: int) -> None:
        """Train; after some parts of the epochs, hear the background, and learn what is heard there, too."""
        rounds = state.planned.setdefault("false_alarms", [])
        for number, end in enumerate(ends_of_rounds(epochs)):
            if state.epochs_done >= end and len(rounds) > number:
                continue
            train = with_background(self.data, [window for windows in rounds for window in windows])
            part = self._fitting(run.learner, keeps_last=True, train=train)
            fitting.fit(part, state, last_epoch=min(end, last_epoch), epochs=epochs)
            if state.epochs_done < end:
                return
            if end < epochs:
                rounds.append(hear_background(self.model, self.data))
                checkpoint.save(state, self.folder)
                self.note(
                    f"After epoch {end}, the net heard labels in {len(rounds[-1])} windows of the training split's "
                    "background; the next epochs learn these, too."
                )

    def _transfer(self, body: Body, head: list[Any], state: TrainingState, started: float) -> Fitting:
        """The second step, after the first if that is not done."""
        arguments = self.arguments

        def make(body: Body) -> Fitting:
            taught = self.targets is not None
            kind = kind_of(self.data)
            learner = transfer.fine_tuning(body, head, arguments, weights=self._weights, taught=taught, kind=kind)
            return self._fitting(learner, keeps_last=True)

        if not state.history and not arguments.get("continued"):
            flipped = arguments["augmentation"] in FLIPPING
            row, judged = transfer.fit_classifier(body, head, self.data, flipped=flipped, weights=self._weights)
            if judged is not None:
                state.planned["cross_validation"] = judged.to_dict()
                self.note(" ".join(judged.sentences))
            if (limit := self._seconds_left(started)) is not None and arguments["epochs"]:
                state.planned |= transfer.plan_time(make, body, epochs=arguments["epochs"], seconds=limit)
            run = make(self._trained_part(body, state))
            fitting.add_row(run, state, row)
            return run
        return make(self._trained_part(body, state))

    def _trained_part(self, body: Body, state: TrainingState) -> Body:
        return transfer.last_layers(body) if state.planned.get("layers") == "last" else body

    def _seconds_left(self, started: float) -> float | None:
        minutes = self.arguments.get("minutes")
        return None if minutes is None else 60 * minutes - (time.monotonic() - started)

    @property
    def _is_mixed(self) -> bool:
        """Whether the items are windows of recordings, of which each epoch hears others."""
        return bool(self.arguments["augmentation"] == "mix")

    @property
    def _weights(self) -> npt.NDArray[np.float32] | None:
        if not self.arguments["class_weights"]:
            return None
        return batches.balanced_weights(self.data.train.y, len(self.data.labels))

    def _model_learner(self) -> Learner:
        options = {"learning_rate": self.arguments["learning_rate"], "has_teacher": self.targets is not None}
        options |= {"smooths": self._is_mixed}
        return ModelLearner(self.model, weights=self._weights, kind=kind_of(self.data), **options)

    def _fitting(self, learner: Learner, *, keeps_last: bool, train: Split | None = None) -> Fitting:
        arguments = self.arguments
        train = train or self.data.train
        options = {name: arguments[name] for name in ("batch_size", "augmentation", "seed")}
        read = partial(batches.training_batches, train, deviation=self.deviation, targets=self.targets, **options)
        steps = batches.steps(len(train), arguments["batch_size"])
        folder = self.folder
        return Fitting(
            learner, self.model, self.data.val, read, steps, folder, keeps_last=keeps_last, progress=self.progress
        )
