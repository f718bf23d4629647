"""Makes `import tensorflow` cheaper in processes of edgepress.

Keras imports scikit-learn, SciPy's statistics, Matplotlib and OpenCV for wrappers and plots that edgepress does not
use; these parts of Keras are loaded when something uses them. And while thousands of modules are made, the garbage
collector would walk all of them again and again, and find nothing.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import LazyLoader
from types import ModuleType

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
