"""The engine that opens files of a format on this machine, and the first releases of engines that run a file.

ONNX Runtime refuses a file whose `ir_version` or default operator set is newer than what it was built with.

Sources: ONNX Runtime's compatibility table (onnxruntime.ai/docs/reference/compatibility.html) up to 1.20. From 1.15 on
each row was measured, by opening files of one Relu with every operator set and every format version (docs/inspect.md);
for 1.15 the table is wrong: it reads format 9.

An operation of TFLite has a version, and an interpreter refuses versions that it does not know
(`tflite_operations.toml`, which also names the sources). The version in the file is not enough, because quantizers
leave it lower than the types of the tensors need: an int8 operation at version 1 does not run if int8 came with version
2, and interpreters before 2.17 compute a dynamic per-channel FULLY_CONNECTED wrong, without an error. So
`oldest_release` also uses the version that types and granularity imply.

Limits: options that raise a version (narrow ranges, more than four dimensions, broadcasting) are ignored, because
writers of files set the version for these.
"""

from __future__ import annotations

import functools
import re
import tomllib
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

PYPI = {
    "tflite_runtime": "2.7 2.8 2.9 2.10 2.11 2.12 2.13 2.14",
    "ai_edge_litert": "2.18=1.0.0 2.19=1.1.0 2.20=2.0.2 2.22=2.1.3 2.23=2.2.0",
}
"""Releases of the interpreters on PyPI. LiteRT counts anew: its are paired with the TensorFlow Lite release whose
operations they all hold."""

CHANNELS_OF_INTEGER_DENSE = (2, 12)
"""FULLY_CONNECTED with integer data reads each channel's scale in 2.12 and newer (measured); older kernels take the
first scale for all, without an error (TensorFlow, lite/kernels/fully_connected.cc @ f3a451c)."""

INTEGER_DENSE_OF_FOUR_BITS = (2, 19)
"""FULLY_CONNECTED of int8 data and int4 weights: tflite-runtime 2.14 and LiteRT 1.0.1 refuse it, LiteRT 1.1.2 runs it
(measured); version 10 came with float data and int4 weights."""

Release = tuple[int, ...]


_ENGINES = {
    "tflite": ("litert", "ai-edge-litert"),
    "onnx": ("onnxruntime", "onnxruntime"),
    "keras": ("keras", "keras"),
    "h5": ("keras", "keras"),
    "saved_model": ("tensorflow", "tensorflow"),
}
"""By format, the engine that opens such files here, and its package."""

RELEASES = (
    ("1.0", 11, 6),
    ("1.3", 12, 7),
    ("1.6", 13, 7),
    ("1.8", 14, 7),
    ("1.9", 15, 8),
    ("1.11", 16, 8),
    ("1.12", 17, 8),
    ("1.14", 18, 8),
    ("1.15", 19, 9),
    ("1.17", 20, 9),
    ("1.18", 21, 10),
    ("1.21", 22, 10),
    ("1.23", 23, 11),
    ("1.24", 25, 13),
    ("1.25", 26, 13),
    ("1.32", 28, 14),
)
"""ONNX Runtime release, and the newest operator set and format version that it reads. Releases left out read what the
one before them reads."""

CAST_OF_FOUR_BITS = (23, 0)
"""Cast of int4 or uint4: 1.22 and older refuse it, 1.23, the first with this operator set, runs it (measured)."""
OLDEST_OPSET = 7
"""Oldest operator set that ONNX Runtime supports officially."""


def package_of(format: str) -> str:
    """The package of the engine that opens files of a format."""
    return _ENGINES[format][1]


def installed_version(format: str) -> str:
    """The version of that package here."""
    return metadata.version(package_of(format))


def engine_name(format: str) -> str:
    """The engine that opens files of a format here, with its version."""
    return f"{_ENGINES[format][0]} {installed_version(format)}"


def version_of(text: str) -> tuple[int, ...]:
    """The numbers of a version, to compare it with another."""
    return tuple(int(part) for part in re.findall(r"\d+", text)[:3])


def oldest_onnxruntime(opset: int, ir_version: int) -> str | None:
    """The first release that opens a file of this default operator set and format; None if no known one does."""
    return next((release for release, o, ir in RELEASES if o >= opset and ir >= ir_version), None)


@dataclass(frozen=True)
class Use:
    """How a file uses an operation.

    Attributes:
        operation: Its name in the TFLite schema.
        version: Its version in the file.
        data: Type of its data, "" if it has none.
        weights: Type of its constant weights, "" if it has none.
        output: Type of its first output, "" if it has none.
        per_channel: Whether its weights - or for DEQUANTIZE and QUANTIZE, any end - have a scale for each channel.

    As text it is what an interpreter must be able to do.
    """

    operation: str
    version: int
    data: str = ""
    weights: str = ""
    output: str = ""
    per_channel: bool = False

    def __str__(self) -> str:
        if self.version > 1 and self.version == required_version(self):
            return f"{self.operation} version {self.version}"
        types = " x ".join(filter(None, (self.data, self.weights)))
        return f"{self.operation} {types}{' per channel' if self.per_channel and self.weights else ''}".strip()


@functools.cache
def operations() -> dict[str, dict[str, Any]]:
    """The rows of `tflite_operations.toml` by operation; the head of that file describes their fields."""
    return tomllib.loads(Path(__file__).with_name("tflite_operations.toml").read_text(encoding="utf-8"))


def required_version(use: Use) -> int:
    """The version that an interpreter must support: the one in the file, or a higher one that the types need."""
    row = operations().get(use.operation, {})
    implied = [use.version]
    for field, types in (("data", use.data), ("weights", f"{use.data}/{use.weights}"), ("output", use.output)):
        keys = (types, f"{types}/channel", "*/channel") if use.per_channel else (types,)
        implied += [row.get(field, {}).get(key, 0) for key in keys]
    return max(implied)


def oldest_release(use: Use) -> Release | None:
    """The first TensorFlow Lite release that runs an operation correctly, such as (2, 14); None if unknown."""
    releases = operations().get(use.operation, {}).get("releases", "").split()
    version = required_version(use)
    if not 1 <= version <= len(releases) or releases[version - 1] == "-":
        return None
    release = _parse(releases[version - 1])
    if use.operation == "FULLY_CONNECTED" and (use.data, use.weights) == ("int8", "int4"):
        return max(release, INTEGER_DENSE_OF_FOUR_BITS)
    if use.operation == "FULLY_CONNECTED" and use.per_channel and use.data in ("int8", "int16"):
        return max(release, CHANNELS_OF_INTEGER_DENSE)
    return release


def on_pypi(release: Release) -> dict[str, str | None]:
    """The oldest release of each interpreter on PyPI that contains a TensorFlow Lite release; None if none does."""
    releases: dict[str, str | None] = {}
    for package, text in PYPI.items():
        rows = [row.partition("=") for row in text.split()]
        releases[package] = next((own or of for of, _, own in rows if _parse(of) >= release), None)
    return releases


def _parse(text: str) -> Release:
    return tuple(int(part) for part in text.split("."))
