"""What processes of edgepress import: TensorFlow at less cost, and nothing out of the current folder.

Keras imports scikit-learn, SciPy's statistics, Matplotlib and OpenCV for wrappers and plots that edgepress does not
use; these parts of Keras are loaded when something uses them. And while thousands of modules are made, the garbage
collector would walk all of them again and again, and find nothing.
"""

from __future__ import annotations

import gc
import importlib.machinery
import importlib.util
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import LazyLoader
from types import ModuleType
from typing import Any

USED_RARELY = frozenset({"keras.src.visualization", "keras.visualization", "keras.wrappers"})
"""Parts of Keras that are loaded when something uses them."""


def import_less() -> None:
    """Make later imports of TensorFlow and Keras in this process cheaper."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


class _Finder(MetaPathFinder):
    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The spec of a module that is loaded in another way than usual; None of any other."""
        if name not in USED_RARELY and name != "tensorflow":
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = _Uncollected(spec.loader) if name == "tensorflow" else LazyLoader(spec.loader)
        return spec


class _Uncollected(Loader):
    """Runs a module without garbage collection, which afterwards leaves out all that there is."""

    def __init__(self, loader: Loader) -> None:
        self._loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """The module that the usual loader makes."""
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        """Run the module by the usual loader, which is the module's from now on."""
        assert module.__spec__ is not None
        module.__loader__ = module.__spec__.loader = self._loader
        is_collecting = gc.isenabled()
        gc.disable()
        try:
            self._loader.exec_module(module)
        finally:
            gc.freeze()
            if is_collecting:
                gc.enable()


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
    if "matplotlib" not in sys.modules and not any(isinstance(each, _MatplotlibFinder) for each in sys.meta_path):
        sys.meta_path.insert(0, _MatplotlibFinder())


class _MatplotlibFinder:
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
