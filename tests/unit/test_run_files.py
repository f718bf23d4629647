"""A run's folder stands for its model, and where one of several files is asked for, the error names one."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgepress.runtime.errors import ModelFileError
from edgepress.runtime.filetypes import format_of
from edgepress.toolkit import evaluate
from edgepress.toolkit.results.run_files import model_in


def test_a_run_stands_for_its_model(tmp_path: Path) -> None:
    (tmp_path / "model.keras").write_bytes(b"PK")
    assert model_in(tmp_path) == model_in(str(tmp_path)) == tmp_path / "model.keras"
    assert model_in(tmp_path / "model.keras") == tmp_path / "model.keras"
    assert model_in(tmp_path / "nothing") == tmp_path / "nothing"


def test_a_saved_model_stands_for_itself(tmp_path: Path) -> None:
    for name in ("model.keras", "saved_model.pb"):
        (tmp_path / name).touch()
    assert model_in(tmp_path) == tmp_path


@pytest.mark.parametrize("place", [".", "variants"])
def test_the_error_names_a_file_of_an_accepted_format(place: str, tmp_path: Path) -> None:
    (tmp_path / place).mkdir(exist_ok=True)
    for name in ("b.tflite", "a.txt", "c.keras"):
        (tmp_path / place / name).touch()
    with pytest.raises(ModelFileError) as caught:
        format_of(tmp_path, ("tflite", "onnx"), "such files")
    assert caught.value.hint == f"Give a file in it, such as {tmp_path / place / 'b.tflite'}."


def test_commands_open_the_run_s_model(tmp_path: Path) -> None:
    """Before, `evaluate RUN` said that the folder is no SavedModel."""
    (tmp_path / "model.keras").write_bytes(b"no model")
    with pytest.raises(ModelFileError, match=r"model\.keras is a text file"):
        evaluate(tmp_path)
