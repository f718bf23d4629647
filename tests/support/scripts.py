"""Loads scripts of the repository, which are in no package, as modules."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


def script(place: str) -> Any:
    """The module of a script, such as "benchmarks/faults/serve_fuzz.py"; it finds no scripts beside it."""
    spec = importlib.util.spec_from_file_location(f"script_{Path(place).stem}", ROOT / place)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look it up there
    spec.loader.exec_module(module)
    return module
