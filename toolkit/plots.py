"""The files that plots are written to."""

from __future__ import annotations

from pathlib import Path

from edgepress.toolkit.errors import InputError

SUFFIXES = (".png", ".svg")


def checked_suffix(path: Path) -> None:
    """Check the file name of a plot, before anything is measured.

    Raises:
        InputError: It does not end in `.png` or `.svg`.
    """
    if path.suffix not in SUFFIXES:
        raise InputError(f"{path} cannot hold a plot.", f"Accepted suffixes: {', '.join(SUFFIXES)}.")
