"""Errors of the workstation; the whole tree is drawn in `edgepress.runtime.errors`."""

from __future__ import annotations

from edgepress.runtime.errors import EdgepressError, InputError, MissingExtraError, ModelFileError, unknown

__all__ = [
    "DataError",
    "EdgepressError",
    "InputError",
    "MissingExtraError",
    "ModelFileError",
    "TrainingError",
    "unknown",
]


class DataError(EdgepressError):
    """A data set that can't be used as it is."""

    kind = "data"


class TrainingError(EdgepressError):
    """A training run that can't start or go on."""

    kind = "training"
