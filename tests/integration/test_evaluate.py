from __future__ import annotations

import json
import shlex
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from edgepress.converters.contract.write import write_keras_contract
from edgepress.converters.errors import ConversionError
from edgepress.toolkit.cli.app import app
from edgepress.toolkit.conversion.convert import convert, summary
from edgepress.toolkit.data.for_model import contract_of
from edgepress.toolkit.errors import DataError, EdgepressError, InputError, ModelFileError
from edgepress.toolkit.measurement.evaluation import evaluate
from edgepress.toolkit.measurement.prediction import _images, as_dicts, predict


@pytest.fixture(scope="module")
def other_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data of the same labels and shape that the model has not seen."""
    path = tmp_path_factory.mktemp("data") / "other.npz"
    rng = np.random.default_rng(0)
    y = np.repeat(np.arange(10), 12)
    np.savez(path, x=rng.integers(0, 256, (120, 28, 28, 1), dtype=np.uint8), y=y)
    return path


@pytest.mark.slow
def test_the_keras_model_gets_the_accuracy_that_training_measured(run: Any) -> None:
    result = evaluate(run.model)
    assert result["accuracy"] == pytest.approx(json.loads((run.folder / "metrics.json").read_text())["accuracy"])
    assert (result["engine"], result["scheme"], result["notes"]) == ("keras", "keras", [])


def test_a_converted_file_is_evaluated_by_an_engine(run: Any) -> None:
    result = evaluate(run.variants["onnx-int8"])
    assert (result["engine"], result["scheme"]) == ("onnxruntime", "onnx-int8")
    assert result["accuracy"] == pytest.approx(contract_of(run.model).test_accuracy, abs=0.02)
    assert np.sum(result["confusion_matrix"]) == result["count"] == result["data"]["count"]


def test_other_data_are_said_to_be_other_data(run: Any, other_data: Path) -> None:
    result = evaluate(run.variants["tflite-int8"], data=str(other_data))
    assert any(str(other_data) in note and "trained on" in note for note in result["notes"])
    assert result["accuracy"] < 0.6


def test_labels_that_do_not_match_are_one_error(run: Any, tmp_path: Path) -> None:
    path = tmp_path / "twelve.npz"
    np.savez(path, x=np.random.default_rng(0).integers(0, 256, (60, 28, 28, 1), dtype=np.uint8), y=np.arange(60) % 12)
    with pytest.raises(DataError, match="labels do not match"):
        evaluate(run.variants["tflite-int8"], data=str(path))


def test_a_keras_file_of_others_is_to_be_converted(other_data: Path, tmp_path: Path) -> None:
    """By a command that can be copied."""
    import keras

    path = tmp_path / "mine (1).keras"
    keras.Sequential([keras.Input((28, 28, 1)), keras.layers.Flatten(), keras.layers.Dense(10, "softmax")]).save(path)
    with pytest.raises(ModelFileError, match="edgepress did not train it") as caught:
        evaluate(path, data=str(other_data))
    command = caught.value.hint.partition(": ")[2]
    assert CliRunner().invoke(app, shlex.split(command)[1:]).exit_code == 0
    assert evaluate(tmp_path / "variants" / "mine (1)-float32.tflite", data=str(other_data))["count"] > 0


@pytest.mark.parametrize("name", ["cut.keras", "cut.tflite", "cut.onnx", "empty.onnx", "missing.tflite"])
def test_a_file_that_is_no_model_is_one_error_that_names_it(run: Any, tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    whole = {"keras": run.model, "tflite": run.variants["tflite-int8"], "onnx": run.variants["onnx-int8"]}
    if name.startswith("cut"):
        path.write_bytes(whole[path.suffix[1:]].read_bytes()[:5000])
    elif name.startswith("empty"):
        path.touch()
    with pytest.raises(ModelFileError, match=name) as caught:
        evaluate(path)
    assert caught.value.hint


@pytest.mark.parametrize(("scheme", "name"), [("tflite-int8", "a.onnx"), ("onnx-int8", "a.tflite")])
def test_a_file_under_the_other_format_s_name_is_one_error(run: Any, tmp_path: Path, scheme: str, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(run.variants[scheme].read_bytes())
    with pytest.raises(ModelFileError, match=r"under another name|of another kind"):
        evaluate(path)


def test_an_engine_that_does_not_fit_is_an_error(run: Any) -> None:
    with pytest.raises(InputError, match="run by Keras"):
        evaluate(run.model, engine="litert")
    with pytest.raises(EdgepressError, match=r"opens \.onnx files"):
        evaluate(run.variants["tflite-int8"], engine="onnxruntime")


def test_a_model_that_names_no_data_must_be_given_some(run: Any, tmp_path: Path) -> None:
    path = tmp_path / "model.keras"
    shutil.copy(run.model, path)
    write_keras_contract(path, contract_of(run.model).replace(data=None))
    with pytest.raises(InputError, match="--data"):
        evaluate(path)


@pytest.mark.slow
def test_conversion_writes_beside_the_model_and_reads_only_the_training_split(
    run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgepress.toolkit.conversion import plan as module

    used: list[Any] = []
    real = module.calibration_rows
    monkeypatch.setattr(module, "calibration_rows", lambda split, n: used.append(split) or real(split, n))
    model = tmp_path / "model.keras"
    shutil.copy(run.model, model)
    variants = convert(model, "tflite-int8,onnx-float32", samples=20)
    assert [v["status"] for v in summary(variants)["variants"]] == ["ok", "ok"]
    assert {p.name for p in (tmp_path / "variants").iterdir()} == {"model-int8.tflite", "model-float32.onnx"}
    counts = contract_of(model).data.counts  # type: ignore[union-attr]
    assert [len(split) for split in used] == [counts["train"], counts["val"]], (
        "calibrated on one, compared on the other"
    )


def test_conversion_refuses_what_it_can_not_convert(run: Any) -> None:
    with pytest.raises(ConversionError, match="quantized already"):
        convert(run.variants["tflite-int8"])
    with pytest.raises(InputError, match="tflite-int8"):
        convert(run.model, "tflite-int9")


def test_predicting_goes_on_after_an_unreadable_image(run: Any, digits: Any, tmp_path: Path) -> None:
    from PIL import Image

    Image.fromarray(digits.test.read([0])[0, :, :, 0]).save(tmp_path / "good.png")
    (tmp_path / "bad.png").write_bytes(b"no image")
    bad, good, missing = predict(run.variants["tflite-float32"], [tmp_path, tmp_path / "missing.png"], top=2)
    assert bad.error is not None
    assert missing.error is not None
    assert len(good.classes) == 2
    documents = as_dicts([bad, good])
    assert documents[0]["classes"] == []
    assert "bad.png" in documents[0]["error"]
    assert set(documents[1]) == {"image", "classes"}
    assert set(documents[1]["classes"][0]) == {"label", "score"}


def test_predicting_a_folder_of_class_folders_names_one_to_give(tmp_path: Path) -> None:
    for name in (".hidden/1.png", "cat/1.txt", "dog/1.JPG"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).touch()
    with pytest.raises(InputError, match=r"Subfolders are not searched: name them, such as .*/dog\."):
        _images(tmp_path)
    (tmp_path / "dog/1.JPG").unlink()
    with pytest.raises(InputError, match=r"npy\.$"):
        _images(tmp_path)


def test_predicting_with_no_image_or_no_model_is_an_error(run: Any, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no image"):
        predict(run.variants["tflite-int8"], [tmp_path])
    (tmp_path / "x.gif").touch()
    assert [r.image for r in predict(run.variants["tflite-int8"], [tmp_path])] == [str(tmp_path / "x.gif")]
    (tmp_path / "model.txt").write_text("no model")
    with pytest.raises(ModelFileError, match=r"model.txt"):
        predict(tmp_path / "model.txt", [tmp_path / "x.gif"])
