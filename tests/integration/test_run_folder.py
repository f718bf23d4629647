"""A run's folder stands for the files in its `variants`; `predict` takes its Keras model; schemes as lists."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from configuring import apart, edgepress

from edgepress.converters.schemes import SCHEMES, parse_schemes, schemes_from
from edgepress.runtime.errors import InputError
from edgepress.toolkit.measurement.benchmarking.plan import find_files, folder_of
from edgepress.toolkit.reports.report import report
from edgepress.toolkit.results.file import load_benchmark
from edgepress.toolkit.results.run_files import MODEL_FILES, folder_with

__all__ = ["apart"]
RESULT = Path(__file__).parents[1] / "support" / "benchmark_v1.json"


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """A run's folder with a benchmark of its variants."""
    (tmp_path / "run" / "variants").mkdir(parents=True)
    (tmp_path / "run" / "model.keras").touch()
    (tmp_path / "run" / "variants" / "a.tflite").touch()
    shutil.copy(RESULT, tmp_path / "run" / "variants" / "benchmark.json")
    return tmp_path / "run"


def test_a_run_stands_for_its_variants(made: Path) -> None:
    variants = made / "variants"
    assert find_files(made) == find_files(variants) == [variants / "a.tflite"]
    assert folder_of([made]) == folder_of([variants]) == folder_of([variants / "a.tflite"]) == variants
    assert load_benchmark(made) == load_benchmark(variants)
    assert report(made).out == variants / "report.html"
    assert "|" in report(made, format="md").text


def test_the_variants_stand_for_their_run(made: Path) -> None:
    """The demo writes the result of its benchmark into the run's folder."""
    (made / "variants" / "benchmark.json").rename(made / "benchmark.json")
    assert report(made / "variants").out == made / "report.html"
    (made / "model.keras").unlink()
    with pytest.raises(InputError, match=r"holds no benchmark\.json"):
        report(made / "variants")


def test_files_in_the_folder_itself_come_first(made: Path) -> None:
    (made / "own.onnx").touch()
    assert find_files(made) == [made / "own.onnx"]
    shutil.copy(RESULT, made / "benchmark.json")
    assert report(made).out == made / "report.html"


def test_without_either_the_error_names_the_folder_given(tmp_path: Path) -> None:
    (tmp_path / "variants").mkdir()
    assert folder_with(tmp_path, *MODEL_FILES) == tmp_path
    with pytest.raises(InputError, match=r"holds no \.tflite"):
        find_files(tmp_path)
    with pytest.raises(InputError, match=r"holds no benchmark\.json"):
        report(tmp_path)


@pytest.mark.slow
def test_predict_runs_the_keras_model(run: Any, pictures: Path, apart: None, capfd: pytest.CaptureFixture[str]) -> None:
    from edgepress.toolkit.measurement.prediction import predict

    images = [pictures / "a.png", pictures / "b.npy"]
    ours, theirs = (predict(file, images, top=10) for file in (run.model, run.variants["tflite-float32"]))
    for one, other in zip(ours, theirs, strict=True):
        scores = [{p.label: p.score for p in found.classes} for found in (one, other)]
        np.testing.assert_allclose([scores[0][k] for k in scores[1]], [*scores[1].values()], atol=1e-4)
    assert edgepress("predict", str(run.model), str(pictures / "a.png")) == 0
    assert ours[0].classes[0].label in capfd.readouterr().out
    assert edgepress("predict", str(run.model), str(pictures / "a.png"), "--engine", "litert") == 1
    assert "run by Keras" in capfd.readouterr().err


def test_schemes_are_texts_rows_or_lists_of_both() -> None:
    row = SCHEMES["onnx-int8"]
    assert parse_schemes(["tflite-int8", row, "tflite-int8"]) == ("tflite-int8", "onnx-int8")
    assert parse_schemes(row) == ("onnx-int8",)
    assert parse_schemes(("onnx",)) == parse_schemes("onnx")
    assert schemes_from(["tflite"], "integer-only") == schemes_from("tflite", "integer-only")
    with pytest.raises(InputError, match="onnx-int8"):
        schemes_from([row], "integer-only")
    for wrong in (5, [5], None):
        with pytest.raises(TypeError, match=r"None|5"):
            parse_schemes(wrong)  # type: ignore[arg-type]


def test_no_file_is_one_error() -> None:
    with pytest.raises(InputError, match="No file was given"):
        find_files([])
