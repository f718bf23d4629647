"""What `tune` and `prune` share in their child process: teacher, judge, learning rate, steps, checkpoints, the result.

The learning rate of a training, found by trial on the net itself.

Nets differ by two orders of magnitude in the rate that they bear: a rate by which a small net learns fastest makes a
wide one forget all it knows in a few steps. So a few steps are tried at falling rates, from the same state and on the
same batches, until a rate does not raise the loss (a range test; Smith 2017, arXiv:1506.01186). Nothing is drawn.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, ClassVar, Generic, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from edgepress.converters.contract.write import tflite_with_contract
from edgepress.converters.errors import CollapseError, ConversionError
from edgepress.converters.files import write_bytes
from edgepress.converters.graph.distill import (
    Distillation,
    Learner,
    Teaching,
    kind_of_answers,
    largest_batch,
    logits_of,
)
from edgepress.converters.graph.program import Program, UnknownOperationError
from edgepress.converters.process.worker import Emit
from edgepress.converters.ptq.score import Score, Scorer, scoring_items
from edgepress.converters.rewrites.table import rewrites_for
from edgepress.converters.schemes import SCHEMES
from edgepress.converters.to_tflite.convert import with_scheme
from edgepress.toolkit.training import batches, checkpoint
from edgepress.toolkit.training.checkpoint import TrainingState
from edgepress.toolkit.training.graphs.job import GraphJob
from edgepress.toolkit.truth import is_multilabel

TRIAL_STEPS = 24
"""Steps of a trial, whose rate rises and falls to 0 as that of the training does. With half as many, rates are refused
that are the best ones of a longer training: it makes good what the first steps do."""
WARM_UP = 1 / 8
"""Share of the steps of a training in which its rate rises: the first steps of Adam have the size of the rate, whatever
the gradients are."""
FACTOR = 0.5
"""What a rate is multiplied by if it was too high."""
RATES = 10
"""Most rates that are tried."""
TOLERANCE = 0.05
"""Share by which the loss of the last steps may be above that of the same batches at the start: where channels that
left were hardly missed, there is nothing to be gained in a trial, and noise remains."""
RISEN = 2.0
"""How many times the loss of a moment ago a loss is that has risen beyond what noise explains."""
WINDOW = 4
"""Steps whose mean loss is compared."""


def find_rate(trial: Callable[[float], Iterable[float]], highest: float) -> float:
    """The highest rate by which a training from this state does not raise its loss; the lowest one if all do.

    Args:
        trial: The losses of `TRIAL_STEPS` steps of a training that begins with this rate, from the same state and on
            the same batches each time. A rate of 0 changes nothing. It may not be read to its end.
        highest: The rate that is tried first.
    """
    start = list(trial(0.0))
    rates = [highest * FACTOR**n for n in range(RATES)]
    return next((rate for rate in rates[:-1] if _is_borne(trial(rate), start)), rates[-1])


def _is_borne(losses: Iterable[float], start: Sequence[float]) -> bool:
    """Whether the losses of a trial end no higher than those of the same batches at the start, nor rise on the way."""
    taken = list[float]()
    for loss in losses:
        taken.append(loss)
        before = _mean_of_last(start[: len(taken)])
        if has_risen(loss, before) and (len(taken) >= WINDOW or not math.isfinite(loss)):
            return False
    return _mean_of_last(taken) <= (1 + TOLERANCE) * _mean_of_last(start)


def _mean_of_last(losses: Sequence[float]) -> float:
    return float(np.mean(losses[-WINDOW:]))


def has_risen(loss: float, before: float) -> bool:
    """Whether a loss is far above an earlier one, or not finite."""
    return not math.isfinite(loss) or loss > RISEN * before


def falling(rate: float, step: int, steps: int) -> float:
    """The learning rate of a step of a training, which falls from `rate` to 0 as a cosine."""
    return rate * (1 + math.cos(math.pi * step / steps)) / 2


def warmed_up(rate: float, step: int, steps: int) -> float:
    """The same, after a linear rise in the first steps."""
    return falling(rate, step, steps) * min(1.0, (step + 1) / max(1.0, WARM_UP * steps))


BATCH = 32
"""Most items of a step."""
MEMORY = 1 << 30
"""Bytes that the activations of a step may take."""
LEAST_STEPS = 24
"""Fewest steps of a training."""
TIMED = 6
"""Steps that measure how many the time allows."""
AnyJob = TypeVar("AnyJob", bound=GraphJob)


class Segment(NamedTuple):
    """Steps of training between two checkpoints.

    Attributes:
        step: Number of steps of the training so far.
        loss: Mean loss of the segment.
        started: When it began, by `time.monotonic`.
        first: Loss of its first step.
    """

    step: int
    loss: float
    started: float
    first: float = 0.0


class Trainer(Generic[AnyJob]):
    """Trains graphs to answer as a float graph does.

    Args:
        job: What to do.
        model: The float graph.
        emit: Takes `Progress`.
    """

    verb: ClassVar[str]
    """What the model is afterwards."""
    most_epochs: ClassVar[int]
    """Most passes over the training items."""
    after_collapse: ClassVar[str]
    """What a user can do if the result has collapsed."""

    def __init__(self, job: AnyJob, model: bytes, emit: Emit) -> None:
        import tensorflow as tf

        tf.config.experimental.enable_op_determinism()
        tf.keras.utils.set_random_seed(job.options.seed)
        self.job = job
        self.folder = job.target.parent
        self.model = model
        self.emit = emit
        item = job.adapter.item
        self.input_range = None if item.is_integer else item.value_range
        try:
            self.teacher = Program(model)
        except UnknownOperationError as e:
            raise ConversionError(
                f"The model can't be {self.verb}: {e}.", "Convert it without; repairs may work."
            ) from e
        if not self.teacher.batched:
            raise ConversionError(f"The model can't be {self.verb}: its graph takes one item at a time.")
        items, labels = job.validation(scoring_items(model))
        labelled = job.contract.task != "none"
        recipe = rewrites_for(SCHEMES["tflite-int8"], "cpu", "recipe")
        self.judge = Scorer(model, items, labels, labelled=labelled, uint8=item.is_image, recipe=recipe)
        self.kind = kind_of_answers(self.teacher, labelled=labelled)
        self.batch_size = min(BATCH, len(job.train), largest_batch(self.teacher, MEMORY))

    @cached_property
    def sample(self) -> npt.NDArray[Any]:
        """Items that tell the spread of the answers."""
        return self.judge.items

    @cached_property
    def _spread(self) -> float:
        values = self.teacher.run(self.sample[:BATCH].astype(self.teacher.dtype))
        return max(float(np.std(logits_of(self.teacher, values))), 1e-6)

    def distillation(self, student: Learner, labels: float) -> Distillation:
        """What trains a student; `labels` is their share of the loss where the data have the model's."""
        fits = self.kind == ("sigmoid" if is_multilabel(self.job.train.y) else "softmax")
        labels = labels if self.job.labelled and fits else 0.0
        return Distillation(self.teacher, student, Teaching(self.kind, labels), self._spread)

    def count_steps(self, distillation: Distillation) -> int:
        """Number of steps: the given one, or what the time allows, measured by a few, which change nothing."""
        most = self.most_epochs * batches.steps(len(self.job.train), self.batch_size)
        if self.job.options.steps is not None:
            return max(LEAST_STEPS, min(most, self.job.options.steps))
        times = list[float]()
        with _unchanged(distillation):
            for (x, y), _ in zip(self._batches(0), range(TIMED), strict=False):
                started = time.monotonic()
                distillation.step(x, y, 0.0)
                times.append(time.monotonic() - started)
        seconds = float(np.median(times[1:] or times))  # the first one compiles
        return max(LEAST_STEPS, min(most, int(60 * self.job.options.minutes / max(seconds, 1e-6))))

    def find_rate(self, distillation: Distillation, highest: float) -> float:
        """The learning rate of a training (`rate.find_rate`), which changes nothing."""

        def trial(rate: float) -> Iterator[float]:
            with _unchanged(distillation):
                for (x, y), step in zip(self._batches(0), range(TRIAL_STEPS), strict=False):
                    yield distillation.step(x, y, warmed_up(rate, step, TRIAL_STEPS))

        return find_rate(trial, highest)

    def train(
        self,
        distillation: Distillation,
        steps: range,
        *,
        each: int,
        rate: Callable[[int], float],
        tell: Callable[[int, float], None],
        before: int = 0,
    ) -> Iterator[Segment]:
        """Train, and pause after every `each` steps and after the last one.

        Args:
            distillation: Takes the steps.
            steps: Those to take.
            each: Length of a segment.
            rate: The learning rate of a step.
            tell: Called after a step with the number of steps so far and its loss.
            before: Steps of the run whose batches precede those of step 0.
        """
        losses = list[float]()
        started = time.monotonic()
        for step, (x, y) in zip(steps, self._batches(before + steps.start), strict=False):
            losses.append(distillation.step(x, y, rate(step)))
            tell(step + 1, losses[-1])
            if (step + 1) % each == 0 or step + 1 == steps.stop:
                yield Segment(step + 1, float(np.mean(losses)), started, losses[0])
                losses = []
                started = time.monotonic()

    def _batches(self, done: int) -> Iterator[batches.Batch]:
        how = self.job.options
        return batches.endless(
            self.job.train, batch_size=self.batch_size, augmentation=how.augmentation, seed=how.seed, done=done
        )

    def restore(self, state: TrainingState, distillation: Distillation) -> None:
        """Let a training go on where a run was stopped."""
        checkpoint.restore(distillation.student.variables, distillation.optimizer.variables, state)

    def save(self, state: TrainingState, distillation: Distillation) -> None:
        """Save where a training is."""
        state.variables = checkpoint.values(distillation.student.variables)
        state.optimizer = checkpoint.values(distillation.optimizer.variables)
        checkpoint.save(state, self.folder)

    def write(self, model: bytes, file: bytes, **fields: Any) -> None:
        """Write the result, unless it has collapsed.

        Args:
            model: The float graph.
            file: The file that is judged: the graph, or its quantized file.
            fields: Those of its contract that the run decides.

        Raises:
            CollapseError: The file hardly answers better than a constant answer.
        """
        if why := self.judge.why_collapsed(file):
            raise CollapseError(f"The training failed: {why}. No file was written.", self.after_collapse)
        contract = self.job.contract
        task = "softmax" if self.job.adapter.end and contract.task == "logits" else contract.task
        float_file = with_scheme(model, SCHEMES["tflite-float32"], None, uint8=self.judge.uint8)
        contract = contract.replace(scheme="tflite-float32", task=task, **fields)
        write_bytes(self.job.target, tflite_with_contract(float_file, contract))


@contextlib.contextmanager
def _unchanged(distillation: Distillation) -> Iterator[None]:
    """Undo the steps that are taken inside."""
    groups = (distillation.student.variables, distillation.optimizer.variables)
    before = [checkpoint.values(group) for group in groups]
    try:
        yield
    finally:
        for group, values in zip(groups, before, strict=True):
            checkpoint.assign(group, values)


def since(started: float) -> float:
    """Seconds since a time of `time.monotonic`."""
    return round(time.monotonic() - started, 3)


def row_of(score: Score | None) -> dict[str, float]:
    """The figures of a score for a row of the history."""
    return {name: float(value) for name, value in score.facts().items() if value is not None} if score else {}


def figures_of(row: Mapping[str, float]) -> str:
    """The figures of a row in words."""
    shares = [f"{name} {row[name]:.2%}" for name in ("agreement", "accuracy") if name in row]
    return ", ".join(shares or [f"{row['snr_db']:.1f} dB"])
