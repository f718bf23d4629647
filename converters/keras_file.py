"""Opening a `.keras` file, safely: no code in it is run, and what can't be opened says why."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

from edgepress.runtime.errors import ModelFileError

if TYPE_CHECKING:
    import keras


def load_keras(path: str | Path) -> keras.Model:
    """Load a model for inference, without its optimizer, in Keras' safe mode.

    Raises:
        ModelFileError: The file is missing, damaged, of another kind, holds code or layers that are not Keras' own, or
            is not a classifier with one input and one output.
    """
    path = Path(path)
    if path.is_dir():
        raise ModelFileError(f"{path} is a folder.", "Name the .keras file in it.")
    if not path.exists():
        raise ModelFileError(f"{path} does not exist.", "Check the path; `edgepress train` writes model.keras.")
    if path.suffix != ".keras" or not zipfile.is_zipfile(path):
        found = "damaged or cut off" if path.suffix == ".keras" else "not a .keras file"
        raise ModelFileError(f"{path} is {found}.", "A whole model saved by Keras 3 as .keras is accepted.")
    import keras

    try:
        model = keras.saving.load_model(path, compile=False, safe_mode=True)
    except MemoryError:
        raise
    except Exception as e:  # Keras raises ValueError, TypeError, KeyError, OSError and others on damaged files
        reason = str(e).strip().partition("\n")[0]
        raise ModelFileError(
            f"Keras can't load {path}: {reason}",
            "A file saved by Keras 3 with Keras' own layers and without Lambda code is accepted.",
        ) from e
    shapes = [getattr(model, name, None) for name in ("input_shape", "output_shape")]
    if not all(isinstance(shape, tuple) for shape in shapes) or len(shapes[1] or ()) != 2:
        raise ModelFileError(
            f"{path} is not a classifier: its input is {shapes[0]} and its output {shapes[1]}.",
            "One input and one output of shape (batch, classes) are needed.",
        )
    return model


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()
