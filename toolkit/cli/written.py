"""What edgepress wrote for options of an edgepress.toml that was found: a note of the user about each folder and file.

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
from collections.abc import Iterator
from pathlib import Path

from edgepress.converters.files import write_json
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
