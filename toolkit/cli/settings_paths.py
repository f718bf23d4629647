"""The paths in an edgepress.toml that was found: what a command may read and write, and what edgepress wrote.

What edgepress wrote for options of an edgepress.toml that was found: a note of the user about each folder and file.

Such a file may let a command replace only what edgepress wrote for it before. What that is can't be told from the files
alone, since whoever made the file could have made them, too. So each target has a note in the user's state folder with
the size and time of its files when the last command ended. What a command wrote that was killed is not in it: to resume
that run, the user names the file.

What others put into a target while a command writes there counts as edgepress's.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from edgepress.converters.files import write_json
from edgepress.toolkit.cli import found_files
from edgepress.toolkit.cli.settings_file import FileOption, Settings, named_instead, wrong
from edgepress.toolkit.documents import read_json
from edgepress.toolkit.errors import InputError

Files = dict[str, list[int]]
"""The size and time of change of each file, in nanoseconds, by its place below a target; "" is the target itself."""


def foreign(target: Path) -> str:
    """The first file at or below a target that edgepress did not write for a file that was found; "" for none."""
    note = _read(target)
    for place, path, about in _files(target):
        if about is None or note.get(place) != about:
            return str(path)
    return ""


def end(target: Path) -> None:
    """Note what lies at and below a target now."""
    files = {place: about for place, _, about in _files(target) if about is not None}
    with contextlib.suppress(InputError):  # without a note, nothing there is replaced later
        write_json(_note(target), {"target": str(target), "files": files})


def _files(target: Path) -> Iterator[tuple[str, Path, list[int] | None]]:
    """The files at and below a target; None for what is not a file or can't be read."""
    waiting = [target]
    while waiting:
        path = waiting.pop()
        place = os.path.relpath(path, target) if path != target else ""
        try:
            about = path.lstat()
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError:
            yield place, path, None
            continue
        if not stat.S_ISDIR(about.st_mode):
            yield place, path, [about.st_size, about.st_mtime_ns] if stat.S_ISREG(about.st_mode) else None
            continue
        try:
            waiting += sorted(path.iterdir(), reverse=True)
        except OSError:
            yield place, path, None


def _note(target: Path) -> Path:
    import platformdirs

    name = hashlib.sha256(os.path.realpath(target).encode(errors="surrogateescape")).hexdigest()[:32]
    return platformdirs.user_state_path("edgepress") / "written" / f"{name}.json"


def _read(target: Path) -> Files:
    """What a target had when the last command ended."""
    try:
        files = read_json(_note(target))["files"]
    except (OSError, ValueError, LookupError):  # there is no note, or it is damaged
        return {}
    return files if isinstance(files, dict) else {}


def checked_targets(
    settings: Settings, context: Any, mine: Mapping[str, FileOption], plan: Mapping[str, Mapping[str, Any]]
) -> list[Path]:
    """Check what a command reads and writes because a file that was found says so, and return what it writes.

    Raises:
        UsageError: A path leads out of the file's folder, or to what edgepress did not write for it.
    """
    command = context.info_name
    folder = settings.path.parent
    targets: list[Path] = []
    for where, name, value, place in _paths(context, mine, plan):
        problem = found_files.refusal(where, name, value, folder)
        if not problem and found_files.JUDGED[where, name].kind == "reads":
            stray = found_files.strays(value, folder)
            problem = f"leads to {stray}, and a file that was found reads files below its folder only" if stray else ""
        elif not problem:
            new = [Path(value), *([Path(f"{value}.sig")] if command == "bundle" else [])]
            other = next(filter(None, map(foreign, new)), "")
            problem = f"leads to {other}, which edgepress did not write for this file" if other else ""
            targets += new
        if problem:
            hint = f"{named_instead(settings.path, command)} Or give the option yourself."
            raise wrong(settings.path, settings.text, place, f"{place[-1]} {problem}.", hint=hint)
    return targets


def _paths(
    context: Any, mine: Mapping[str, FileOption], plan: Mapping[str, Mapping[str, Any]]
) -> Iterator[tuple[str, str, Any, tuple[str, ...]]]:
    """The paths from a file that was found: command or table of a plan, option, value, and place in the file."""
    command = context.info_name
    parameters = context.params
    values = [(command, name, each.value, each.place) for name, each in mine.items()]
    values += [(f"sweep.{t}", key, value, ("sweep", t, key)) for t, keys in plan.items() for key, value in keys.items()]
    typed = parameters.get("data") and "data" not in mine
    for where, name, value, place in values:
        if name == "source" and typed:
            continue
        if (where, name) in found_files.JUDGED and found_files.JUDGED[where, name].kind in ("reads", "writes"):
            yield where, name, value, place
    yield from _defaults(context, mine, [("sweep", table) for table in plan])


def _defaults(
    context: Any, mine: Mapping[str, FileOption], tables: list[tuple[str, ...]]
) -> Iterator[tuple[str, str, Any, tuple[str, ...]]]:
    """The paths that a command writes to because of what the file says, although it does not name them."""
    from edgepress.toolkit.measurement.benchmarking.more import TO_LABEL
    from edgepress.toolkit.measurement.benchmarking.plan import folder_of
    from edgepress.toolkit.training.choosing import AUTO, CHOSEN
    from edgepress.toolkit.training.run_folder import chosen_folder

    command = context.info_name
    parameters = context.params
    places = {name: each.place for name, each in mine.items()}
    # The user wants this run.
    again = any(parameters.get(flag) and flag not in mine for flag in ("resume", "overwrite"))
    causes = {"train": ("data", "arch", "resume"), "benchmark": ("more",), "bundle": ("format",)}.get(command, ())
    because = [places[name] for name in causes if name in places]
    if command == "sweep" and context.get_parameter_source("out").name == "DEFAULT":
        because = [*tables, *places.values()]
    if not because:
        return
    if command == "train" and parameters["out"] is None and parameters["data"] and not again:
        for arch in CHOSEN if parameters["arch"] == AUTO else (parameters["arch"],):
            yield command, "out", chosen_folder(None, parameters["data"], arch), because[0]
    elif command == "benchmark" and parameters["differences"] is None:
        folder = parameters["out"] or folder_of(parameters["files"])
        yield command, "differences", folder / TO_LABEL, because[0]
    elif command == "bundle" and parameters["out"] is None:
        yield command, "out", parameters["file"].with_suffix(f".{parameters['format']}"), because[0]
    elif command == "sweep":
        yield command, "out", parameters["out"], because[0]
