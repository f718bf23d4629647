"""The model as C in a bundle, for boards that no engine has packages for: the engine `native`."""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

from edgepress.converters.to_c.emission import c_string, emit
from edgepress.converters.to_c.graph import Tensor
from edgepress.converters.to_c.lowering import lower
from edgepress.converters.to_c.passes import place_smallest, without_constant_channels
from edgepress.runtime.native_session import LIBRARY
from edgepress.toolkit.errors import BundleError, InputError
from edgepress.toolkit.results.run_files import check_integers

ENGINE = "native"
COMPILERS = ("cc", "gcc", "clang")
"""In the order in which they are tried if $CC names none; `install.sh` tries the same."""
_ALONE = [[name] for name in COMPILERS]
FLAGS = ("-std=c99", "-O3", "-fPIC", "-shared")
"""`install.sh` passes the same."""
_ABOUT = """\
/* What the runtime has to know of the model. */
#include "model.h"

const char *model_about(void);

const char *model_about(void) {{ return {text}; }}
"""


def check_native(file: Path, format: str, *, boards: object, offline: bool, updates: object, mqtt: bool) -> None:
    """Refuse options that do not go with the engine native.

    Raises:
        InputError: There is one.
        ModelFileError: The file is no TFLite file.
    """
    check_integers(file)
    if format != "zip":
        raise InputError("A pyz has no installer, which builds the engine native.", "Make a zip.")
    if boards:
        raise InputError("A bundle of the engine native has no packages.", "Leave out --board: it installs anywhere.")
    if offline:
        raise InputError("A bundle of the engine native has no packages.", "Leave out --offline: it downloads nothing.")
    if mqtt:
        raise InputError("A bundle of the engine native has no packages.", "Leave out --mqtt.")
    if updates is not None:
        raise InputError("Bundles of the engine native take no updates.", "Leave out --updates.")


def add_native(folder: Path, model: str) -> Path:
    """Write the C of a model into its folder, and build it for this machine.

    Args:
        folder: The folder.
        model: Name of the model's file in it.

    Returns:
        The model's file.

    Raises:
        ModelFileError: It is damaged, or holds something that is not exactly supported.
        BundleError: There is no C compiler, or it fails.
    """
    write_native(folder / model)
    build_library(folder)
    return folder / model


def write_native(path: Path) -> None:
    """Write the C of a model file beside it."""
    program = without_constant_channels(lower(path))
    sources = emit(*place_smallest(program))
    about = {
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "input": _port(program.input),
        "output": _port(program.output),
    }
    target = (path.parent / LIBRARY).parent
    target.mkdir()
    texts = {"model.h": sources.header, "model.c": sources.source}
    texts["about.c"] = _ABOUT.format(text=c_string(json.dumps(about)))
    for name, text in texts.items():
        (target / name).write_text(text, encoding="utf-8", newline="\n")


def build_library(folder: Path) -> None:
    """Build the library of the C in a folder, as `install.sh` does on a board.

    Raises:
        BundleError: There is no compiler, or it fails.
    """
    try:
        named = shlex.split(os.environ.get("CC", ""))  # it may have arguments, as in make
    except ValueError as e:
        raise BundleError(f"CC is {os.environ['CC']!r}, whose quotation does not end.", "CC names a compiler.") from e
    compiler = next((words for words in ([named] if named else _ALONE) if shutil.which(words[0])), None)
    if compiler is None:
        problem = "A C compiler is missing, with which the bundle's self-test is run here."
        raise BundleError(problem, "Install one, such as: sudo apt install gcc libc6-dev; CC names another.")
    library = folder / LIBRARY
    sources = [str(library.with_name(name)) for name in ("model.c", "about.c")]
    process = subprocess.run([*compiler, *FLAGS, *sources, "-o", str(library)], capture_output=True, text=True)
    if process.returncode:
        reason = (process.stderr.strip().splitlines() or ["no reason given"])[0]
        raise BundleError(
            f"{' '.join(compiler)} can't build the model: {reason}", "Name another compiler: CC=clang edgepress ..."
        )


def _port(tensor: Tensor) -> dict[str, Any]:
    """The input or output of a program, as an interpreter describes it."""
    quantization = [float(tensor.scale), int(tensor.zero_point)] if len(tensor.scales) else [0.0, 0]
    return {"shape": list(map(int, tensor.shape)), "dtype": tensor.dtype, "quantization": quantization}
