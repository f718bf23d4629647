"""The steps of a training: from nothing, with false alarms of recordings, or of a pre-trained net in two steps."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgepress.toolkit.data.types import DataSet, Split
from edgepress.toolkit.training import batches, checkpoint, fitting, transfer
from edgepress.toolkit.training.batches import FLIPPING
from edgepress.toolkit.training.checkpoint import TrainingState
from edgepress.toolkit.training.false_alarms import can_hear, ends_of_rounds, hear_background, with_background
from edgepress.toolkit.training.features import Body
from edgepress.toolkit.training.fitting import Fitting
from edgepress.toolkit.training.label_kinds import kind_of
from edgepress.toolkit.training.learners import Learner, ModelLearner
from edgepress.toolkit.training.nets.base_net import parts_of
from edgepress.toolkit.training.teacher import StudentTargets

Deviation = npt.NDArray[np.float32] | None
"""Standard deviation of float32 items along their last axis; None for images."""


@dataclasses.dataclass(frozen=True)
class Training:
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
            run = self._fitting(self._model_learner(self.data.train), keeps_last=self._is_mixed)
            if (limit := self._seconds_left(started)) is not None and not state.planned:
                state.planned |= {"epochs": max(1, min(planned, fitting.epochs_in(run, limit)))}
        epochs = state.planned.get("epochs", planned)
        if epochs < planned and self.arguments.get("minutes"):
            layers = ", of the last layers alone" if state.planned.get("layers") == "last" else ""
            self.note(f"{self.arguments['minutes']:g} minutes allow {epochs} of {planned} epochs{layers}.")
        last = epochs if stop_after is None else min(stop_after, epochs)
        if self._is_mixed and self.targets is None and can_hear(self.data.train, self.data.labels):
            self._fit_in_rounds(state, last_epoch=last, epochs=epochs)
        else:
            fitting.fit(run, state, last_epoch=last, epochs=epochs)
        return stop_after is None or state.is_over(epochs)

    def _fit_in_rounds(self, state: TrainingState, *, last_epoch: int, epochs: int) -> None:
        """Train; after some parts of the epochs, hear the background, and learn what is heard there, too.

        Each part has a new learner, because a function that TensorFlow has traced for batches of other sizes rounds
        differently: a resumed run would end with other weights.
        """
        rounds = state.planned.setdefault("false_alarms", [])
        for number, end in enumerate(ends_of_rounds(epochs)):
            if state.epochs_done >= end and len(rounds) > number:
                continue
            train = with_background(self.data, [window for windows in rounds for window in windows])
            part = self._fitting(self._model_learner(train), keeps_last=True, train=train)
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
        return bool(self.arguments["augmentation"] == batches.MIX)

    @property
    def _weights(self) -> npt.NDArray[np.float32] | None:
        if not self.arguments["class_weights"]:
            return None
        return batches.balanced_weights(self.data.train.y, len(self.data.labels))

    def _model_learner(self, train: Split) -> Learner:
        """A learner of a training split, in which the background has the weight that it has without false alarms."""
        weights = self._weights
        if len(train) > len(self.data.train):
            before, after = (
                np.bincount(split.y, minlength=len(self.data.labels)) for split in (self.data.train, train)
            )
            weights = ((1 if weights is None else weights) * before / np.maximum(after, 1)).astype(np.float32)
        options = {"learning_rate": self.arguments["learning_rate"], "has_teacher": self.targets is not None}
        options |= {"smooths": self._is_mixed}
        return ModelLearner(self.model, weights=weights, kind=kind_of(self.data), **options)

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
