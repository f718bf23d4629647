"""Print results to stdout, and notes, progress and errors to stderr; with `--json`, one document to stdout."""

from __future__ import annotations

import contextlib
import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from edgepress.runtime.text import json_text
from edgepress.toolkit.errors import EdgepressError
from edgepress.toolkit.terminal import (
    SIMPLE_HEAD,
    BarColumn,
    Description,
    Group,
    JustifyMethod,
    Percentage,
    Progress,
    Table,
    TaskID,
    Text,
    TimeRemainingColumn,
    cell_len,
    console,
)
from edgepress.toolkit.text import duration

LONG_S = 5.0
"""Seconds that a phase takes before a log is told how far it is."""
WIDE = 100
"""Width of the screen from which on tables have the columns that matter least."""


def say(text: str = "", *, style: str | None = None) -> None:
    """Print a line of a result to stdout."""
    console(stderr=False).print(Text(text, style=style or ""))


def show(table: Table) -> None:
    """Print a table to stdout."""
    console(stderr=False).print(table)


def document(value: Any) -> None:
    """Print the one JSON document of a command to stdout."""
    console(stderr=False).file.write(f"{json_text(value, indent=2)}\n")


def note(*texts: str) -> None:
    """Print notes about the result to stderr."""
    for text in texts:
        console(stderr=True).print(Text("Note: ", style="yellow").append(text, style="default"))


def remarks(rows: Iterable[Mapping[str, Any]]) -> None:
    """Print what else than quantization limits the accuracy to stdout, and below it the command that helps.

    Remarks with one command stand together, where the first of them would, so that the command stands once.

    Args:
        rows: Remarks as in JSON: "text" and "command".
    """
    texts_of: dict[str, list[str]] = {}  # by command, or by the text of a remark that has none
    for remark in rows:
        texts_of.setdefault(remark["command"] or remark["text"], []).append(remark["text"])
    for command, texts in texts_of.items():
        for text in texts:
            console(stderr=False).print(Text("Remark: ", style="yellow").append(text, style="default"))
        if command not in texts:
            shell_command(f"  Fix: {command}")


def next_command(line: str) -> None:
    """Print the command that makes sense next."""
    shell_command(f"Next: {line}")


def shell_command(line: str, *, style: str = "") -> None:
    """Print a line with a command unbroken, so that it can be copied."""
    console(stderr=False).print(Text(line, style=style), soft_wrap=True)


def step(text: str) -> None:
    """Print the step that begins to stderr."""
    console(stderr=True).print(Text(text, style="cyan"))


def error(problem: EdgepressError, *, as_json: bool, log: Path | None = None) -> None:
    """Print an error: to stderr in words, or as the JSON document if that can be printed.

    Args:
        problem: The error.
        as_json: Whether to print it as JSON to stdout.
        log: Log file of the libraries' messages; its path is printed unless it is empty.
    """
    details = log if log is not None and log.is_file() and log.stat().st_size else None
    if as_json:
        extra = {"log": str(details)} if details else {}
        with contextlib.suppress(OSError):  # stdout can't be written, which may be the error itself: in words
            document({"error": {"kind": problem.kind, "message": problem.message, "hint": problem.hint} | extra})
            return
    screen = console(stderr=True)
    screen.print(Text("Error: ", style="bold red").append(problem.message, style="default"))
    if problem.hint:
        screen.print(Text(problem.hint))
    if details:
        screen.print(Text(f"Messages of the libraries: {details}", style="dim"))


def can_ask() -> bool:
    """Whether there is somebody to answer: input and stderr are a terminal."""
    return sys.stdin is not None and sys.stdin.isatty() and console(stderr=True).is_terminal


def ask(question: str, default: str) -> str:
    """Ask on stderr; the default if the answer is empty or input has ended."""
    try:
        answer = console(stderr=True).input(Text(f"{question} [{default or 'none'}]: "))
    except EOFError:
        console(stderr=True).print()
        return default
    return answer.strip() or default


@contextlib.contextmanager
def progress(names: dict[str, str]) -> Iterator[Callable[[str, float], None]]:
    """Show a progress bar on stderr for each phase; without a terminal, a line for each tenth of long ones.

    Args:
        names: The label of each phase.

    Yields:
        A function to call with a phase and the share of it that is done, 0-1.
    """
    screen = console(stderr=True)
    if not screen.is_terminal:
        yield _Lines(names)
        return
    columns = (Description(), BarColumn(), Percentage(), TimeRemainingColumn())
    bars = Progress(*columns, console=screen, transient=True)
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


