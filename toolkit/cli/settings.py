"""Options from the file edgepress.toml become the defaults of the commands that read it, through click's `default_map`.

So a command has no code for it, and the command line wins. `settings_file` reads and checks the file, and
`settings_paths` what it names; neither is imported where there is no file. docs/configuration.md is the guide.
"""

from __future__ import annotations

import os
import shlex
import stat
import sys
from collections.abc import Mapping
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgepress.runtime.text import one_line
from edgepress.toolkit.cli import screen
from edgepress.toolkit.cli.commands import NAME, READS

if TYPE_CHECKING:
    from edgepress.toolkit.cli.settings_file import FileOption, Settings

TARGETS = f"{NAME} targets"
"""Key in click's `meta` for the paths that a command writes because a file that was found says so."""
_used: ContextVar[tuple[Settings, dict[str, FileOption]] | None] = ContextVar("used", default=None)
"""The file, and what the command that runs has from it."""


def find() -> tuple[Path | None, list[Path]]:
    """The file that is found, and those that are ignored before it because anybody could have put them there.

    It is that of the working directory or, within a repository, of the nearest parent up to the repository's root.
    """
    try:
        here = Path.cwd()
    except OSError:  # it was removed
        return None, []
    folders = [here, *here.parents]
    root = next((i for i, folder in enumerate(folders) if os.path.exists(folder / ".git")), 0)
    files = [file for folder in folders[: root + 1] if os.path.isfile(file := folder / NAME)]
    place = next((i for i, file in enumerate(files) if not _anybodys(file)), len(files))
    return next(iter(files[place:]), None), files[:place]


def _anybodys(file: Path) -> bool:
    """Whether a file is somebody else's in a folder where everybody may write, such as /tmp."""
    if sys.platform == "win32" or not hasattr(os, "getuid"):
        return False
    return file.lstat().st_uid != os.getuid() and bool(file.parent.stat().st_mode & stat.S_IWOTH)


def apply(group: Any, commands: Mapping[str, Any], name: str, *, quiet: bool = False) -> None:
    """Make the file's options the defaults of a command.

    Args:
        group: The context of the application, with its options `config` and `no_config`.
        commands: The commands by name.
        name: The command that is about to run.
        quiet: Whether nothing is said on the screen, as with --json.

    Raises:
        UsageError: The file can't be read, or something in it is wrong.
    """
    if name not in READS or group.params.get("no_config"):
        return
    from edgepress.toolkit.cli import settings_file

    named = group.params.get("config")
    path, ignored = (named, []) if named else find()
    for file in ignored if not quiet else ():
        screen.note(
            f"{one_line(settings_file.relative(file))} is ignored: it is somebody else's, in a folder where everybody "
            f"may write. {settings_file.named_instead(file, name)}"
        )
    if path is None:
        return
    settings = settings_file.load(path, commands, type(group), found=named is None)
    group.meta[NAME] = settings
    group.default_map = {name: {key: option.value for key, option in settings.options[name].items()}}


def begin(context: Any) -> str:
    """Remember which options of a command are from the file, and return them as a line; "" if none is.

    Raises:
        UsageError: The file was found, and what it names leads out of its folder or is not edgepress's.
    """
    settings = context.meta.get(NAME)
    _used.set(None)
    if settings is None:
        return ""
    from edgepress.toolkit.cli.settings_file import Settings, relative
    from edgepress.toolkit.cli.settings_paths import checked_targets

    options = settings.options[context.info_name]
    mine = {k: v for k, v in options.items() if context.get_parameter_source(k).name == "DEFAULT_MAP"}
    plan = {name: table for name, table in settings.plan.items() if table}
    tables = plan if context.info_name == "sweep" and context.params.get("plan") is None else {}
    _used.set((Settings(settings.path, settings.found, {}, tables, settings.text), mine))
    if settings.found:
        context.meta[TARGETS] = checked_targets(settings, context, mine, tables)
    words = [*command_words(), *(f"[sweep.{name}]" for name in tables)]
    return one_line(f"From {relative(settings.path)}: {' '.join(words)}") if words else ""


def end(context: Any) -> None:
    """Note what a command wrote for a file that was found."""
    if targets := context.meta.pop(TARGETS, ()):
        from edgepress.toolkit.cli import settings_paths

        for target in targets:
            settings_paths.end(target)


def command_words() -> list[str]:
    """The options that the command which runs has from the file, as on the command line."""
    used = _used.get()
    return [shlex.quote(word) for option in (used[1] if used else {}).values() for word in option.words]


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


def mentioned_options(text: str) -> str:
    """Where the options stand that an error message speaks of; "" if none of them is from the file."""
    used = _used.get()
    if used is None:
        return ""
    from edgepress.toolkit.cli.settings_file import line_of, relative

    named = [g for g in used[1].values() if any(len(word) > 1 and word in text for word in g.words)]
    where = relative(used[0].path)
    lines = [line_of(used[0].text, *each.place) for each in named]
    return " ".join(
        f"{each.words[0]} is from {where}{f', line {line}' if line else ''}."
        for each, line in zip(named, lines, strict=True)
    )
