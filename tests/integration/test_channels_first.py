"""Keras nets whose convolutions take the channels first."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgepress.converters.sources.open import open_source

SHAPE = (16, 16, 3)


def channels_first(path: Path, kind: str = "same", activation: str = "relu", bias: str = "normal") -> Any:
    """A small net with three convolutions, saved; returns it."""
    import keras
    from keras import layers

    keras.utils.set_random_seed(3)
    first: dict[str, Any] = {"data_format": "channels_first"}
    options: dict[str, Any] = first | {"activation": activation, "bias_initializer": bias}
    x = inputs = keras.Input(SHAPE)
    x = layers.Permute((3, 1, 2))(x)
    x = layers.Rescaling(1 / 255)(x)
    x = layers.Conv2D(8, 5, strides=2, padding=kind, **options)(x)
    x = layers.Conv2D(12, 3, padding=kind, **options)(x)
    x = layers.MaxPooling2D(**first)(x)
    x = layers.DepthwiseConv2D(3, padding="same", **options)(x)
    x = layers.GlobalAveragePooling2D(**first)(x)
    model = keras.Model(inputs, layers.Dense(5)(x))
    model.save(path)
    return model


@pytest.mark.parametrize("kind", ["same", "valid"])
@pytest.mark.parametrize("activation", ["relu", "elu", "linear"])
def test_the_truth_is_what_keras_computes_eagerly(kind: str, activation: str, tmp_path: Path) -> None:
    model = channels_first(tmp_path / "m.keras", kind, activation)
    items = np.random.default_rng(0).integers(0, 256, (4, *SHAPE)).astype(np.float32)
    eager = np.asarray(model(items))
    np.testing.assert_allclose(open_source(tmp_path / "m.keras").answer(items), eager, atol=1e-4)
