"""Errors of the workstation; `edgepress.runtime.errors` draws the whole tree."""

from __future__ import annotations

from edgepress.runtime.errors import EdgepressError, InputError, MissingExtraError, ModelFileError, unknown

__all__ = ["BoardError", "BugError", "BundleError", "DataError", "EdgepressError", "InputError", "InterruptError"]
__all__ += ["LostError", "MissingExtraError", "ModelFileError", "NotANumberError", "TrainingError", "UsageError"]
__all__ += ["missing_extra", "unknown"]

TOOLKIT_MODULES = {
    name.replace("-", "_"): name
    for name in (
        *("ai-edge-litert", "filelock", "flatbuffers", "jinja2", "keras", "litert-quantizer", "matplotlib", "onnx"),
        *("onnxruntime", "platformdirs", "psutil", "pydantic", "rich", "scipy", "tensorflow", "tf2onnx", "typer"),
    )
} | {"PIL": "pillow", "sklearn": "scikit-learn"}
"""The packages of the extra "toolkit": the name on PyPI by the name to import."""


class BundleError(EdgepressError):
    """A bundle that can't be made, or that was changed or damaged."""

    kind = "bundle"


class DataError(EdgepressError):
    """A data set that can't be used as it is."""

    kind = "data"


class BoardError(EdgepressError):
    """A board that can't be reached, or a step that failed on it."""

    kind = "board"


class LostError(BoardError):
    """The connection to a board broke."""


class TrainingError(EdgepressError):
    """A training run that can't start or continue."""

    kind = "training"


class NotANumberError(TrainingError):
    """The loss became NaN or infinite."""


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
    """The error for a missing package of the extra "toolkit"; None for any other module.

    Args:
        what: What needs the package; the message begins with it.
        error: The exception of the import.
    """
    package = TOOLKIT_MODULES.get((error.name or "").partition(".")[0])
    return MissingExtraError(what, package, "toolkit") if package else None
