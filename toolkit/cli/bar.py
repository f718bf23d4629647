"""The progress bar of commands that train a float graph."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from edgepress.toolkit.cli import screen
from edgepress.toolkit.terminal import BarColumn, Description, Progress, SpinnerColumn, TimeRemainingColumn, console


@contextmanager
def training_bar() -> Iterator[Callable[[float, str], None]]:
    """A progress bar on standard error with figures and the time left; the steps, if that is not a terminal."""
    columns = (SpinnerColumn(), Description(), BarColumn(), TimeRemainingColumn(compact=True))
    shown = console(stderr=True)
    if not shown.is_terminal:
        yield _Steps()
        return
    with Progress(*columns, console=shown) as progress:
        task = progress.add_task("opening", total=1.0)
        yield lambda share, text: progress.update(task, completed=share, description=text)


class _Steps:
    """Prints what begins, and the figures each time another tenth of the training is done."""

    def __init__(self) -> None:
        self._tenth = 0
        screen.step("Opening the model")

    def __call__(self, share: float, text: str) -> None:
        tenth = int(10 * share)
        if not share or tenth > self._tenth:
            screen.step(f"{text[:1].upper()}{text[1:]}" if share in (0, 1) else f"{share:.0%}: {text}")
        self._tenth = tenth
