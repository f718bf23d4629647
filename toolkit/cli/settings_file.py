"""Reads an edgepress.toml and checks all of it against the options of the commands: names, types and values.

    data = "photos/"          # for all commands that have the option
    max-drop = 0.5            # SHARED says which options may stand here, and for which commands

    [train]
    arch = "mobilenet-v2"
    class-weights = true

Values go through the parsers of the command line. `found_files` says what a file may set that was found, not named.
"""

from __future__ import annotations

import os
import re
import shlex
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, NoReturn, get_origin

from edgepress.runtime.text import one_line
from edgepress.toolkit.cli.commands import READS
from edgepress.toolkit.cli.found_files import JUDGED, UNJUDGED, refusal
from edgepress.toolkit.cli.option_table import (
    accepted_type,
    nearest,
    normal,
    option_names,
    option_type,
    show_name,
    takes_list,
    words_of,
)
from edgepress.toolkit.documents import parse_toml
from edgepress.toolkit.errors import UsageError
from edgepress.toolkit.search.sweeping.plan import TABLES

_WITH_DATA = tuple(name for name in READS if name != "report")
SHARED = {
    "data": _WITH_DATA,
    "engine": ("compress", "benchmark", "bundle"),
    "max_drop": ("compress", "benchmark"),
    "max_size": ("compress", "prune"),
    "max_latency": ("compress", "prune"),
    "max_memory": ("compress",),
    "max_ram": ("compress",),
    "max_flash": ("compress",),
    "seed": ("train", "tune", "compress", "prune"),
    "skip_unreadable": _WITH_DATA,
}
"""Options allowed at top level, each with the commands in which it means the same."""
TEXT_PATHS = ("data", "more", "weights", "base", "teacher", "baseline", "source")
"""Options of type text that are paths, unless `found_files` accepts the text as a name."""
PLAN = tuple(TABLES)
"""Tables of a plan, which may stand below [sweep]."""
LARGEST = 1 << 16
"""Most bytes of a file."""


class FileOption(NamedTuple):
    """An option that the file sets.

    Attributes:
        value: What click takes for it.
        words: The option as on the command line; none for a flag that is not set.
        place: Its key in the file, after those of the tables that it is in.
    """

    value: Any
    words: tuple[str, ...]
    place: tuple[str, ...]


@dataclass(frozen=True)
class Settings:
    """What a file says.

    Attributes:
        path: The file.
        found: Whether it was found rather than named.
        options: The options by command and name of the parameter.
        plan: The tables of a plan below [sweep].
        text: All of it.
    """

    path: Path
    found: bool = False
    options: Mapping[str, Mapping[str, FileOption]] = field(default_factory=dict)
    plan: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    text: str = ""


def load(path: Path, commands: Mapping[str, Any], context: Any, *, found: bool) -> Settings:
    """Read a file and check all of it.

    Args:
        path: The file.
        commands: The commands by name, as click has them.
        context: click's class of contexts.
        found: Whether it was found rather than named: then it may set what `found_files` says.

    Raises:
        UsageError: The file can't be read, or something in it is wrong; the message names the line.
    """
    text = _text(path)
    try:
        tables = parse_toml(text)
    except ValueError as e:
        raise UsageError(f"{relative(path)} is not valid TOML: {e}.", "docs/configuration.md has an example.") from e
    return _Reader(path, text, commands, context, found=found).settings(tables)


def relative(path: Path) -> str:
    """A path as seen from the working directory."""
    try:
        return os.path.relpath(path)
    except (OSError, ValueError):  # another drive of Windows
        return str(path)


