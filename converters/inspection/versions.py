"""The engine that opens files of a format on this machine, and its version."""

from __future__ import annotations

import re
from importlib import metadata

_ENGINES = {
    "tflite": ("litert", "ai-edge-litert"),
    "onnx": ("onnxruntime", "onnxruntime"),
    "keras": ("keras", "keras"),
    "h5": ("keras", "keras"),
    "saved_model": ("tensorflow", "tensorflow"),
}
"""By format, the engine that opens such files here, and its package."""


def package_of(format: str) -> str:
    """The package of the engine that opens files of a format."""
    return _ENGINES[format][1]


def installed(format: str) -> str:
    """The version of that package here."""
    return metadata.version(package_of(format))


def engine_name(format: str) -> str:
    """The engine that opens files of a format here, with its version."""
    return f"{_ENGINES[format][0]} {installed(format)}"


def version_of(text: str) -> tuple[int, ...]:
    """The numbers of a version, to compare it with another."""
    return tuple(int(part) for part in re.findall(r"\d+", text)[:3])
