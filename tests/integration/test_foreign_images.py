"""Models that scale each image by its own values, and models with flat inputs: their files take raw images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from foreign_models import small_net
from published import bare

from edgepress.converters.contract.guess import guess_contract
from edgepress.converters.inspection import read
from edgepress.converters.sources.open import open_source
from edgepress.runtime import Contract, InputSpec, load
from edgepress.toolkit.conversion.convert import Hints, convert
from edgepress.toolkit.data import open_data
from edgepress.toolkit.errors import DataError

TFLITE, ONNX = "tflite-float32,tflite-int8,tflite-int16x8", "onnx-float16,onnx-int8"
STANDARDIZED = Hints(input="standardize", color="bgr")


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Smooth images of four brightnesses and contrasts, a class each."""
    rng = np.random.default_rng(0)
    coarse = rng.uniform(-1, 1, (80, 4, 4, 3)).repeat(4, axis=1).repeat(4, axis=2)
    y = np.arange(80) % 4
    center, contrast = np.array([60, 100, 128, 200])[y], np.array([20, 50, 100, 40])[y]
    x = center[:, None, None, None] + contrast[:, None, None, None] * coarse
    path = tmp_path_factory.mktemp("images") / "data.npz"
    np.savez(path, x=np.clip(x, 0, 255).astype(np.uint8), y=y)
    return path


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """A small net as Keras, TFLite and ONNX files without an adapter, and the net."""
    folder = tmp_path_factory.mktemp("plain")
    net = small_net()
    net.save(folder / "net.keras")
    write_both(folder / "net.keras", Hints(color="none"))
    return folder, net


def write_both(path: Path, hints: Hints) -> tuple[Path, Path, Contract]:
    """The float TFLite and ONNX files of a Keras model, made in this process, and what they take."""
    source = open_source(path)
    guess = guess_contract(source.facts, hints)
    tflite, onnx = path.with_suffix(".tflite"), path.with_suffix(".onnx")
    tflite.write_bytes(source.tflite(guess.adapter))
    onnx.write_bytes(source.onnx(guess.adapter).SerializeToString())
    return tflite, onnx, guess.contract


def standardized(images: Path, net: Any) -> tuple[Any, Any]:
    """The pixels, and what the net answers for them as TensorFlow standardizes them, blue first."""
    import tensorflow as tf

    pixels = np.load(images)["x"]
    blue_first = [tf.image.per_image_standardization(image[..., ::-1]) for image in pixels]
    return pixels, net.predict(np.stack(blue_first), verbose=0)


def test_a_keras_model_gets_the_standardization_in_both_formats(plain: Any, images: Path, tmp_path: Path) -> None:
    folder, net = plain
    copy = tmp_path / "net.keras"
    copy.write_bytes((folder / "net.keras").read_bytes())
    tflite, onnx, _ = write_both(copy, STANDARDIZED)
    pixels, expected = standardized(images, net)
    np.testing.assert_allclose(bare(tflite, pixels.astype(np.float32)), expected, atol=1e-5)
    np.testing.assert_allclose(bare(onnx, pixels), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "to"),
    [
        ("net.tflite", "tflite-int8"),
        pytest.param("net.onnx", ONNX, marks=pytest.mark.slow),
        pytest.param("net.keras", f"{TFLITE},{ONNX}", marks=pytest.mark.slow),
    ],
)
def test_standardized_images_are_standardized_in_the_graph(
    name: str, to: str, plain: Any, images: Path, tmp_path: Path
) -> None:
    folder, net = plain
    notes: list[str] = []
    variants = convert(folder / name, to, data=str(images), out=tmp_path, hints=STANDARDIZED, on_note=notes.append)
    assert [v.error for v in variants] == [""] * len(variants)
    assert any("standard deviation 1" in note for note in notes)
    pixels, expected = standardized(images, net)
    for variant in variants:
        model = load(variant.path)
        assert model.contract.input == InputSpec.image(16, 16, "rgb")
        atol = 0.1 if "int8" in variant.scheme else 0.003 if "16" in variant.scheme else 1e-5
        np.testing.assert_allclose(model.scores(pixels), expected, atol=atol, err_msg=variant.scheme)
        if variant.scheme.endswith("int8"):
            assert any("in float" in note for note in variant.notes), variant.notes
            assert not any("does not support" in note for note in variant.notes), variant.notes
            assert any(n.computes_in in ("int8", "uint8") for n in read(variant.path).nodes)


@pytest.mark.slow
@pytest.mark.parametrize("format", ["tflite", "onnx"])
def test_a_file_that_scales_images_itself_is_a_source_again(
    format: str, plain: Any, images: Path, tmp_path: Path
) -> None:
    pixels = np.load(images)["x"][:8]
    hints = Hints(input="minmax", color="rgb")
    (first,) = convert(plain[0] / f"net.{format}", f"{format}-float32", out=tmp_path / "first", hints=hints)
    assert first.path is not None, first.error
    (again,) = convert(first.path, f"{format}-int8", data=str(images), out=tmp_path / "again")
    assert again.path is not None, again.error
    np.testing.assert_allclose(load(again.path).scores(pixels), load(first.path).scores(pixels), atol=0.1)


def test_flat_inputs_take_images_if_a_color_is_given(images: Path, tmp_path: Path) -> None:
    import keras

    keras.utils.set_random_seed(1)
    net = keras.Sequential([keras.Input((768,)), keras.layers.Dense(4, activation="softmax")])
    net.save(tmp_path / "flat.keras")
    pixels = np.load(images)["x"]
    tflite, onnx, contract = write_both(tmp_path / "flat.keras", Hints(color="rgb", input_range="0,1"))
    assert contract.input == InputSpec.image(16, 16, "rgb")
    expected = net.predict(pixels.reshape(-1, 768) / 255, verbose=0)
    np.testing.assert_allclose(bare(tflite, pixels.astype(np.float32)), expected, atol=1e-5)
    np.testing.assert_allclose(bare(onnx, pixels), expected, atol=1e-5)


@pytest.mark.parametrize(("shape", "color"), [((768,), "--color"), ((16, 48), "--color grey")])
def test_images_for_a_model_of_tensors_are_an_error_that_names_the_color(
    shape: tuple[int, ...], color: str, images: Path
) -> None:
    with pytest.raises(DataError, match="takes float32 tensors") as caught:
        open_data(images, input=InputSpec(shape=shape, dtype="float32"))
    assert color in caught.value.hint
