"""The files that plots are written to."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
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


@contextmanager
def plain_texts() -> Iterator[None]:
    r"""While it lasts, or in a function that it decorates, matplotlib takes no text for a formula.

    Otherwise a class named "$5" would be drawn in italics, and one named "$\frac$" would end in an exception.
    """
    import matplotlib

    with matplotlib.rc_context({"text.parse_math": False, "text.usetex": False}):
        yield
