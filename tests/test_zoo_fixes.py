"""What the zoo (benchmarks/zoo.py) found, each shown on the smallest net that has it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgepress.converters import Conversion, guess_contract
from edgepress.runtime import load


def _gelu(x: Any, layers: Any) -> Any:
    """Exact GELU: TensorFlow computes it by Erfc, which tf2onnx does not know."""
    return layers.Activation("gelu")(layers.Conv2D(8, 3)(x))


def _every_channel_its_group(x: Any, layers: Any) -> Any:
    """ConvNeXt's depthwise convolution: Keras compiles it by XLA, and the call stays in a frozen graph."""
    return layers.Conv2D(8, 3, groups=8)(layers.Conv2D(8, 3)(x))


def _groups(x: Any, layers: Any) -> Any:
    """The same, of the kind that is no depthwise convolution in disguise."""
    return layers.Conv2D(12, 3, groups=2, activation="relu")(layers.Conv2D(8, 3)(x))


@pytest.mark.parametrize("body", [_gelu, _every_channel_its_group, _groups])
def test_layer_goes_to_both_formats(body: Callable[[Any, Any], Any], tmp_path: Path) -> None:
    import keras

    keras.utils.set_random_seed(0)
    layers = keras.layers
    inputs = keras.Input((12, 12, 3))
    x = body(layers.Rescaling(1 / 127.5, offset=-1)(inputs), layers)
    model = keras.Model(inputs, layers.Dense(5, activation="softmax")(layers.Flatten()(x)))
    model.save(tmp_path / "net.keras")
    items = np.random.default_rng(0).integers(0, 256, (8, 12, 12, 3), dtype=np.uint8)
    with Conversion(tmp_path / "net.keras") as conversion:
        variants = conversion.run(
            ["tflite-float32", "onnx-float32", "onnx-int8"],
            guess_contract((12, 12, 3), 5, task="softmax"),
            calibration=partial(list, [items]),
            out=tmp_path,
        )
    truth = np.asarray(model(items.astype(np.float32)))
    for variant, allowed in zip(variants, (1e-5, 1e-5, 0.1), strict=True):
        assert variant.path is not None, variant.error
        np.testing.assert_allclose(load(variant.path).scores(items), truth, atol=allowed)
