"""Models that scale each image by its own values, and models with flat inputs: their files take raw images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from foreign_models import small_net

from edgepress.converters.inspection import read
from edgepress.runtime import InputSpec, load
from edgepress.toolkit.conversion import Hints, convert
from edgepress.toolkit.errors import DataError

FEW = "tflite-float32,tflite-int8,tflite-int16x8,onnx-float16,onnx-int8"


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
def bare(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """A small net as Keras, TFLite and ONNX files without an adapter, and the net."""
    folder = tmp_path_factory.mktemp("bare")
    net = small_net()
    net.save(folder / "net.keras")
    convert(folder / "net.keras", "tflite-float32,onnx-float32", out=folder, hints=Hints(color="none"))
    return folder, net


@pytest.mark.parametrize("name", ["net.keras", "net-float32.tflite", "net-float32.onnx"])
def test_standardized_images_are_standardized_in_the_graph(name: str, bare: Any, images: Path, tmp_path: Path) -> None:
    import tensorflow as tf

    folder, net = bare
    formats = {".keras": FEW, ".tflite": "tflite-float32,tflite-int8", ".onnx": "onnx-float32,onnx-int8"}
    notes: list[str] = []
    hints = Hints(input="standardize", color="bgr")
    variants = convert(
        folder / name, formats[Path(name).suffix], data=str(images), out=tmp_path, hints=hints, on_note=notes.append
    )
    assert [v.error for v in variants] == [""] * len(variants)
    assert any("standard deviation 1" in note for note in notes)
    pixels = np.load(images)["x"]
    blue_first = [tf.image.per_image_standardization(image[..., ::-1]) for image in pixels]
    expected = net.predict(np.stack(blue_first), verbose=0)
    for variant in variants:
        model = load(variant.path)
        assert model.contract.input == InputSpec.image(16, 16, "rgb")
        atol = 0.1 if "int8" in variant.scheme else 0.003 if "16" in variant.scheme else 1e-5
        np.testing.assert_allclose(model.scores(pixels), expected, atol=atol, err_msg=variant.scheme)
        if variant.scheme.endswith("int8"):
            assert any("in float" in note for note in variant.notes), variant.notes
            assert not any("does not support" in note for note in variant.notes), variant.notes
            assert any(n.computes_in == "int8" for n in read(variant.path).nodes)


def test_a_file_that_scales_images_itself_is_a_source_again(bare: Any, images: Path, tmp_path: Path) -> None:
    pixels = np.load(images)["x"][:8]
    hints = Hints(input="minmax", color="rgb")
    first = convert(bare[0] / "net.keras", "tflite-float32,onnx-float32", out=tmp_path / "first", hints=hints)
    for variant in first:
        format = variant.scheme.partition("-")[0]
        (again,) = convert(variant.path, f"{format}-int8", data=str(images), out=tmp_path / "again")
        assert not again.error
        np.testing.assert_allclose(load(again.path).scores(pixels), load(variant.path).scores(pixels), atol=0.1)


def test_flat_inputs_take_images_if_a_color_is_given(images: Path, tmp_path: Path) -> None:
    import keras

    keras.utils.set_random_seed(1)
    net = keras.Sequential([keras.Input((768,)), keras.layers.Dense(4, activation="softmax")])
    net.save(tmp_path / "flat.keras")
    pixels = np.load(images)["x"]
    hints = Hints(color="rgb", input_range="0,1")
    variants = convert(
        tmp_path / "flat.keras", "tflite-int8,onnx-float32", data=str(images), out=tmp_path / "out", hints=hints
    )
    expected = net.predict(pixels.reshape(-1, 768) / 255, verbose=0)
    for variant in variants:
        assert not variant.error
        assert load(variant.path).contract.input == InputSpec.image(16, 16, "rgb")
        np.testing.assert_allclose(load(variant.path).scores(pixels), expected, atol=0.05)
    with pytest.raises(DataError, match="takes float32 tensors") as caught:
        convert(tmp_path / "flat.keras", "tflite-int8", data=str(images), out=tmp_path / "out")
    assert "--color" in caught.value.hint
