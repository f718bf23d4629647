"""A run's folder stands for its model, and where one of several files is asked for, the error names one."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest

from edgepress.runtime.errors import ModelFileError
from edgepress.runtime.filetypes import format_of
from edgepress.toolkit import (
    benchmark,
    bundle,
    calibrate,
    diagnose,
    diagnose_engines,
    evaluate,
    export,
    profile,
    report,
)
from edgepress.toolkit.errors import InputError
from edgepress.toolkit.results.run_files import command_to_benchmark, model_in


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


@pytest.mark.parametrize("command", [export, calibrate, bundle, profile, diagnose], ids=lambda f: f.__name__)
def test_the_error_about_a_run_without_files_names_the_command_that_makes_them(command: Any, tmp_path: Path) -> None:
    """Before, it was "Give a model file in it", and `calibrate` named the model, which it refuses, too."""
    folder = tmp_path / "my run"
    folder.mkdir()
    (folder / "model.keras").write_bytes(b"PK")
    options = {"max_error": "2%"} if command is calibrate else {}
    with pytest.raises(ModelFileError) as caught:
        command(folder, **options)
    assert f"edgepress convert '{folder}'" in caught.value.hint


def test_the_error_about_a_model_that_is_not_converted_names_it(tmp_path: Path) -> None:
    (tmp_path / "model.keras").write_bytes(b"PK\3\4")
    with pytest.raises(ModelFileError) as caught:
        profile(tmp_path / "model.keras")
    assert caught.value.hint == f"Convert it first: edgepress convert {tmp_path / 'model.keras'}"


@pytest.mark.parametrize(
    ("files", "named"),
    [
        (("model-int8.onnx", "model-int8.tflite"), "edgepress convert {} --to tflite-int8 --target integer-only"),
        (("model-int8.tflite", "model-int8-integer-only.tflite"), "variants/model-int8-integer-only.tflite."),
    ],
)
def test_a_file_of_which_no_c_can_be_made_is_not_named(files: tuple[str, ...], named: str, tmp_path: Path) -> None:
    """Before, `export RUN` named model-int8.onnx, which it refuses."""
    (tmp_path / "model.keras").write_bytes(b"PK")
    (tmp_path / "variants").mkdir()
    for name in files:
        (tmp_path / "variants" / name).touch()
    for refuse in (export, partial(bundle, engine="native"), partial(diagnose_engines, engines=["c99", "litert"])):
        with pytest.raises(ModelFileError) as caught:
            refuse(tmp_path)
        assert caught.value.hint.endswith(named.format(tmp_path))


def test_what_is_measured_is_made_first(tmp_path: Path) -> None:
    """Before, `report RUN` named the command `benchmark RUN`, which failed, as the run had no files yet."""
    assert command_to_benchmark(tmp_path) == f"edgepress benchmark {tmp_path}"
    (tmp_path / "model.keras").touch()
    for call, last in ((report, " && edgepress benchmark"), (benchmark, "")):
        with pytest.raises(InputError) as caught:
            call(tmp_path)
        assert f": edgepress convert {tmp_path}{last}" in caught.value.hint
    (tmp_path / "variants").mkdir()
    (tmp_path / "variants" / "a.tflite").touch()
    assert command_to_benchmark(tmp_path) == f"edgepress benchmark {tmp_path}"
