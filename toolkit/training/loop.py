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
from typing import Any, Unpack

import numpy as np

from edgepress.converters.contract.hints import Hints
from edgepress.runtime.filetypes import MODEL
from edgepress.toolkit.data import calibration_rows, open_data
from edgepress.toolkit.data.objects import Data, opened_or_named
from edgepress.toolkit.data.types import SPLITS, DataSet
from edgepress.toolkit.errors import InputError, TrainingError
from edgepress.toolkit.results.run_files import GRAPH, model_in
from edgepress.toolkit.training import batches, choosing, run_folder
from edgepress.toolkit.training.choosing import resolve_arguments
from edgepress.toolkit.training.course import Deviation, Training
from edgepress.toolkit.training.label_kinds import kind_of, refuse_for_multilabel
from edgepress.toolkit.training.nets import architectures
from edgepress.toolkit.training.nets.base_net import MEASURED, GraphNet, find_base
from edgepress.toolkit.training.nets.options import BaseNet
from edgepress.toolkit.training.options import TrainingArguments, TrainingOptions
from edgepress.toolkit.training.teacher import StudentTargets, Teacher

BUILD_OPTIONS = ("width", "depth", "dropout", "weights", "freeze", "continued", "seed")


def train(
    data: Data,
    arch: str = choosing.AUTO,
    *,
    hints: Hints | None = None,
    stop_after: int | None = None,
    progress: bool = True,
    on_note: Callable[[str], None] | None = None,
    **training: Unpack[TrainingArguments],
) -> run_folder.TrainResult:
    """Train a net from nothing, or a pre-trained one in two steps; docs/training.md says how.

    Args:
        data: A name or path as for `open_data`, or an opened data set. The test split is used once, at the end. Of
            multi-label data (rows of 0 and 1), the net ends in a sigmoid for each label.
        arch: A name in `architectures.ARCHITECTURES`, or "auto" to choose by the data (`choosing`).
        hints: What you know of the input of `base`.
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
    options = TrainingOptions(**training)
    note = on_note or (lambda text: None)
    net = find_base(options, arch, hints=hints, on_note=note)
    opened = _open(data, net, choosing.photo_size(arch, options.weights))
    refuse_for_multilabel(opened, class_weights=options.class_weights, teacher=options.teacher)
    choice = choosing.choose(opened, arch, options.weights, net)
    arguments = resolve_arguments(options, choice, opened)
    folder = run_folder.chosen_folder(options.out, opened.source, choice.arch)
    note(choosing.describe(opened, choice, arguments))
    model, deviation = _new_model(opened, arguments, net)
    with ExitStack() as stack:
        taught: Teacher | None = None
        if options.teacher is not None:
            guessed = partial(_note_guess, note)
            taught = stack.enter_context(Teacher(model_in(options.teacher), opened, guessed, trust=options.trust))
        stack.enter_context(run_folder.only_run(folder))
        identity = run_folder.identity_of(opened, arguments, taught.sha256 if taught else None)
        state = run_folder.begin(folder, identity, options)
        if state is None:
            return run_folder.load_result(folder)
        targets = StudentTargets(taught, opened.train.y, arguments["augmentation"]) if taught else None
        course = Training(model, opened, arguments, targets, deviation, folder, progress, note)
        if not course.run(state, stop_after):
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
    building = {key: arguments[key] for key in BUILD_OPTIONS if key in arguments} | {"mean": mean, "variance": variance}
    building |= {"classes": len(data.labels), "activation": kind_of(data).activation}
    return architectures.build(arguments["arch"], data.input, **building), deviation
