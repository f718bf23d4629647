"""The files of an installed release, compared with what was installed.

`install.sh` writes `installed.sha256` into the release's folder when all else is there. It lists each file with its
SHA-256, in the form of sha256sum(1): the files of the bundle with the sums of MANIFEST.json, and what the installation
adds, such as packages, bytecode, a library that was built, and the report of the first self-test. The first line is the
sum of all others; lines with an arrow are links.

    # 5d2c...
    89ab...  MANIFEST.json
    # venv/lib64 -> lib

`run selftest` runs this module, which compares all files before it loads any package, and then tests the answers. `run`
itself compares this module first, so that each notices damage of the other. All of it finds damage and mistakes. It
proves nothing against somebody who can write these files: they can also write the sums.

`install.sh` runs this file as a script, without the package around it. It imports the standard library only.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import runpy
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

SUMS = "installed.sha256"
"""The list of all files, in a release's folder."""
MANIFEST = "MANIFEST.json"
"""The bundle's own list."""
CODE = "edgepress/runtime/installed.py"
"""This module, in a release's folder: the installer of a release that has it writes the list."""
REPORT = "selftest.json"
"""The report of the first self-test; its sum is added to the list when it is written."""
UNLISTED = (SUMS, REPORT, "former")
"""Files that may be missing in the list; `former` is a link to the release before."""
PIECE = 1 << 20
"""Bytes to read at once."""
SHOWN = 3
"""Damaged files that a message names."""
HINT = "Install its bundle again: run update does that for the release in use if it is offered, else its install.sh."
"""What to do about damage."""

compared: Path | None = None
"""The release that this process has compared already; only the command `run selftest` sets it."""


def damage_of(folder: Path) -> str:
    """What is damaged in an installed release, as the end of a sentence; "" if nothing is.

    A release of an earlier edgepress, which has no `installed.sha256`, is compared with its MANIFEST.json.
    """
    found = find_damage(folder)
    more = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
    return json.dumps(", ".join(found[:SHOWN]) + more)[1:-1]  # escapes what a terminal would not show


def find_damage(folder: Path) -> list[str]:
    """The damaged files of an installed release: its name and what is wrong, for each.

    Args:
        folder: The release's folder.
    """
    has_list = any(os.path.lexists(folder / name) for name in (SUMS, CODE))
    try:
        listed = _read_list(folder) if has_list else _manifest_sums(folder)
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return [f"{SUMS if has_list else MANIFEST} differs"]
    names = set(_names(folder))
    added = [name for name in sorted(names - {*listed, *UNLISTED}) if not _is_of_other_python(name)]
    damaged = [f"{name} is missing" for name in sorted({*listed} - names)]
    damaged += [f"{name} differs" for name in sorted(names & {*listed}) if _sum_of(folder / name) != listed[name]]
    return damaged + [f"{name} does not belong to it" for name in added if has_list]


def write_list(folder: Path) -> None:
    """Write the list of a release that was just installed, except for its report.

    Raises:
        ValueError: MANIFEST.json is damaged.
    """
    sums = _manifest_sums(folder)
    added = {*_names(folder)} - {*sums, *UNLISTED}
    _write_list(folder, sums | {name: _sum_of(folder / name) for name in added})


def add_report(folder: Path, report: Path) -> None:
    """Add a report to the list, which is moved into the release's folder afterwards."""
    _write_list(folder, _read_list(folder) | {REPORT: _sum_of(report)})


def _manifest_sums(folder: Path) -> dict[str, str]:
    """The sums of MANIFEST.json and of the files in it that are installed; its id is the hash of its other fields."""
    data = (folder / MANIFEST).read_bytes()
    fields: dict[str, Any] = json.loads(data)
    others = {name: value for name, value in fields.items() if name != "id"}
    if _text(fields) != data or hashlib.sha256(_text(others)).hexdigest() != fields["id"]:
        raise ValueError(f"{MANIFEST} is damaged")
    sums = {str(each["path"]): str(each["sha256"]) for each in fields["files"]}
    installed = {path: sha256 for path, sha256 in sums.items() if not path.startswith("wheels/")}
    return installed | {MANIFEST: hashlib.sha256(data).hexdigest()}


def _text(value: dict[str, Any]) -> bytes:
    """JSON as manifests are written."""
    return (json.dumps(value, indent=1) + "\n").encode()


def _read_list(folder: Path) -> dict[str, str]:
    """The sum of each file, or the target of a link, by name."""
    first, _, rest = (folder / SUMS).read_bytes().partition(b"\n")
    if first != _first_line(rest):
        raise ValueError(f"{SUMS} is damaged")
    listed = {}
    for line in os.fsdecode(rest).removesuffix("\n").split("\n"):
        if line.startswith("# "):
            name, _, target = line[2:].partition(" -> ")
            listed[name] = f"-> {target}"
        else:
            sha256, _, name = line.partition("  ")
            listed[name] = sha256
    return listed


def _write_list(folder: Path, listed: dict[str, str]) -> None:
    lines = [f"# {name} {each}" if each.startswith("-> ") else f"{each}  {name}" for name, each in listed.items()]
    rest = os.fsencode("".join(f"{line}\n" for line in sorted(lines)))
    new = folder / f".{SUMS}.new"
    new.write_bytes(_first_line(rest) + b"\n" + rest)
    os.replace(new, folder / SUMS)


def _first_line(rest: bytes) -> bytes:
    return b"# " + hashlib.sha256(rest).hexdigest().encode()


def _names(folder: Path) -> Iterator[str]:
    """The names of all files and links, relative to the folder."""
    for parent, folders, files in os.walk(folder):
        links = [name for name in folders if os.path.islink(os.path.join(parent, name))]
        for name in (*files, *links):
            yield Path(parent, name).relative_to(folder).as_posix()


def _is_of_other_python(name: str) -> bool:
    """Whether a file is bytecode of another version of Python, which this one does not load."""
    path = Path(name)
    own = f".{sys.implementation.cache_tag}"
    return path.parent.name == "__pycache__" and path.suffix == ".pyc" and own not in path.suffixes


def _sum_of(path: Path) -> str:
    """SHA-256 of a file, the target of a link, or a word for what can't be read; pipes and devices are not opened."""
    try:
        mode = path.lstat().st_mode
        if stat.S_ISLNK(mode):
            return f"-> {os.readlink(path)}"
        if not stat.S_ISREG(mode):
            return "no file"
        digest = hashlib.sha256()
        with path.open("rb") as file:
            while piece := file.read(PIECE):
                digest.update(piece)
    except OSError:
        return "not readable"
    return digest.hexdigest()


def main(words: list[str]) -> None:
    """Write the list, add a report to it, or compare all files and then run the self-test of `run selftest`.

    Args:
        words: "write" and a release's folder; "report", the folder and the report; or the words of `run selftest`:
            "selftest", the folder, and options of the runtime.
    """
    action, folder = words[0], Path(words[1])
    if action == "write":
        write_list(folder)
    elif action == "report":
        add_report(folder, Path(words[2]))
    elif damage := damage_of(folder):
        message = f"This release is damaged: {damage}."
        if "--json" in words:
            print(json.dumps({"error": {"kind": "input", "message": message, "hint": HINT}}))  # noqa: T201
        else:
            print(f"Error: {message} {HINT}", file=sys.stderr)  # noqa: T201
        sys.exit(1)
    else:
        module: Any = importlib.import_module("edgepress.runtime.installed")  # this one runs as a script
        module.compared = folder.resolve()
        runpy.run_module("edgepress.runtime", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main(sys.argv[1:])
