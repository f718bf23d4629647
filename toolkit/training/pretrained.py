"""Load initial weights: ImageNet's from keras.applications, or those of another run, without the classifier."""

from __future__ import annotations

import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from edgepress.converters.scratch import ScratchFolder
from edgepress.converters.sources.bombs import refuse_unsafe
from edgepress.runtime.errors import parsing
from edgepress.toolkit.errors import InputError, TrainingError

SUFFIXES = (".keras", ".h5")
"""Of files of weights."""


def of_applications(weights: str | Path | None) -> str | None:
    """The weights that keras.applications loads itself: "imagenet" or one of its `.h5` files; otherwise None.

    Raises:
        TrainingError: The file is missing.
    """
    text = str(weights or "")
    if text == "imagenet":
        return text
    if text.endswith(".weights.h5") or not text.endswith(".h5"):
        return None
    return str(_require_file(Path(text)))


@contextmanager
def clear_errors(name: str, weights: str | Path | None) -> Iterator[None]:
    """Turn what Keras raises about weights of an architecture into TrainingError; without weights, errors are bugs."""
    try:
        yield
    except Exception as e:  # Keras raises a bare Exception when a download fails
        if not weights or isinstance(e, (InputError, TrainingError)):
            raise
        reason = " ".join(str(e).split())[:300]
        if str(weights) == "imagenet":
            hint = "Download that file on a machine with internet and give its path as weights, or train from scratch."
            raise TrainingError(f"The ImageNet weights of {name} can't be downloaded: {reason}", hint) from e
        hint = "They must come from the same architecture with the same image size, colours, width and depth."
        raise TrainingError(f"The weights in {weights} don't fit {name} with these options: {reason}", hint) from e


def load_all_but(model: Any, head: Any | None, path: Path) -> None:
    """Load all weights but those of `head`, if it is one; Keras ignores weights that the file lacks, this does not.

    Raises:
        TrainingError: The file is missing or of another kind.
        ValueError: The file lacks weights of the model.
    """
    body = [weight for layer in model.layers if layer is not head for weight in layer.weights]
    for weight in body:
        weight.assign(np.full(weight.shape, np.nan, weight.dtype))
    with warnings.catch_warnings(action="ignore"), _weight_file(path) as file:
        model.load_weights(file, objects_to_skip=[] if head is None else [head])
    missing = [weight.path for weight in body if np.isnan(weight.numpy()).any()]
    if missing:
        raise ValueError(f"it lacks {len(missing)} of {len(body)} weights, {missing[0]} among them.")


@contextmanager
def _weight_file(path: Path) -> Iterator[Path]:
    """The file that Keras can load partially: a `.weights.h5`, or the one inside a `.keras`."""
    _require_file(path)
    if path.suffix == ".keras":
        with ScratchFolder() as folder, zipfile.ZipFile(path) as archive:
            yield Path(archive.extract("model.weights.h5", folder))
    else:
        yield path


def _require_file(path: Path) -> Path:
    if not path.is_file():
        raise TrainingError(f"There is no file of weights at {path}.", "Check the path, or give --weights imagenet.")
    if path.suffix not in SUFFIXES:
        raise TrainingError(f"Weights can't be read from {path.name}; accepted: .keras, .weights.h5, .h5, imagenet.")
    with parsing(path):
        refuse_unsafe(path)
    return path
