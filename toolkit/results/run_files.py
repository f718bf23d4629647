"""Find the model and the files of a run, so that commands take a run's folder in their place."""

from __future__ import annotations

import os
from pathlib import Path

from edgepress.runtime.filetypes import VARIANTS

MODEL = "model.keras"
"""The file in a run's folder that `edgepress train` writes last."""
MODEL_FILES = ("*.tflite", "*.onnx")
"""The names of files that boards run."""


def model_in(model: str | Path) -> Path:
    """A model as it was given, or that of a run: a run's folder stands for its model where one model is asked for."""
    path = Path(model)
    inside = path / MODEL
    saved = os.path.exists(path / "saved_model.pb")  # which raises nothing for names that no system takes
    return inside if os.path.isfile(inside) and not saved else path


def folder_with(folder: Path, *names: str) -> Path:
    """A folder, or `variants` in it if only that holds what is looked for: a run's folder stands for its files'.

    Args:
        folder: The folder as it was given; what is no folder is returned as it is.
        names: Names or patterns of names, any of which will do.
    """
    below = folder / VARIANTS
    return below if not _holds(folder, names) and _holds(below, names) else folder


def _holds(folder: Path, names: tuple[str, ...]) -> bool:
    return folder.is_dir() and any(True for name in names for _ in folder.glob(name))
