"""Options from the file edgepress.toml become the defaults of the commands that read it, through click's `default_map`.

So a command has no code for it, and the command line wins. `settings_file` reads and checks the file;
docs/configuration.md is the guide.
"""

from __future__ import annotations

import os
import shlex
import stat
import sys
from collections.abc import Mapping
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from edgepress.toolkit.cli.settings_file import NAME, READS, Given, Settings, line_of, load, printable, relative

_used: ContextVar[tuple[Settings, dict[str, Given]] | None] = ContextVar("used", default=None)
"""The file, and what the command that runs has from it."""


def find() -> Path | None:
    """The file of the working directory or, within a repository, of the nearest parent up to the repository's root."""
    try:
        here = Path.cwd()
    except OSError:  # it was removed
        return None
    folders = [here, *here.parents]
    root = next((i for i, folder in enumerate(folders) if os.path.exists(folder / ".git")), 0)
    files = [folder / NAME for folder in folders[: root + 1]]
    return next((file for file in files if os.path.isfile(file) and (file is files[0] or not _anybodys(file))), None)


def _anybodys(file: Path) -> bool:
    """Whether a file is somebody else's in a folder where everybody may write, such as /tmp with a .git in it."""
    if sys.platform == "win32" or not hasattr(os, "getuid"):
        return False
    return file.lstat().st_uid != os.getuid() and bool(file.parent.stat().st_mode & stat.S_IWOTH)


def apply(group: Any, commands: Mapping[str, Any], name: str) -> None:
    """Make the file's options the defaults of a command.

    Args:
        group: The context of the application, with its options `config` and `no_config`.
        commands: The commands by name.
        name: The command that is about to run.

    Raises:
        UsageError: The file can't be read, or something in it is wrong.
    """
    named = group.params.get("config")
    if name not in READS or group.params.get("no_config") or (path := named or find()) is None:
        return
    settings = load(path, commands, type(group), found=named is None)
    group.meta[NAME] = settings
    group.default_map = {name: {key: given.value for key, given in settings.options[name].items()}}


def begin(context: Any) -> str:
    """Remember which options of a command are from the file, and return them as a line; "" if none is."""
    settings: Settings | None = context.meta.get(NAME)
    _used.set(None)
    if settings is None:
        return ""
    given = settings.options[context.info_name]
    mine = {k: v for k, v in given.items() if context.get_parameter_source(k).name == "DEFAULT_MAP"}
    plan = {name: table for name, table in settings.plan.items() if table}
    tables = plan if context.info_name == "sweep" and context.params.get("plan") is None else {}
    _used.set((Settings(settings.path, {}, tables, settings.text), mine))
    words = [*command_words(), *(f"[sweep.{name}]" for name in tables)]
    return printable(f"From {relative(settings.path)}: {' '.join(words)}") if words else ""


def command_words() -> list[str]:
    """The options that the command which runs has from the file, as on the command line."""
    used = _used.get()
    return [shlex.quote(word) for given in (used[1] if used else {}).values() for word in given.words]


def command_line() -> str:
    """The command that runs, with the options from the file: what repeats it without the file."""
    return " ".join([shlex.join(["edgepress", *sys.argv[1:]]), *command_words()])


def is_from_file(name: str) -> bool:
    """Whether a parameter of the command that runs has its value from the file."""
    used = _used.get()
    return used is not None and name in used[1]


def plan_tables() -> dict[str, Any]:
    """The tables of a plan that the file has below [sweep]."""
    used = _used.get()
    return {name: dict(table) for name, table in used[0].plan.items()} if used else {}


def mentioned(text: str) -> str:
    """Where the options stand that an error message speaks of; "" if none of them is from the file."""
    used = _used.get()
    if used is None:
        return ""
    named = [g for g in used[1].values() if any(len(word) > 1 and word in text for word in g.words)]
    where = relative(used[0].path)
    lines = [line_of(used[0].text, *each.place) for each in named]
    return " ".join(
        f"{each.words[0]} is from {where}{f', line {line}' if line else ''}."
        for each, line in zip(named, lines, strict=True)
    )
