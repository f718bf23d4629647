"""Find the model and the files of a run, so that commands take a run's folder in their place."""

from __future__ import annotations

import os
from pathlib import Path

from edgepress.runtime.filetypes import MODEL, VARIANTS, format_of
from edgepress.toolkit.data.objects import Model, model_path
from edgepress.toolkit.escaping import shell_line

MODEL_FILES = ("*.tflite", "*.onnx")
"""The names of files that boards run."""
GRAPH = "model.tflite"
"""The float model of a run that began with another tool's, in the place of `MODEL`."""
RUN_MODELS = (MODEL, GRAPH)
"""The names of a run's model."""
METRICS = "metrics.json"
"""The file of a run's figures."""


def run_model(folder: Path) -> Path | None:
    """The model of the run in a folder; None if there is none."""
    if os.path.isfile(folder / MODEL):  # which raises nothing for names that no system takes
        return folder / MODEL
    is_run = os.path.isfile(folder / GRAPH) and os.path.isfile(folder / METRICS)
    return folder / GRAPH if is_run else None


def model_in(model: Model) -> Path:
    """A model's file as it was given; that of a run, of its folder; or one that is written of a Keras model."""
    path = model_path(model)
    saved = os.path.exists(path / "saved_model.pb")
    return path if saved else run_model(path) or path


def folder_with(folder: Path, *names: str) -> Path:
    """A folder, or the other one of its run if only that holds what is looked for: a run's folder and its `variants`.

    Args:
        folder: The folder as it was given; what is not a folder is returned as it is.
        names: Names or patterns of names, any of which will do.
    """
    is_part = folder.name == VARIANTS and run_model(folder.parent) is not None
    other = folder.parent if is_part else folder / VARIANTS
    return other if not _holds(folder, names) and _holds(other, names) else folder


def _holds(folder: Path, names: tuple[str, ...]) -> bool:
    own = run_model(folder)  # which is none of the files that were made of it
    return folder.is_dir() and any(path != own for name in names for path in folder.glob(name))


def check_integers(path: Path) -> None:
    """Refuse what can't be a TFLite file of integers only, of which C is made; the error says how to make one.

    Raises:
        ModelFileError: The path is missing, a folder or a model of another format.
    """
    options = "--to tflite-int8 --target integer-only"
    format_of(path, ("tflite",), "TFLite files of integers only", names="*-integer-only", options=options)


def command_to_convert(folder: Path) -> str:
    """The command that makes the files of the run in a folder; of a model to name, if the folder is no run's."""
    return shell_line("edgepress", "convert", folder if run_model(folder) else "MODEL")


def command_to_benchmark(folder: Path) -> str:
    """The command that measures the files in a folder, behind the one that makes them if only their model is there."""
    measure = shell_line("edgepress", "benchmark", folder)
    made = _holds(folder_with(folder, *MODEL_FILES), MODEL_FILES) or not run_model(folder)
    return measure if made else f"{command_to_convert(folder)} && {measure}"
