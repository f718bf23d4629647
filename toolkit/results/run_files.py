"""Where the files of a run lie: commands about files take the run's folder, too."""

from __future__ import annotations

from pathlib import Path

VARIANTS = "variants"
"""The folder in a run's folder that `edgepress convert` writes files to."""
MODEL_FILES = ("*.tflite", "*.onnx")
"""The names of files that boards run."""


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
