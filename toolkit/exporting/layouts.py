"""How the files of a folder of C99 are arranged: for CMake, or as a library of the Arduino IDE."""

from __future__ import annotations

import re

import edgepress
from edgepress.converters.to_c.emission import C_TYPES, Sources
from edgepress.toolkit.exporting.frames import FrameSources
from edgepress.toolkit.exporting.job import ExportJob
from edgepress.toolkit.exporting.texts import fill, rows_of
from edgepress.toolkit.exporting.vectors import Vectors

_NAME_LENGTH = 63
"""Letters of an Arduino library's name at most, by its library specification."""


def folder_texts(job: ExportJob, sources: Sources, frames: FrameSources | None, vectors: Vectors) -> dict[str, str]:
    """The C, what builds it and its self-test, by paths in the folder.

    Args:
        job: What was asked for.
        sources: The C of the model.
        frames: That for frames of a camera.
        vectors: Items of the self-test.
    """
    code = {"model.h": sources.header, "model.c": sources.source} | (frames.files if frames else {})
    selftest = selftest_words(vectors)
    if job.layout == "arduino":
        return _arduino_texts(job, code, selftest)
    compiled = " ".join(name for name in code if name.endswith(".c"))
    return code | {
        "selftest.c": fill("c99/selftest.c", **selftest),
        "CMakeLists.txt": fill("cmake/CMakeLists.txt", SOURCES=compiled),
    }


def selftest_words(vectors: Vectors) -> dict[str, str]:
    """What stands in `c99/selftest.c` for its words in @."""
    return {
        "ITEMS": str(len(vectors.inputs)),
        "INPUT_TYPE": C_TYPES[vectors.inputs.dtype.name],
        "OUTPUT_TYPE": C_TYPES[vectors.outputs.dtype.name],
        "INPUTS": rows_of(vectors.inputs),
        "OUTPUTS": rows_of(vectors.outputs),
    }


def _arduino_texts(job: ExportJob, code: dict[str, str], selftest: dict[str, str]) -> dict[str, str]:
    """A library by https://arduino.github.io/arduino-cli/latest/library-specification/."""
    properties = {
        "NAME": library_name(job.path.stem),
        "FILE": re.sub(r"[^\x20-\x7e]", "?", job.path.name),
        "VERSION": edgepress.__version__,
        "INCLUDES": ",".join(name for name in code if name.endswith(".h")),
    }
    return {f"src/{name}": text for name, text in code.items()} | {
        "library.properties": fill("arduino/library.properties", **properties),
        "examples/selftest/selftest.ino": fill("arduino/selftest.ino"),
        "examples/selftest/vectors.h": fill("arduino/vectors.h", **selftest),
    }


def library_name(stem: str) -> str:
    """A name that the Arduino IDE accepts: letters, of which it needs one, digits and _ . -, these not first."""
    name = re.sub(r"[^A-Za-z0-9_.-]+", "-", stem).strip("-_.")
    if not re.search("[A-Za-z]", name[:_NAME_LENGTH]):
        name = f"model-{name}"
    return name[:_NAME_LENGTH].rstrip("-")
