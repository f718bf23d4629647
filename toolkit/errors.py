"""Errors of the workstation; the whole tree is drawn in `edgepress.runtime.errors`."""

from __future__ import annotations

from edgepress.runtime.errors import EdgepressError, InputError, MissingExtraError, ModelFileError, unknown

__all__ = [
    "BoardError",
    "BundleError",
    "DataError",
    "EdgepressError",
    "InputError",
    "MissingExtraError",
    "ModelFileError",
    "TrainingError",
    "missing_extra",
    "unknown",
]

TOOLKIT_MODULES = {
    name.replace("-", "_"): name
    for name in (
        *("ai-edge-litert", "filelock", "flatbuffers", "jinja2", "keras", "litert-quantizer", "matplotlib", "onnx"),
        *("onnxruntime", "platformdirs", "psutil", "pydantic", "rich", "scipy", "tensorflow", "tf2onnx", "typer"),
    )
} | {"PIL": "pillow", "sklearn": "scikit-learn"}
"""What the extra "toolkit" installs: the package on PyPI by the name under which it is imported."""


class BundleError(EdgepressError):
    """A bundle that can't be made, or that is not as it was made."""

    kind = "bundle"


class DataError(EdgepressError):
    """A data set that can't be used as it is."""

    kind = "data"


class BoardError(EdgepressError):
    """A board that can't be reached, or on which something failed."""

    kind = "board"


class TrainingError(EdgepressError):
    """A training run that can't start or go on."""

    kind = "training"


class UsageError(EdgepressError):
    """Arguments that the command line can't parse; exit code 2."""

    kind = "usage"


class InterruptError(EdgepressError):
    """Ctrl-C, or a signal to terminate."""

    kind = "interrupted"


class BugError(EdgepressError):
    """An unexpected exception in a command; its traceback is printed, too."""

    kind = "bug"


def missing_extra(what: str, error: ModuleNotFoundError) -> MissingExtraError | None:
    """The error for a failed import of what the extra "toolkit" installs; None for any other module.

    Args:
        what: What was to be done, to begin the message with.
        error: What the import raised.
    """
    package = TOOLKIT_MODULES.get((error.name or "").partition(".")[0])
    return MissingExtraError(what, package, "toolkit") if package else None
