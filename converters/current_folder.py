"""The current folder may be anybody's: nothing imports its modules or reads settings of libraries in it."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

SETTINGS = "matplotlibrc"
"""File that matplotlib, which Keras imports, reads first from the current folder."""


@contextmanager
def safe_children() -> Iterator[None]:
    """Let no Python that is started meanwhile import modules of the current folder.

    For libraries that start their processes themselves; others get `-P`.
    """
    before = os.environ.get("PYTHONSAFEPATH")
    os.environ["PYTHONSAFEPATH"] = "1"
    try:
        yield
    finally:
        if before is None:
            os.environ.pop("PYTHONSAFEPATH", None)
        else:
            os.environ["PYTHONSAFEPATH"] = before


def ignore_found_settings() -> None:
    """Let matplotlib read no settings of the current folder when something imports it; the user's own ones count."""
    if "matplotlib" not in sys.modules and not any(isinstance(each, _Finder) for each in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


class _Finder:
    """Finds matplotlib, and hides `SETTINGS` while it is imported: it has no option for that."""

    _is_looking = False

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> importlib.machinery.ModuleSpec | None:
        if name != "matplotlib" or self._is_looking:
            return None
        self._is_looking = True
        try:
            spec = importlib.util.find_spec(name)
        finally:
            self._is_looking = False
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def exec_hidden(module: ModuleType) -> None:
                exists = os.path.exists
                os.path.exists = lambda path: path != SETTINGS and exists(path)
                try:
                    execute(module)
                finally:
                    os.path.exists = exists

            spec.loader.exec_module = exec_hidden  # type: ignore[method-assign]
        return spec
