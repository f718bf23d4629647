"""The progress of a training on standard error: a bar in a terminal or a notebook, else a line for each epoch."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

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
