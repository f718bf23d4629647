"""The outputs of a TFLite file's tensors on a board: copied there, and run by a Python that has an interpreter.

    python3 outputs.py MODEL ITEMS.npy TENSOR,TENSOR,... > answers

The output is a line of JSON, {"engine", "version", "machine"}, and for each item the bytes of its tensors. If this
Python has no interpreter, those of installed bundles are tried.
"""

from __future__ import annotations

import contextlib
import glob
import importlib
import json
import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

ENGINES = (
    ("litert", "ai_edge_litert.interpreter", "ai-edge-litert"),
    ("tflite-runtime", "tflite_runtime.interpreter", "tflite-runtime"),
)
"""Name, module and package."""
INSTALLED = ("~/.local/share/edgepress/*/current/interpreter", "/opt/edgepress/*/current/interpreter")
"""Files of bundles that hold the path of their Python."""
NONE = "neither python3 nor an installed bundle has LiteRT or tflite-runtime"
"""What is said where no Python has an interpreter."""
TRIED = "EDGEPRESS_TRIED"
"""The variable with the number of Pythons that were tried."""


def main(path: str, items_path: str, numbers: str) -> None:
    """Write what the engine answers to stdout."""
    engine, module, package = load_engine()
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what engines print
    import numpy as np

    items = np.load(items_path)
    tensors = [int(number) for number in numbers.split(",")]
    interpreter = module.Interpreter(model_path=path, num_threads=1)
    interpreter.allocate_tensors()
    about = {"engine": engine, "version": version_of(package), "machine": platform.machine()}
    out.write(json.dumps(about).encode() + b"\n")
    source = interpreter.get_input_details()[0]
    for item in items:
        interpreter.set_tensor(source["index"], item.reshape(source["shape"]))
        interpreter.invoke()
        for index in tensors:
            out.write(interpreter.get_tensor(index).tobytes())
    out.close()


def load_engine() -> tuple[str, Any, str]:
    """The first interpreter of this Python; without one, the next Python runs this script, or it ends."""
    for name, module, package in ENGINES:
        with contextlib.suppress(ImportError):
            return name, importlib.import_module(module), package
    files = [file for pattern in INSTALLED for file in sorted(glob.glob(os.path.expanduser(pattern)))]
    for tried in range(int(os.environ.get(TRIED, "0")), len(files)):
        os.environ[TRIED] = str(tried + 1)
        with contextlib.suppress(OSError, ValueError):  # of a bundle that was removed in part, or of another machine
            python = Path(files[tried]).read_text().strip()
            os.execv(python, [python, *sys.argv])
    sys.exit(f"Error: {NONE}.")


def version_of(package: str) -> str:
    """A package's version, "" if it is not known, as of one that was copied without its metadata."""
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


if __name__ == "__main__":
    main(*sys.argv[1:])
