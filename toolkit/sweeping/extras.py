"""Packages of the extra "sweep", which are imported only where they are used."""

from __future__ import annotations

import importlib
from typing import Any

from edgepress.toolkit.errors import MissingExtraError


def import_extra(name: str, what: str) -> Any:
    """A package of the extra "sweep".

    Args:
        name: Its name.
        what: What needs it, for the error.

    Raises:
        MissingExtraError: It is not installed.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as e:
        raise MissingExtraError(what, name, "sweep") from e