class _Lines:
    """Prints how far phases are, for logs and notebooks; what ends at once needs no line."""

    def __init__(self, names: Mapping[str, str]) -> None:
        self._names = names
        self._began: dict[str, float] = {}
        self._tenths: dict[str, int] = {}

    def __call__(self, phase: str, share: float) -> None:
        now = time.monotonic()
        spent = now - self._began.setdefault(phase, now)
        tenth = int(10 * share + 1e-9)
        if tenth > self._tenths.get(phase, 0) and spent >= LONG_S:
            self._tenths[phase] = tenth
            left = f", about {duration(1e6 * spent * (1 - share) / share, 2)} left" if share < 1 else ""
            step(f"{self._names.get(phase, phase)}: {share:.0%}{left}")


WHOLE = 16
"""Words up to this length, such as figures, states and names of schemes, stay whole on every screen."""
GAP = 2
"""Spaces between columns, one of padding and one of the box."""
LONG_NAME = 28
"""Words of names in the first column, such as those of files, stay whole up to this length where there is room."""
UNITS = re.compile(r"(?<=[\d\])-]) (?=(?:%|pp|x|B|[kMG]i?B(?:/s)?|[kMG]MAC/s|dB|[nµm]?s)(?:[ ,;)\]]|$))")
"""The space between a figure, or its interval, and its unit, where no line ends."""
STAYS = "\N{NO-BREAK SPACE}"
Cell = str | Text


def table(columns: Sequence[tuple[str, str]], rows: Sequence[Sequence[Cell]], *, room: int | None = None) -> Table:
    """Make a table, or a list of rows where the screen has no room for all columns with their words whole.

    Args:
        columns: Name, and "left" or "right".
        rows: A cell for each column.
        room: Width of the screen; None: that of stdout.
    """
    room = width() if room is None else room
    cells = [[name, *(_with_units(_text(row[i]).plain) for row in rows)] for i, (name, _) in enumerate(columns)]
    left = room + 1 - GAP * len(columns)
    widths = _fit_columns(cells, left, name=LONG_NAME) or _fit_columns(cells, left, name=WHOLE)
    if widths is None:
        return _list_rows(columns, rows)
    result = Table(header_style="bold", box=SIMPLE_HEAD)
    result.padding = (0, GAP - 1, 0, 0)
    result.show_edge = False
    for (name, justify), wide in zip(columns, widths, strict=True):
        side: JustifyMethod = "right" if justify == "right" else "left"
        result.add_column(Text(name), justify=side, overflow="fold", width=wide)
    for row in rows:
        result.add_row(*(_wrapped(_text(cell), wide) for cell, wide in zip(row, widths, strict=True)))
    return result


def titles_of(shown: Table) -> set[str]:
    """The titles of the figures of a table, also of one that is a list of rows."""
    return {title for column in shown.columns for title in str(column.header).split("\n")}


def _with_units(text: str) -> str:
    return UNITS.sub(STAYS, text)


def _wrapped(cell: Text, wide: int) -> Text | Group:
    """A cell, or its lines, which end where words end and leave figures with their units."""
    words = _with_units(cell.plain)
    if cell_len(words) <= wide or len(words) != len(cell.plain):
        return cell
    ends = []
    start = 0
    for space in (*(n for n, letter in enumerate(words) if letter == " "), len(words)):
        if cell_len(words[start:space]) > wide and (last := words.rfind(" ", start, space)) > start:
            ends.append(last)
            start = last + 1
    parts = cell.divide([end for last in ends for end in (last, last + 1)])
    return Group(*parts[::2])


def _fit_columns(cells: Sequence[Sequence[str]], room: int, *, name: int) -> list[int] | None:
    """The width of each column, so that the widest are wrapped first; None if words would be broken.

    Args:
        cells: The title and the cells of each column.
        room: Width of all together.
        name: Length up to which words of the first column stay whole.
    """
    whole = [max(map(cell_len, column)) for column in cells]
    words = [max((cell_len(word) for cell in column for word in cell.split(" ")), default=0) for column in cells]
    least = [min(WHOLE, longest) for longest in words]
    least[0] = max(min(WHOLE, whole[0]), min(name, words[0]))
    for limit in range(max(whole), -1, -1):
        widths = [min(all_of, max(some, limit)) for all_of, some in zip(whole, least, strict=True)]
        if sum(widths) <= room:
            return widths
    return None


def _list_rows(columns: Sequence[tuple[str, str]], rows: Sequence[Sequence[Cell]]) -> Table:
    """Each row as a line with its name and one with its figures, wrapped where the screen ends."""
    result = Table(box=None, show_header=False, padding=0)
    result.add_column("\n".join(title for title, _ in columns), overflow="fold")
    for first, *others in rows:
        name = _text(first)
        line = Text()
        name.stylize("bold")
        for (title, _), cell in zip(columns[1:], others, strict=True):
            if str(cell):
                line.append("; " if str(line) else "  ").append(f"{title}: " if title else "", style="dim")
                line.append(_text(cell))
        for shown in filter(str, (name, line)):
            result.add_row(shown)
    return result


def _text(cell: Cell) -> Text:
    return cell if isinstance(cell, Text) else Text(cell)


def width() -> int:
    """The width of stdout in columns."""
    return console(stderr=False).width
