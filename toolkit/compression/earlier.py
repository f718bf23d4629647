"""The result that a folder holds: it is kept under its limits when a search with other limits writes to the folder."""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgepress.converters.files import sha256_of, write_json
from edgepress.toolkit.compression.limits import KINDS
from edgepress.toolkit.documents import read_json

REPORT = "compress.json"
"""File of a result."""
PICTURE = "search.png"
"""Picture of a result."""
EARLIER = "earlier"
"""Folder of results of other limits."""
SETTINGS = ("model", "limits", "confidence", "prefer", "format", "engine", "latency_on", "seed")
"""What makes a result another one than that of the same command."""


def set_aside(folder: Path, model: Path, now: Mapping[str, Any]) -> Path | None:
    """Move the result of other settings, if a folder holds one, below `EARLIER`; where it is then.

    Args:
        folder: The folder that a result is about to be written to.
        model: The source model of that, which stays where it is.
        now: The document of that.
    """
    document = _read(folder / REPORT)
    if document is None or _settings(document) == _settings(now):
        return None
    home = folder / EARLIER / _name(document)
    home.mkdir(parents=True, exist_ok=True)
    file = file_of(document, folder, model)
    known = file or file_of(document, home, model)  # the latter after a kill on the way
    moved = home / known.name if known is not None else None
    write_json(home / REPORT, document | {"file": None if moved is None else str(moved)})
    for path in (file, folder / PICTURE):
        if path is not None and path.exists():
            os.replace(path, home / path.name)
    (folder / REPORT).unlink()
    return home


def file_of(document: Mapping[str, Any], folder: Path, model: Path) -> Path | None:
    """The file of a result, if it is still as its search wrote it and is not the model."""
    try:
        path = folder / Path(document["file"]).name
        if not stat.S_ISREG(path.lstat().st_mode):
            return None
        known = document["trials"][document["best"]]["sha256"]
        return path if not path.samefile(model) and sha256_of(path) == known else None
    except (OSError, ValueError, KeyError, TypeError, IndexError):  # there is none, or it is not known
        return None


def _read(path: Path) -> dict[str, Any] | None:
    """The document of a result; None if there is none, or it is not one."""
    try:
        document = read_json(path)
    except (OSError, ValueError):
        return None
    return document if isinstance(document.get("limits"), dict) else None


def _settings(document: Mapping[str, Any]) -> str:
    data = document.get("data")
    digest = data.get("sha256") if isinstance(data, dict) else None
    return json.dumps({name: document.get(name) for name in SETTINGS} | {"data": digest}, sort_keys=True)


def _name(document: Mapping[str, Any]) -> str:
    """The name of a result: its limits, as numbers, and a digest of all settings."""
    limits = document["limits"].items()
    numbers = [f"{name}-{value:.12g}" for name, value in limits if name in KINDS and isinstance(value, (int, float))]
    name = "-".join([*numbers, hashlib.sha256(_settings(document).encode()).hexdigest()[:6]])
    return "".join(c if c.isalnum() or c in "-." else "_" for c in name)
