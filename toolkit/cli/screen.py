"""Print results to stdout, and notes, progress and errors to stderr; with `--json`, one document to stdout."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console, JustifyMethod
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from edgepress.toolkit.errors import EdgepressError

PIPE_WIDTH = 140
"""Width of tables written to a pipe or a file, unless COLUMNS is set."""

WIDE = 100
"""Width of the screen from which on tables have the columns that matter least."""


def _console(*, stderr: bool) -> Console:
    console = Console(stderr=stderr, highlight=False, soft_wrap=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = PIPE_WIDTH
    return console


def say(text: str = "", *, style: str | None = None) -> None:
    """Print a line of a result to stdout."""
    _console(stderr=False).print(Text(text, style=style or ""))


def show(table: Table) -> None:
    """Print a table to stdout."""
    _console(stderr=False).print(table)


def document(value: Any) -> None:
    """Print the one JSON document of a command to stdout."""
    _console(stderr=False).file.write(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def note(*texts: str) -> None:
    """Print notes about the result to stderr."""
    for text in texts:
        _console(stderr=True).print(Text("Note: ", style="yellow").append(text, style="default"))


def remarks(found: Iterable[Mapping[str, Any]]) -> None:
    """Print what else than quantization limits the accuracy to stdout, each with its next command.

    Args:
        found: Remarks as in JSON: "text" and "command".
    """
    for remark in found:
        _console(stderr=False).print(Text("Remark: ", style="yellow").append(remark["text"], style="default"))
        if remark["command"]:
            # Unbroken, so that it can be copied.
            _console(stderr=False).print(Text(f"  Next: {remark['command']}"), soft_wrap=True)


def step(text: str) -> None:
    """Print the step that begins to stderr."""
    _console(stderr=True).print(Text(text, style="cyan"))


def error(problem: EdgepressError, *, as_json: bool, log: Path | None = None) -> None:
    """Print an error: to stderr in words, or as the JSON document.

    Args:
        problem: The error.
        as_json: Whether to print it as JSON to stdout.
        log: Log file of the libraries' messages; its path is printed unless it is empty.
    """
    details = log if log is not None and log.is_file() and log.stat().st_size else None
    if as_json:
        extra = {"log": str(details)} if details else {}
        document({"error": {"kind": problem.kind, "message": problem.message, "hint": problem.hint} | extra})
        return
    screen = _console(stderr=True)
    screen.print(Text("Error: ", style="bold red").append(problem.message, style="default"))
    if problem.hint:
        screen.print(Text(problem.hint))
    if details:
        screen.print(Text(f"Messages of the libraries: {details}", style="dim"))


def can_ask() -> bool:
    """Whether there is somebody to answer: input and stderr are a terminal."""
    return sys.stdin is not None and sys.stdin.isatty() and _console(stderr=True).is_terminal


def ask(question: str, default: str) -> str:
    """Ask on stderr; the default if the answer is empty or input has ended."""
    try:
        answer = _console(stderr=True).input(Text(f"{question} [{default or 'none'}]: "))
    except EOFError:
        _console(stderr=True).print()
        return default
    return answer.strip() or default


@contextlib.contextmanager
def progress(names: dict[str, str]) -> Iterator[Callable[[str, float], None]]:
    """Show a progress bar on stderr for each phase, if stderr is a terminal.

    Args:
        names: The label of each phase.

    Yields:
        A function to call with a phase and the share of it that is done, 0-1.
    """
    screen = _console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:3.0f} %"))
    bars = Progress(*columns, TimeRemainingColumn(), console=screen, transient=True, disable=not screen.is_terminal)
    tasks: dict[str, TaskID] = {}

    def update(phase: str, share: float) -> None:
        if phase not in tasks:
            bars.start()  # only now, so as not to disturb what is printed before
            tasks[phase] = bars.add_task(names.get(phase, phase), total=1.0)
        bars.update(tasks[phase], completed=share)

    try:
        yield update
    finally:
        bars.stop()


NAME_WIDTH = 16
"""Names in the first column, such as schemes, are not wrapped up to this length, even on a narrow screen."""


def table(columns: Sequence[tuple[str, str]], rows: Sequence[Sequence[str | Text]]) -> Table:
    """Make a table; columns are (name, "left" or "right"), as wide as the longest word of their name at least."""
    result = Table(header_style="bold", box=SIMPLE_HEAD)
    result.padding, result.show_edge = (0, 1, 0, 0), False
    longest = max((len(row[0]) for row in rows), default=0)
    for i, (name, justify) in enumerate(columns):
        least = max([min(longest, NAME_WIDTH) if i == 0 else 0, *map(len, name.split())])
        side: JustifyMethod = "right" if justify == "right" else "left"
        result.add_column(name, justify=side, overflow="fold", min_width=least)
    for row in rows:
        result.add_row(*row)
    return result


def width() -> int:
    """The width of stdout in columns."""
    return _console(stderr=False).width