def line_of(text: str, *place: str) -> int:
    """The line in which a key of a TOML document begins; 0 if that can't be told.

    The document is read once, after the number of its line was added to the key wherever it may begin.

    Args:
        text: The document.
        place: The key, after those of the tables that it is in.
    """
    begins = re.compile(rf"""((?:^|[\s.["'{{,]){re.escape(place[-1])})(["']?\s*[=.\]])""")
    lines = enumerate(text.split("\n"), 1)
    try:
        table: Any = tomllib.loads("\n".join(begins.sub(rf"\1-line-{n}\2", line) for n, line in lines))
    except (ValueError, RecursionError):
        return 0
    for key in place[:-1]:
        table = table.get(key) if isinstance(table, dict) else None
    marked = [key for key in table or () if key.startswith(f"{place[-1]}-line-")]
    return min((int(key.rpartition("-")[2]) for key in marked), default=0)


def wrong(path: Path, text: str, place: tuple[str, ...], message: str, *, hint: str) -> UsageError:
    """The error about a key of a file."""
    line = line_of(text, *place)
    return UsageError(one_line(f"{relative(path)}{f', line {line}' if line else ''}: {message}"), hint)


def named_instead(path: Path, command: str) -> str:
    """What to type to run a command with a file as one that is named."""
    return f"If the file is yours: edgepress --config {shlex.quote(relative(path))} {command} ..."


def _text(path: Path) -> str:
    try:
        if not path.is_file():
            raise FileNotFoundError(2, "it is a folder" if path.is_dir() else "there is no such file")
        with path.open("rb") as file:
            data = file.read(LARGEST + 1)
        if len(data) > LARGEST:
            raise UsageError(f"{relative(path)} is larger than {LARGEST} bytes.", "Is it the right file?")
        return data.decode("utf-8-sig").replace("\r\n", "\n")
    except OSError as e:
        raise UsageError(f"{relative(path)} can't be read: {e.strerror or e}.", "Check the path.") from e
    except UnicodeDecodeError as e:
        raise UsageError(f"{relative(path)} is not valid TOML: it is not in UTF-8.", "Save it as UTF-8.") from e


class _WrongTypeError(Exception):
    """A value of a type that an option does not have."""


