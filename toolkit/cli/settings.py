"""Options from the file edgepress.toml become the defaults of the commands that read it, through click's `default_map`.

So a command has no code for it, and the command line wins. `settings_file` reads and checks the file;
docs/configuration.md is the guide.
"""

from __future__ import annotations

import os
import shlex
import stat
import sys
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from edgepress.runtime.text import one_line
from edgepress.toolkit.cli import found_files, screen, written
from edgepress.toolkit.cli.settings_file import (
    NAME,
    READS,
    Given,
    Settings,
    line_of,
    load,
    named_instead,
    relative,
    wrong,
)

_used: ContextVar[tuple[Settings, dict[str, Given]] | None] = ContextVar("used", default=None)
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
    named = group.params.get("config")
    path, ignored = (named, []) if named else find()
    for file in ignored if not quiet else ():
        screen.note(
            f"{one_line(relative(file))} is ignored: it is somebody else's, in a folder where everybody may write. "
            + named_instead(file, name)
        )
    if path is None:
        return
    settings = load(path, commands, type(group), found=named is None)
    group.meta[NAME] = settings
    group.default_map = {name: {key: given.value for key, given in settings.options[name].items()}}


def begin(context: Any) -> str:
    """Remember which options of a command are from the file, and return them as a line; "" if none is.

    Raises:
        UsageError: The file was found, and what it names leads out of its folder or is not edgepress's.
    """
    settings: Settings | None = context.meta.get(NAME)
    _used.set(None)
    if settings is None:
        return ""
    given = settings.options[context.info_name]
    mine = {k: v for k, v in given.items() if context.get_parameter_source(k).name == "DEFAULT_MAP"}
    plan = {name: table for name, table in settings.plan.items() if table}
    tables = plan if context.info_name == "sweep" and context.params.get("plan") is None else {}
    _used.set((Settings(settings.path, settings.found, {}, tables, settings.text), mine))
    if settings.found:
        _check(settings, context, mine, tables)
    words = [*command_words(), *(f"[sweep.{name}]" for name in tables)]
    return one_line(f"From {relative(settings.path)}: {' '.join(words)}") if words else ""


def end(context: Any) -> None:
    """Note what a command wrote for a file that was found."""
    for target in context.meta.pop(f"{NAME} targets", ()):
        written.end(target)


def _check(settings: Settings, context: Any, mine: Mapping[str, Given], plan: Mapping[str, Mapping[str, Any]]) -> None:
    """Look at what a command reads and writes because a file that was found says so, and note what it writes."""
    command = context.info_name
    folder = settings.path.parent
    targets: list[Path] = []
    for where, name, value, place in _paths(context, mine, plan):
        said = found_files.refusal(where, name, value, folder)
        if not said and found_files.JUDGED[where, name].kind == "reads":
            stray = found_files.strays(value, folder)
            said = f"leads to {stray}, and a file that was found reads files below its folder only" if stray else ""
        elif not said:
            new = [Path(value), *([Path(f"{value}.sig")] if command == "bundle" else [])]
            other = next(filter(None, map(written.foreign, new)), "")
            said = f"leads to {other}, which edgepress did not write for this file" if other else ""
            targets += new
        if said:
            hint = f"{named_instead(settings.path, command)} Or give the option yourself."
            raise wrong(settings.path, settings.text, place, f"{place[-1]} {said}.", hint=hint)
    context.meta[f"{NAME} targets"] = targets


def _paths(
    context: Any, mine: Mapping[str, Given], plan: Mapping[str, Mapping[str, Any]]
) -> Iterator[tuple[str, str, Any, tuple[str, ...]]]:
    """The paths from a file that was found: command or table of a plan, option, value, and place in the file."""
    command = context.info_name
    given = context.params
    values = [(command, name, each.value, each.place) for name, each in mine.items()]
    values += [(f"sweep.{t}", key, value, ("sweep", t, key)) for t, keys in plan.items() for key, value in keys.items()]
    typed = given.get("data") and "data" not in mine
    for where, name, value, place in values:
        if name == "source" and typed:
            continue
        if (where, name) in found_files.JUDGED and found_files.JUDGED[where, name].kind in ("reads", "writes"):
            yield where, name, value, place
    yield from _defaults(context, mine, [("sweep", table) for table in plan])


def _defaults(
    context: Any, mine: Mapping[str, Given], tables: list[tuple[str, ...]]
) -> Iterator[tuple[str, str, Any, tuple[str, ...]]]:
    """The paths that a command writes to because of what the file says, although it does not name them."""
    from edgepress.toolkit.benchmarking.more import TO_LABEL
    from edgepress.toolkit.benchmarking.plan import folder_of
    from edgepress.toolkit.training.run_folder import default_folder

    command = context.info_name
    given = context.params
    places = {name: each.place for name, each in mine.items()}
    again = any(given.get(flag) and flag not in mine for flag in ("resume", "overwrite"))  # the user wants this run
    causes = {"train": ("data", "arch", "resume"), "benchmark": ("more",), "bundle": ("format",)}.get(command, ())
    because = [places[name] for name in causes if name in places]
    if command == "sweep" and context.get_parameter_source("out").name == "DEFAULT":
        because = [*tables, *places.values()]
    if not because:
        return
    if command == "train" and given["out"] is None and given["data"] and not again:
        yield command, "out", default_folder(given["data"], given["arch"]), because[0]
    elif command == "benchmark" and given["differences"] is None:
        folder = given["out"] or folder_of(given["files"])
        yield command, "differences", folder / TO_LABEL, because[0]
    elif command == "bundle" and given["out"] is None:
        yield command, "out", given["file"].with_suffix(f".{given['format']}"), because[0]
    elif command == "sweep":
        yield command, "out", given["out"], because[0]


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


def mentioned_options(text: str) -> str:
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
