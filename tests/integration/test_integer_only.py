"""`--target integer-only`: files hold no float at all, or are refused with the names of what would stay float."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from int8_graphs import EVERY, Net, rewritten

from edgepress.converters.errors import ConversionError
from edgepress.converters.inspection import read
from edgepress.converters.proof.verify import refuse_floats, remainder
from edgepress.converters.schemes import SCHEMES
from edgepress.converters.to_c.lowering import lower
from edgepress.converters.to_tflite.graph import Graph
from edgepress.converters.variant import Variant
from edgepress.runtime import load
from edgepress.toolkit.conversion.convert import Hints, convert

INT8, SHAPE = SCHEMES["tflite-int8"], EVERY.shape


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("images") / "data.npz"
    x = np.random.default_rng(0).integers(0, 256, (80, 8, 8, 3)).astype(np.uint8)
    np.savez(path, x=x, y=np.arange(80) % 4)
    return path


@pytest.fixture(scope="module")
def activations(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A net with every activation of published mobile nets."""
    import keras

    keras.utils.set_random_seed(0)
    inputs = x = keras.Input((8, 8, 3))
    x = keras.layers.Rescaling(1 / 127.5, -1)(x)
    for activation in ("relu", "hard_swish", "gelu", "silu", "hard_sigmoid", "relu6", "tanh", "sigmoid", "elu"):
        x = keras.layers.Conv2D(6, 3, padding="same", activation=activation)(x)
    x = keras.layers.LeakyReLU()(keras.layers.Conv2D(6, 1)(x))
    x = keras.layers.PReLU(shared_axes=[1, 2])(keras.layers.Conv2D(6, 1)(x))
    x = keras.layers.ReLU()(keras.layers.AveragePooling2D(2)(x))
    x = keras.layers.GlobalAveragePooling2D()(x)
    path = tmp_path_factory.mktemp("activations") / "net.keras"
    keras.Model(inputs, keras.layers.Dense(4, activation="softmax")(x)).save(path)
    return path


def made(path: Path, images: Path, out: Path, target: Any, **more: Any) -> Variant:
    (variant,) = convert(path, "tflite-int8", data=str(images), out=out, target=target, verify=False, **more)
    return variant


@pytest.mark.parametrize(
    "name", ["UpSampling2D", *(pytest.param(each, marks=pytest.mark.slow) for each in ("UpSampling1D", "RepeatVector"))]
)
def test_layers_that_repeat_values_become_c(name: str, images: Path, tmp_path: Path) -> None:
    """Keras writes them as TILE, of which neither the quantizer nor TFLM knows a form of integers."""
    import keras

    inputs = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(4, 3, strides=2)(keras.layers.Rescaling(1 / 255)(inputs))
    if name == "UpSampling2D":
        x = keras.layers.UpSampling2D((2, 3))(x)
    elif name == "UpSampling1D":
        x = keras.layers.UpSampling1D(3)(keras.layers.Reshape((9, 4))(x))
    else:
        x = keras.layers.RepeatVector(5)(keras.layers.Flatten()(x))
    keras.Model(inputs, keras.layers.Dense(4, activation="softmax")(keras.layers.Flatten()(x))).save(
        tmp_path / "net.keras"
    )
    variant = made(tmp_path / "net.keras", images, tmp_path, "integer-only")
    assert variant.path is not None, variant.error
    program = lower(variant.path)
    items = np.load(images)["x"][:5].reshape(5, -1)
    levels = load(variant.path).scores(np.load(images)["x"][:5])
    assert (np.abs(program.answers(items) / 256 - levels) <= 1 / 256).all()
    assert "resize_nearest" in {step.kernel for step in program.steps}


@pytest.mark.slow
def test_no_float_for_integer_only_targets(activations: Path, images: Path, tmp_path: Path) -> None:
    cpu, integers = (made(activations, images, tmp_path, target) for target in ("cpu", "integer-only"))
    assert not cpu.error
    assert not integers.error
    assert {"lookup-islands", "ends"} <= set(cpu.rewrites)
    (note,) = cpu.notes
    assert note.endswith("does not support it: PRELU"), "islands are no operations that the quantizer left"
    assert integers.rewrites["integer-hard-swish"] == 1
    assert integers.rewrites["integer-kernels"] == 3
    assert not {"lookup-islands", "ends"} & {*integers.rewrites}
    assert cpu.path
    assert integers.path
    assert any("float32" in node.data_types for node in read(cpu.path).nodes)
    graph = Graph(integers.path.read_bytes())
    assert {graph.dtype(i) for i in range(len(graph.table.tensors))} <= {np.dtype(t) for t in ("u1", "i1", "i4")}
    found = read(integers.path)
    assert found.still_float == ()
    assert found.islands == {}
    assert found.contract
    assert found.contract.target == "integer-only"


@pytest.mark.slow
def test_images_scaled_by_their_own_values_are_refused(activations: Path, images: Path, tmp_path: Path) -> None:
    hints = Hints(input="standardize", color="rgb")
    variant = made(activations, images, tmp_path, "integer-only", hints=hints)
    assert "each image is scaled by its own values" in variant.error
    assert "--target cpu" in variant.hint
    assert list(tmp_path.glob("*.tflite")) == []


def test_what_the_quantizer_leaves_is_named(images: Path, tmp_path: Path) -> None:
    import keras

    inputs = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(4, 3, activation="log_softmax")(inputs)
    keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(x)).save(tmp_path / "net.keras")
    variant = made(tmp_path / "net.keras", images, tmp_path, "integer-only")
    assert "the quantizer leaves LOG_SOFTMAX in float" in variant.error


def file_of(net: Net, path: Path, *rewrites: Any) -> Path:
    model = net.model()
    for rewrite in rewrites:
        model, _ = rewritten(rewrite, model)
    path.write_bytes(model)
    return path


def test_files_are_refused_for_a_float_anywhere(tmp_path: Path) -> None:
    net = Net(SHAPE)
    net.op("HARD_SWISH", [net.input], SHAPE)
    refuse_floats(file_of(net, tmp_path / "a.tflite"))
    with pytest.raises(ConversionError, match="HARD_SWISH"):
        refuse_floats(file_of(net, tmp_path / "b.tflite", "lookup-islands"))
    net.op("DEQUANTIZE", [net.graph.operators[-1].outputs[0]], SHAPE, 0.0, dtype=np.float32)
    with pytest.raises(ConversionError, match="no float operation"):
        refuse_floats(file_of(net, tmp_path / "c.tflite"))


def test_only_what_the_quantizer_left_is_noted(tmp_path: Path) -> None:
    net = Net(SHAPE, dtype=np.uint8)
    inner = net.op("TANH", [net.op("QUANTIZE", [net.input], SHAPE)], SHAPE, 1 / 128)
    inner = net.op("SQUARED_DIFFERENCE", [net.op("HARD_SWISH", [inner], SHAPE), inner], SHAPE)
    assert remainder(file_of(net, tmp_path / "a.tflite", "ends", "lookup-islands"), INT8) == ()
    left = net.op("DEQUANTIZE", [inner], SHAPE, 0.0, dtype=np.float32)
    left = net.op("CUMSUM", [left, net.constant(np.array(1, np.int32))], SHAPE, 0.0, dtype=np.float32)
    net.op("QUANTIZE", [left], SHAPE)
    (note,) = remainder(file_of(net, tmp_path / "b.tflite", "ends", "lookup-islands"), INT8)
    assert note.endswith("does not support it: CUMSUM")
