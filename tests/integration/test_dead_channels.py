"""Nets in which channels are dead, but have a bias: quantizers clip it, because its scale follows from the weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgepress.converters.schemes import SCHEMES
from edgepress.converters.to_onnx.grids import biases_of, fit_biases
from edgepress.converters.to_tflite.graph import Graph
from edgepress.converters.to_tflite.grids import with_fitting_biases
from edgepress.runtime import load
from edgepress.toolkit.conversion.convert import convert

INTEGERS = [name for name, scheme in SCHEMES.items() if scheme.calibrated and not scheme.is_mixed]
SHAPE = (12, 12, 1)


def dead_channels(path: Path) -> Any:
    """A net whose layers each have channels with weights of 0 and of almost 0, and large biases."""
    import keras
    from keras import layers

    keras.utils.set_random_seed(5)
    x = inputs = keras.Input(SHAPE)
    x = layers.Rescaling(1 / 255)(x)
    x = layers.Conv2D(16, 3, padding="same", activation="relu", name="a")(x)
    x = layers.DepthwiseConv2D(3, padding="same", activation="relu", name="b")(x)
    x = layers.Conv2D(24, 3, strides=2, padding="same", activation="relu", name="c")(x)
    x = layers.Flatten()(x)
    x = layers.Dense(32, activation="relu", name="d")(x)
    model = keras.Model(inputs, layers.Dense(6, name="e")(x))
    for name in "abcd":
        weights, bias = model.get_layer(name).get_weights()
        channels = weights.reshape(*weights.shape[:2], -1) if name == "b" else weights
        for channel, (size, value) in enumerate(((0.0, 1.5), (1e-9, 3.0), (1e-7, -2.0), (1e-5, 2.5))):
            channels[..., channel] = size * np.sign(channels[..., channel])
            bias[channel] = value
        model.get_layer(name).set_weights([channels.reshape(weights.shape), bias])
    model.save(path)
    return model


def dead_input(path: Path) -> Any:
    """A net with a gate that a dead layer feeds: only its biases open it."""
    import keras
    from keras import layers

    keras.utils.set_random_seed(6)
    x = inputs = keras.Input(SHAPE)
    x = layers.Rescaling(1 / 255)(x)
    x = layers.Conv2D(16, 3, padding="same", activation="relu")(x)
    gate = layers.GlobalAveragePooling2D(keepdims=True)(x)
    gate = layers.Conv2D(4, 1, activation="relu", bias_initializer=keras.initializers.Constant(-9.0))(gate)
    gate = layers.Conv2D(16, 1, activation="relu", bias_initializer=keras.initializers.RandomUniform(2, 5))(gate)
    x = layers.Multiply()([x, gate])
    x = layers.Conv2D(16, 3, strides=2, activation="relu")(x)
    model = keras.Model(inputs, layers.Dense(6)(layers.Flatten()(x)))
    model.save(path)
    return model


def dead_transposed(path: Path) -> Any:
    """A net with a transposed convolution, some of whose channels are dead."""
    import keras
    from keras import layers

    keras.utils.set_random_seed(7)
    x = inputs = keras.Input(SHAPE)
    x = layers.Conv2D(8, 3, activation="relu")(layers.Rescaling(1 / 255)(x))
    x = layers.Conv2DTranspose(16, 3, strides=2, padding="same", activation="relu", name="t")(x)
    model = keras.Model(inputs, layers.Dense(6)(layers.Flatten()(layers.MaxPooling2D(4)(x))))
    weights, bias = model.get_layer("t").get_weights()
    weights *= 8
    for channel, (size, value) in enumerate(((0.0, 1.5), (1e-9, 3.0), (1e-7, 2.0))):
        weights[:, :, channel, :] = size * np.sign(weights[:, :, channel, :])
        bias[channel] = value
    model.get_layer("t").set_weights([weights, bias])
    model.save(path)
    return model


@pytest.fixture(scope="module", params=[dead_channels, dead_input, dead_transposed])
def variants(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, dict[str, Any]]:
    """A net, and its files of integers by their schemes."""
    folder = tmp_path_factory.mktemp("dead")
    model = request.param(folder / "m.keras")
    items = np.random.default_rng(0).integers(0, 256, (160, *SHAPE)).astype(np.uint8)
    np.savez(folder / "d.npz", x_train=items, y_train=np.arange(160) % 6, x_test=items[:32], y_test=np.arange(32) % 6)
    made = convert(folder / "m.keras", INTEGERS, data=str(folder / "d.npz"), verify=False)
    return model, {variant.scheme: variant for variant in made}


@pytest.mark.slow
@pytest.mark.parametrize("scheme", INTEGERS)
def test_files_answer_as_the_net_does(scheme: str, variants: tuple[Any, dict[str, Any]]) -> None:
    model, by_scheme = variants
    items = np.random.default_rng(1).integers(0, 256, (64, *SHAPE)).astype(np.uint8)
    true = np.asarray(model(items.astype(np.float32)))
    found = load(by_scheme[scheme].path).outputs(items)
    noise = np.mean((np.asarray(found) - true) ** 2)
    assert 10 * np.log10(np.var(true) / noise) > (12 if "int4" in scheme else 20)


@pytest.mark.slow
def test_files_without_such_channels_are_unchanged(run: Any, tmp_path: Path) -> None:
    """Byte for byte: what fits is not touched."""
    convert(run.model, ["tflite-float32", "tflite-int8", "onnx-float32", "onnx-int8"], out=tmp_path, verify=False)
    model = (tmp_path / "model-int8.tflite").read_bytes()
    assert with_fitting_biases(model, (tmp_path / "model-float32.tflite").read_bytes()) is model


@pytest.mark.slow
def test_a_layer_with_four_bits_leaves_room_for_the_kernel_s_factor(variants: tuple[Any, dict[str, Any]]) -> None:
    """XNNPACK sums 16 times the products of 4-bit weights, and of the bias."""
    _, by_scheme = variants
    graph = Graph(by_scheme["tflite-int4"].path.read_bytes())
    for op in graph.operators:
        if len(op.inputs) > 2 and graph.table.tensors[int(op.inputs[1])].type == 17:
            bias = graph.constant(int(op.inputs[2]))
            assert bias is not None
            assert np.abs(bias).max() <= 2**26 + 2


@pytest.mark.slow
def test_onnx_sums_leave_room_for_products(variants: tuple[Any, dict[str, Any]]) -> None:
    import onnx

    _, by_scheme = variants
    model = onnx.load(by_scheme["onnx-int8"].path)
    integers = [onnx.numpy_helper.to_array(t) for t in model.graph.initializer if t.data_type == onnx.TensorProto.INT32]
    assert integers
    assert max(int(np.abs(each.astype(np.int64)).max()) for each in integers if each.size) <= 2**30 + 200
    before = model.SerializeToString()
    fit_biases(model, biases_of(model))
    assert model.SerializeToString() == before, "done once, it is done"
