"""Load initial weights: ImageNet's from keras.applications, or those of another run, without the classifier.

Keras downloads ImageNet's weights on first use, to `models` in `KERAS_HOME` or `~/.keras`. It knows the hashes of some
only, and a download that is killed leaves a part of the file there, which it would take for the whole.
"""

from __future__ import annotations

import os
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from edgepress.converters.process.scratch import ScratchFolder
from edgepress.converters.sources.saved_keras import refuse_unsafe
from edgepress.runtime.errors import parsing
from edgepress.toolkit.errors import EdgepressError, InputError, TrainingError

SUFFIXES = (".keras", ".h5")
"""Of files of weights."""
NAMES = {
    "mobilenet-v1": "mobilenet_[0-9]*",
    "mobilenet-v2": "mobilenet_v2_*",
    "mobilenet-v3-small": "*mobilenet_v3_small*",
}
NAMES |= {"vgg": "vgg16_*"}
"""Patterns of the files' names in Keras' cache, by architecture."""
INSTEAD = "Or begin with weights that come with edgepress, --arch efficientnet-lite0, or from nothing, --weights none."
"""What else can be done, for hints."""


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
    downloaded = str(weights) == "imagenet" and name in NAMES
    try:
        if downloaded:
            _remove_parts(name)
        yield
    except Exception as e:  # Keras raises a bare Exception when a download fails
        known = EdgepressError if str(weights) == "imagenet" else (InputError, TrainingError)
        if not weights or isinstance(e, known):
            raise
        reason = " ".join(str(e).split())[:300]
        if downloaded and (files := _cached(name)):
            problem = f"The ImageNet weights of {name} can't be used: {reason}"
            raise TrainingError(problem, f"Delete {' and '.join(map(str, files))} to download again. {INSTEAD}") from e
        if downloaded:
            hint = f"Download that file on a machine with internet and give its path as weights. {INSTEAD}"
            raise TrainingError(f"The ImageNet weights of {name} can't be downloaded: {reason}", hint) from e
        hint = "They must come from the same architecture with the same image size, colours, width and depth."
        raise TrainingError(f"The weights in {weights} don't fit {name} with these options: {reason}", hint) from e


def _cached(name: str) -> list[Path]:
    """The files of an architecture in Keras' cache."""
    user = os.path.expanduser("~")
    home = Path(os.environ.get("KERAS_HOME", os.path.join(user if os.access(user, os.W_OK) else "/tmp", ".keras")))
    return sorted(path for path in (home / "models").glob(f"{NAMES[name]}no_top*.h5") if path.is_file())


def _remove_parts(name: str) -> None:
    """Remove files of an architecture from Keras' cache that were not downloaded to their end."""
    import h5py

    for path in _cached(name):
        try:
            with h5py.File(path):  # HDF5 knows where a file ends
                pass
        except OSError:
            path.unlink(missing_ok=True)


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
