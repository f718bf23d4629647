"""Child processes import numpy and the runtime only: they start fast, and in environments without TensorFlow."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from edgepress.toolkit import workers

MODULES = sorted(path.stem for path in Path(workers.__path__[0]).glob("[a-z]*.py"))
ALLOWED = (
    "numpy",
    "edgepress.runtime",
    "edgepress.toolkit.workers",
    "edgepress.converters.worker",
    "edgepress.converters.system",
)


@pytest.mark.parametrize("name", MODULES)
def test_a_worker_loads_numpy_and_the_runtime_only(name: str) -> None:
    code = (
        "import sys\nbefore = set(sys.modules)\n"  # Debian's Python loads a sitecustomize by itself
        f"import edgepress.toolkit.workers.{name}\n"
        "print(*(m for m in set(sys.modules) - before if m.partition('.')[0] not in sys.stdlib_module_names))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    packages = {"edgepress", "edgepress.toolkit", "edgepress.converters"}
    others = {m for m in done.stdout.split() if not m.startswith(("_", *ALLOWED)) and m not in packages}
    assert others == set()
