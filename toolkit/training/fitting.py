"""The epochs of a training: batches, validation, checkpoints, progress, and the end by epochs, patience or time."""

from __future__ import annotations

import dataclasses
import math
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from edgepress.toolkit.data.types import Split
from edgepress.toolkit.errors import NotANumberError
from edgepress.toolkit.training import batches, checkpoint
from edgepress.toolkit.training.checkpoint import TrainingState
from edgepress.toolkit.training.label_kinds import loss_and_accuracy
from edgepress.toolkit.training.learners import Learner

Advance = Callable[[int, dict[str, float]], None]
"""Called after each step, and after validation, with the number of the epoch (from 0) and its figures so far."""


@contextmanager
def training_bar(epochs: int, steps: int, *, done: int, show: bool) -> Iterator[Advance]:
    """Show epoch, loss, accuracy and the time left, of so many epochs of so many steps, of which some are done."""
    from edgepress.toolkit.terminal import BarColumn, Description, Progress, Text, TimeRemainingColumn, console

    screen = console(stderr=True)
    notebook = _notebook_display() if show else None
    if notebook is not None:
        count = done * steps

        def show_bar(epoch: int, logs: dict[str, float]) -> None:
            nonlocal count
            count += "val_accuracy" not in logs
            notebook.update(_Bar(count, epochs * steps, _words(epoch, epochs, logs)))

        yield show_bar
        return
    if show and not screen.is_terminal:

        def print_epoch(epoch: int, logs: dict[str, float]) -> None:
            if "val_accuracy" in logs:
                screen.print(Text(_words(epoch, epochs, logs)))

        yield print_epoch
        return
    columns = (Description(), BarColumn(), TimeRemainingColumn(compact=True))
    with Progress(*columns, console=screen, disable=not show) as progress:
        task = progress.add_task("starting", total=epochs * steps, completed=done * steps)

        def advance(epoch: int, logs: dict[str, float]) -> None:
            progress.update(task, description=_words(epoch, epochs, logs), advance=0 if "val_accuracy" in logs else 1)

        yield advance


def _words(epoch: int, epochs: int, logs: dict[str, float]) -> str:
    text = f"epoch {epoch + 1}/{epochs}  loss {logs['loss']:.4f}  accuracy {logs['accuracy']:.2%}"
    return text + (f"  validation {logs['val_accuracy']:.2%}" if "val_accuracy" in logs else "")


class _Bar:
    """A bar in a notebook, as XML, which needs no other package."""

    def __init__(self, count: int, total: int, words: str) -> None:
        self._text = f'<p><progress value="{count}" max="{max(total, 1)}"></progress> {words}</p>'

    def _repr_html_(self) -> str:
        return self._text


def _notebook_display() -> Any:
    """An output of the running cell that can be replaced; None outside of notebooks."""
    if "ipykernel" not in sys.modules:
        return None
    from IPython import get_ipython
    from IPython.display import display

    if not hasattr(get_ipython(), "kernel"):
        return None
    return display(_Bar(0, 1, "starting"), display_id=True)  # type: ignore[no-untyped-call]


TIMED = 5
"""Steps that measure how long one takes; the first ones compile."""
VALIDATION = 0.3
"""Time of an item's answer as a share of that of training on it."""


@dataclasses.dataclass(frozen=True)
class Fitting:
    """What the epochs of a run need.

    Attributes:
        learner: Takes the steps.
        model: The Keras model, which answers the validation items.
        val: The validation split.
        read: Makes the batches of an epoch, given as `epoch`.
        steps: Number of batches in an epoch.
        folder: The run's folder.
        keeps_last: Whether the last epoch is kept, instead of the best.
        progress: Whether to show progress.
    """

    learner: Learner
    model: Any
    val: Split
    read: Callable[..., Iterator[batches.Batch]]
    steps: int
    folder: Path
    keeps_last: bool
    progress: bool


def fit(run: Fitting, state: TrainingState, *, last_epoch: int, epochs: int) -> None:
    """Train until `last_epoch` of so many planned epochs or until patience runs out, then set the best weights.

    Raises:
        KeyboardInterrupt: Ctrl-C; the message says how to resume.
        NotANumberError: The loss is not a number.
    """
    learner = run.learner
    if state.history:
        checkpoint.restore(list(learner.variables), list(learner.optimizer), state)
    try:
        with training_bar(epochs, run.steps, done=state.epochs_done, show=run.progress) as advance:
            while not state.is_over(last_epoch):
                started = time.monotonic()
                row = _epoch(run, state, epochs=epochs, advance=advance)
                row |= {"seconds": round(time.monotonic() - started, 3)}
                add_row(run, state, row)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            f"Stopped after epoch {state.epochs_done} of {epochs}. Resume with the same command and --resume."
        ) from None
    except NotANumberError:
        (run.folder / checkpoint.NAME).unlink(missing_ok=True)  # resuming from it would fail in the same way
        raise
    checkpoint.assign(list(learner.variables), state.best)


def add_row(run: Fitting, state: TrainingState, row: dict[str, float]) -> None:
    """Add a row to the history, with the variables as they are now, and save the checkpoint."""
    variables, optimizer = (checkpoint.values(list(v)) for v in (run.learner.variables, run.learner.optimizer))
    state.add(row, variables, optimizer, keep=run.keeps_last)
    checkpoint.save(state, run.folder)


def epochs_in(run: Fitting, seconds: float) -> int:
    """How many epochs a time allows, measured on some steps, which are undone."""
    learner = run.learner
    groups = [list(learner.variables), list(learner.optimizer)]
    before = [checkpoint.values(group) for group in groups]
    times = list[float]()
    for batch, _ in zip(run.read(epoch=0), range(TIMED), strict=False):
        started = time.monotonic()
        learner.step(batch, 0.0, 0)
        times.append(time.monotonic() - started)
    for group, values in zip(groups, before, strict=True):
        checkpoint.assign(group, values)
    step = float(np.median(times[2:] or times))
    items = len(run.val) / max(1, len(batch[1]))
    return int((seconds - sum(times)) / max(step * (run.steps + VALIDATION * items), 1e-6))


def _epoch(run: Fitting, state: TrainingState, *, epochs: int, advance: Advance) -> dict[str, float]:
    """Train for one epoch, and validate; returns its row of the history."""
    epoch = state.epochs_done
    count = 0
    sums = np.zeros(2)
    for step, batch in enumerate(run.read(epoch=epoch), start=epoch * run.steps):
        rate = run.learner.rate(step, epochs * run.steps)
        loss, accuracy = run.learner.step(batch, rate, step)
        _require_number(loss, epoch)
        items = len(batch[1])
        count = count + items
        sums = sums + items * np.array([loss, accuracy], np.float64)
        so_far = {"loss": float(sums[0] / count), "accuracy": float(sums[1] / count)}
        advance(epoch, so_far)
    scores = batches.predict_scores(run.model, run.val, batch_size=state.began_with["batch_size"])
    row = {"epoch": epoch + 1, **so_far, **loss_and_accuracy(scores, run.val.y), "learning_rate": rate}
    _require_number(row["val_loss"], epoch)
    advance(epoch, row)
    return row


def _require_number(loss: float, epoch: int) -> None:
    if not math.isfinite(loss):
        hint = "Lower the learning rate, or look for outliers in the data."
        raise NotANumberError(f"The loss became {loss} in epoch {epoch + 1}.", hint)
