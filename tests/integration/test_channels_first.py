"""Keras nets whose convolutions take the channels first."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgepress.converters.contract.guess import guess_contract
from edgepress.converters.contract.hints import Hints
from edgepress.converters.sources.open import open_source
from edgepress.converters.to_tflite.graph import Graph
from edgepress.runtime import load
from edgepress.toolkit.conversion.convert import convert

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


def small_digits_net(order: str) -> Any:
    """A small net for digits whose convolutions take this order of axes."""
    import keras
    from keras import layers

    options: dict[str, Any] = {"strides": 2, "padding": "same", "activation": "relu", "data_format": order}
    x = inputs = keras.Input((28, 28, 1))
    if order == "channels_first":
        x = layers.Permute((3, 1, 2))(x)
    x = layers.Rescaling(1 / 255)(x)
    for channels, kernel in ((8, 5), (16, 3), (24, 3)):
        x = layers.Conv2D(channels, kernel, **options)(x)
    x = layers.GlobalAveragePooling2D(data_format=order)(x)
    return keras.Model(inputs, layers.Dense(10, activation="softmax")(x))


def make_uneven(weights: list[Any], exponent: float) -> None:
    """Scale channels of the three convolutions by up to 2^exponent, and what reads them back."""
    rng = np.random.default_rng(0)
    for layer in (0, 1, 2):
        factors = np.exp2(rng.uniform(-exponent, exponent, len(weights[2 * layer + 1]))).astype(np.float32)
        weights[2 * layer] *= factors
        weights[2 * layer + 1] *= factors
        weights[2 * layer + 2] /= factors[:, np.newaxis]


@pytest.fixture(scope="module")
def twins(tmp_path_factory: pytest.TempPathFactory, digits: Any) -> dict[str, Path]:
    """A net with uneven channels by its order of axes: both compute the same."""
    import keras

    keras.utils.set_random_seed(0)
    nets = {order: small_digits_net(order) for order in ("channels_last", "channels_first")}
    last = nets["channels_last"]
    last.compile(keras.optimizers.Adam(1e-2), keras.losses.SparseCategoricalCrossentropy())
    x = digits.train.read(slice(0, len(digits.train)))
    last.fit(x.astype(np.float32), digits.train.y, batch_size=32, epochs=6, verbose=0)
    weights = last.get_weights()
    make_uneven(weights, 5.0)
    folder = tmp_path_factory.mktemp("twins")
    for order, net in nets.items():
        net.set_weights(weights)
        net.save(folder / f"{order}.keras")
    return {order: folder / f"{order}.keras" for order in nets}


@pytest.mark.slow
def test_int8_files_keep_as_much_of_them_as_of_channels_last(
    twins: dict[str, Path], digits: Any, tmp_path: Path
) -> None:
    items = digits.test.read(slice(0, 200))
    kept: dict[str, list[int]] = {}
    for order, path in twins.items():
        own = open_source(path).answer(items.astype(np.float32)).argmax(1)
        made = convert(path, "tflite-int8,onnx-int8", data="digits", out=tmp_path / order, verify=False)
        assert [v.error for v in made] == ["", ""]
        kept[order] = [int((load(v.path).scores(items).argmax(1) == own).sum()) for v in made]
    for first, last in zip(kept["channels_first"], kept["channels_last"], strict=True):
        assert abs(first - last) <= 2
        assert min(first, last) >= 0.97 * len(items)


def heads() -> dict[str, Any]:
    """What follows the convolutions, by its name: a function of a tensor with its channels first."""
    from keras import layers, ops

    first = {"data_format": "channels_first"}
    return {
        "mean": layers.GlobalAveragePooling2D(**first),
        "largest": layers.GlobalMaxPooling2D(**first),
        "kept axes": lambda x: layers.Flatten()(layers.GlobalAveragePooling2D(keepdims=True, **first)(x)),
        "two readers": lambda x: layers.Concatenate()(
            [layers.GlobalAveragePooling2D(**first)(x), layers.GlobalMaxPooling2D(**first)(x)]
        ),
        "flat": layers.Flatten(),
        "pooled": lambda x: layers.Flatten()(layers.AveragePooling2D(2, **first)(x)),
        "mean of channels": lambda x: layers.Flatten()(ops.mean(x, axis=1)),
        "mean of rows": lambda x: layers.Flatten()(ops.mean(x, axis=2)),
        "flat twice": lambda x: layers.Dense(10)(layers.Flatten()(x)) + layers.Dense(10)(layers.Flatten()(x)),
        "with the output": lambda x: layers.Flatten()(layers.Softmax(axis=1)(x)),
    }


NAMES = ("mean", "largest", "kept axes", "two readers", "flat", "pooled", "mean of channels")
"""The heads that can work with the channels last."""


@pytest.mark.parametrize("name", [*NAMES, "mean of rows", "flat twice", "with the output"])
def test_what_follows_the_convolutions_reads_channels_last_if_it_can(name: str, tmp_path: Path) -> None:
    import keras
    from ai_edge_litert.interpreter import Interpreter
    from keras import layers

    keras.utils.set_random_seed(1)
    inputs = keras.Input((1, 10, 14))
    x = layers.Conv2D(6, 3, strides=2, activation="relu", data_format="channels_first")(inputs)
    model = keras.Model(inputs, layers.Dense(4)(heads()[name](x)))
    model.save(tmp_path / "m.keras")
    source = open_source(tmp_path / "m.keras")
    content = source.tflite(guess_contract(source.facts, Hints()).adapter)
    interpreter = Interpreter(model_content=content)
    interpreter.allocate_tensors()
    items = np.random.default_rng(0).uniform(0, 255, (1, 10, 14, 1)).astype(np.float32)
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], items)
    interpreter.invoke()
    answers = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
    np.testing.assert_allclose(answers, np.asarray(model(items.reshape(1, 1, 10, 14))), rtol=1e-4, atol=1e-4)
    graph = Graph(content)
    assert ("TRANSPOSE" not in {graph.kind(op) for op in graph.operators}) == (name in NAMES)