class _Reader:
    """Checks the content of one file; see `load`."""

    def __init__(self, path: Path, text: str, commands: Mapping[str, Any], context: Any, *, found: bool) -> None:
        self.path = path
        self.text = text
        self.commands = commands
        self.found = found
        self.contexts = {name: context(commands[name], info_name=name) for name in READS}
        self.names = {name: option_names(commands[name]) for name in READS}
        self.options: dict[str, dict[str, FileOption]] = {name: {} for name in READS}
        self.plan: dict[str, dict[str, Any]] = {}

    def settings(self, tables: Mapping[str, Any]) -> Settings:
        """The content, checked."""
        for command in [key for key in tables if key in READS]:
            self._take_table(command, tables[command])
        in_tables = {command: set(options) for command, options in self.options.items()}
        for key in [key for key in tables if key not in READS]:
            for command in self._commands_sharing(key):
                if normal(key) not in in_tables[command]:  # the command's own table wins
                    self._take(command, key, value=tables[key])
        return Settings(self.path, self.found, self.options, self.plan, self.text)

    def _take_table(self, command: str, table: Any) -> None:
        """Check the table of a command, and keep its options."""
        if not isinstance(table, dict):
            self._wrong((command,), f"{command} is a table.", f"Write [{command}], and its options below it.")
        for name, value in table.items():
            if command == "sweep" and name in PLAN and isinstance(value, dict):
                self.plan[name] = self._plan(name, value)
            else:
                self._take(command, command, name, value=value)

    def _commands_sharing(self, key: str) -> tuple[str, ...]:
        """The commands that an option at top level is for."""
        if normal(key) in SHARED:
            return SHARED[normal(key)]
        if having := [f"[{command}]" for command, names in self.names.items() if normal(key) in names]:
            self._wrong((key,), f"{key} is not allowed at top level.", f"Write it below {' or '.join(having)}.")
        accepted = [*map(show_name, SHARED), *READS]
        hint = nearest(key, accepted) or f"Accepted: {', '.join(accepted)}."
        self._wrong((key,), f"{key!r} is neither a command that reads this file nor an option of several.", hint)

    def _take(self, command: str, *place: str, value: Any) -> None:
        """Check one option, and keep it."""
        key = place[-1]
        names = self.names[command]
        if normal(key) == "json":
            self._wrong(place, "json stands on the command line only.", f"edgepress {command} ... --json")
        if normal(key) not in names:
            others = [other for other in READS if normal(key) in self.names[other]]
            else_where = f"It is an option of {', '.join(others)}." if others else f"See edgepress {command} --help."
            self._wrong(place, f"{command} has no option {key!r}.", nearest(key, map(show_name, names)) or else_where)
        option, meaning = names[normal(key)]
        if option.name in self.options[command]:
            self._wrong(place, f"{key} is set twice.", "Keep one.")
        try:
            checked = self._value(command, option, value)
            checked = (checked == meaning) if isinstance(checked, bool) else checked
            option.process_value(self.contexts[command], checked)
        except (_WrongTypeError, ValueError, OverflowError) as e:
            self._wrong(place, f"{key} of {command}: {e}.", f"See edgepress {command} --help.")
        except Exception as e:  # click's BadParameter, or Typer's copy of it
            if not hasattr(e, "format_message"):
                raise
            reason = str(getattr(e, "message", e)).removeprefix("Value error, ").rstrip(".")
            self._wrong(place, f"{key} of {command} is {value!r}: {reason}.", f"See edgepress {command} --help.")
        self._allow(command, option.name, checked, place)
        self.options[command][option.name] = FileOption(checked, words_of(option, checked), place)

    def _allow(self, command: str, name: str, value: Any, place: tuple[str, ...]) -> None:
        """Refuse what a file that was found may not set."""
        if self.found and (why := refusal(command, name, value, self.path.parent)):
            self._wrong(place, f"{place[-1]} {why}.", named_instead(self.path, command.partition(".")[0]))

    def _value(self, command: str, option: Any, value: Any) -> Any:
        """A value of TOML as click takes it for an option; a number may stand for a text, such as size = 96.

        Raises:
            _WrongTypeError: It is of another type.
        """
        kind = option_type(self.commands[command], option.name)
        parts = value if isinstance(value, list) and value and takes_list(kind) else [value]
        if kind in (bool, int, float):
            if type(value) is kind or (kind is float and type(value) is int):
                return value
        elif all(isinstance(part, str) or (kind is not Path and type(part) in (int, float)) for part in parts):
            texts = [str(part) for part in parts]
            if get_origin(kind) is list:
                return texts
            text = ",".join(texts)
            return self._place_path(command, option.name, text) if kind is Path or option.name in TEXT_PATHS else text
        raise _WrongTypeError(f"{_TYPES.get(type(value), 'a date or time')} where {accepted_type(kind)} is accepted")

    def _plan(self, name: str, table: dict[str, Any]) -> dict[str, Any]:
        """A table of a plan, with its paths; `plan_of` checks it when a sweep runs."""
        checked = {}
        for key, value in table.items():
            is_path = key in TEXT_PATHS and isinstance(value, str)
            checked[key] = self._place_path(f"sweep.{name}", key, value) if is_path else value
            if key in TABLES[name]:  # `plan_of` refuses others
                self._allow(f"sweep.{name}", key, checked[key], ("sweep", name, key))
        return checked

    def _place_path(self, command: str, name: str, text: str) -> str:
        """A path in the file as seen from the working directory; a name as it is."""
        if not text or (name in TEXT_PATHS and JUDGED.get((command, name), UNJUDGED).accepts(text)):
            return text
        folder = relative(self.path.parent)
        is_list = name in ("data", "source")
        parts = [os.path.expanduser(part) for part in (text.split("::") if is_list else [text])]
        return "::".join(part if folder == "." else os.path.join(folder, part) for part in parts)

    def _wrong(self, place: tuple[str, ...], message: str, hint: str) -> NoReturn:
        raise wrong(self.path, self.text, place, message, hint=hint)


_TYPES: dict[type, str] = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}
_TYPES |= {list: "a list", dict: "a table"}
