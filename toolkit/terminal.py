"""The terminal: the only module that imports Rich, so that no text of others is taken for its markup.

Each `Text` is one line without control characters (`edgepress.runtime.text`), a console reads no markup, emoji codes or
patterns in what it prints, and no line of it begins as a command of a CI service does, also where Rich has wrapped it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TextIO, cast

from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.console import Console, Group, JustifyMethod
from rich.live import Live
from rich.progress import BarColumn, Progress, ProgressColumn, SpinnerColumn, Task, TaskID, TimeRemainingColumn
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text as _RichText

from edgepress.runtime.text import one_line, without_commands

__all__ = ["SIMPLE_HEAD", "BarColumn", "Console", "Description", "Group", "JustifyMethod", "Live", "Percentage"]
__all__ += ["Progress", "ProgressBar", "SpinnerColumn", "Table", "TaskID", "Text", "TimeRemainingColumn", "cell_len"]
__all__ += ["console", "status"]

PIPE_WIDTH = 140
"""Width of tables written to a pipe or a file, unless COLUMNS is set."""


class Text(_RichText):
    """One line, parts of which may have a style; words of others stay words."""

    def __init__(self, text: str = "", style: str = "", *, cut: bool = False) -> None:
        """Args: the text; its style; whether to cut it where the screen ends instead of wrapping it."""
        super().__init__(one_line(text), style, overflow="ellipsis" if cut else None, no_wrap=cut or None)

    def append(self, text: _RichText | str, style: Any = None) -> Text:
        """Add a text of another style, and return this one."""
        super().append(one_line(text) if isinstance(text, str) else text, style)
        return self


class Description(ProgressColumn):
    """What a bar of progress is about."""

    def render(self, task: Task) -> Text:
        """The text as it is now."""
        return Text(task.description)


class Percentage(ProgressColumn):
    """The share that is done."""

    def render(self, task: Task) -> Text:
        """The share as it is now."""
        return Text(f"{task.percentage:3.0f} %")


class _NoCommands:
    """A stream that writes no command of a CI service, with what Rich asks of a stream."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.encoding = stream.encoding
        self.flush = stream.flush
        self.isatty = stream.isatty
        self.fileno = stream.fileno

    def write(self, text: str) -> int:
        return self._stream.write(without_commands(text))


def console(*, stderr: bool) -> Console:
    """What prints to the standard output or error, as that stands now."""
    stream = cast(TextIO, _NoCommands(sys.stderr if stderr else sys.stdout))
    # In notebooks, Rich would ask for ipywidgets.
    stream_console = Console(
        file=stream, stderr=stderr, markup=False, emoji=False, highlight=False, force_jupyter=False
    )
    if not stream_console.is_terminal and "COLUMNS" not in os.environ:
        stream_console.width = PIPE_WIDTH
    return stream_console


@contextmanager
def status(screen: Console, text: str) -> Iterator[Callable[[str], None]]:
    """Show what is being done until the block ends; yields what replaces the text."""
    with screen.status(Text(text)) as shown:
        yield lambda text: shown.update(Text(text))
