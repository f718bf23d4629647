"""Channels whose sizes differ: calibrated files keep their answers, normalized in front of the quantized input."""

import ctypes
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
keras = pytest.importorskip("keras")

from edgepress.converters.adapter import InputAdapter  # noqa: E402
from edgepress.converters.contract.hints import Hints  # noqa: E402
from edgepress.converters.sources.open import open_source  # noqa: E402
from edgepress.converters.to_tflite.front import split_front  # noqa: E402
from edgepress.converters.to_tflite.passes import input_storage  # noqa: E402
from edgepress.runtime import load, read_contract  # noqa: E402
from edgepress.runtime.adapted import quantized, scaled  # noqa: E402
from edgepress.runtime.input_spec import InputSpec  # noqa: E402
from edgepress.toolkit import convert, export  # noqa: E402

SCALES = np.array([1.0, 500.0, 10_000.0], np.float32)
CLASSES = 3


def windows(count: int, seed: int):
    """Windows (24, 3) whose class is the frequency of the first, smallest channel."""
    rng = np.random.default_rng(seed)
    y = np.arange(count) % CLASSES
    phase = rng.uniform(0, 6, (count, 1))
    wave = np.sin((y[:, None] + 1) * 0.5 * np.arange(24) + phase)
    x = rng.normal(0, 0.3, (count, 24, 3))
    x[:, :, 0] += wave
    return (x * SCALES + SCALES / 2).astype(np.float32), y


def net(kind: str):
    x, y = windows(240, 0)
    source = keras.Input((24, 3))
    if kind == "normalization":
        layer = keras.layers.Normalization()
        layer.adapt(x)
        h = layer(source)
    elif kind == "batch normalization":
        h = keras.layers.BatchNormalization()(source)
    else:
        h = keras.layers.Rescaling((1 / SCALES).tolist(), [-0.5] * 3)(source)
    h = keras.layers.Conv1D(8, 5, activation="relu", padding="same")(h)
    h = keras.layers.GlobalAveragePooling1D()(h)
    model = keras.Model(source, keras.layers.Dense(CLASSES, activation="softmax")(h))
    if kind == "batch normalization":
        mean, variance = x.mean((0, 1)), x.var((0, 1))
        model.layers[1].set_weights([np.ones(3), np.zeros(3), mean, variance])
        model.layers[1].trainable = False
    model.compile("adam", "sparse_categorical_crossentropy")
    model.fit(x, y, epochs=25, batch_size=16, verbose=0)
    return model


@pytest.mark.parametrize("kind", ["normalization", "batch normalization", "rescaling"])
def test_int8_files_keep_the_answers(kind, tmp_path):
    keras.utils.set_random_seed(1)
    model = net(kind)
    model.save(tmp_path / "net.keras")
    x, y = windows(300, 1)
    expected = np.asarray(model(x)).argmax(1)
    assert (expected == y).mean() > 0.9
    data = windows(240, 0)
    for target, schemes in (("cpu", "tflite-float32,tflite-int8,onnx-int8"), ("integer-only", "tflite-int8")):
        done = convert(tmp_path / "net.keras", to=schemes, target=target, data=data, out=tmp_path / target)
        for variant in done:
            assert variant.path is not None, variant.error
            contract = load(variant.path).contract
            assert contract is not None
            moved = target == "integer-only"  # others compute it in float, in front of a float input
            assert (contract.adapter is not None) == moved
            answered = np.array([load(variant.path).answer(item[None])[0].argmax() for item in x[:100]])
            assert (answered == expected[:100]).mean() >= 0.98
    file = tmp_path / "integer-only" / "net-int8-integer-only.tflite"
    compare_c(file, x[:40], tmp_path / "c99")


def compare_c(file: Path, x, folder: Path) -> None:
    """The C stores readings as the runtime does, half steps, extreme values and NaN included."""
    export(file, out=folder)
    readme = (folder / "README.md").read_text()
    assert "channel by channel." in readme
    assert "pixels" not in readme
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("needs a C compiler")
    library = folder / "values.so"
    sources = [str(folder / name) for name in ("model_values.c", "model.c")]
    subprocess.run([compiler, "-std=c99", "-shared", "-fPIC", "-O2", *sources, "-o", str(library)], check=True)
    function = ctypes.CDLL(str(library)).model_input_from_float
    contract = read_contract(file)
    assert contract is not None
    storage = input_storage(file.read_bytes())
    assert storage is not None
    dtype, scale = storage
    adapter = contract.adapter
    assert adapter is not None
    sizes = 10.0 ** np.arange(-3, len(x) - 3)[:, None, None]
    wild = np.random.default_rng(0).normal(size=x.shape) * sizes
    steps = (np.arange(-300, 300, 0.5, np.float32)[:72] * scale[0]).reshape(24, 3) * adapter.std + adapter.mean
    wild[0] = steps
    for item in (*x, *np.clip(wild, -3e38, 3e38).astype(np.float32)):
        stored = np.empty(item.size, np.uint8)
        values = np.array(item, np.float32, order="C")
        function(values.ctypes.data_as(ctypes.c_void_p), stored.ctypes.data_as(ctypes.c_void_p))
        expected = quantized(scaled(item[None], adapter), scale, np.dtype(dtype))
        assert np.array_equal(stored.view(dtype), expected.ravel())
    values[0, 0] = np.nan
    function(values.ctypes.data_as(ctypes.c_void_p), stored.ctypes.data_as(ctypes.c_void_p))
    assert stored.view(dtype)[0] == np.iinfo(dtype).min


def graph_of(model, path: Path) -> bytes:
    model.save(path)
    shape = model.input_shape[1:]
    return open_source(path, Hints()).tflite(InputAdapter(InputSpec(shape=shape, dtype="float32"), shape))


@pytest.mark.parametrize("seed", range(2))
def test_a_front_is_read_from_the_constants(seed, tmp_path):
    rng = np.random.default_rng(seed)
    mean = rng.normal(size=4).astype(np.float32)
    variance = rng.uniform(0.1, 9, 4).astype(np.float32)
    source = keras.Input((10, 4))
    h = keras.layers.Normalization(mean=mean, variance=variance)(source)
    parts = split_front(graph_of(keras.Model(source, keras.layers.Conv1D(3, 3)(h)), tmp_path / "a.keras"))
    assert parts is not None
    assert np.allclose(parts[0].mean, mean, rtol=1e-5, atol=1e-6)
    assert np.allclose(parts[0].std, np.sqrt(variance), rtol=1e-5)


def test_values_that_two_operations_read_stay(tmp_path):
    source = keras.Input((10, 4))
    h = keras.layers.Rescaling([1.0, 2.0, 3.0, 4.0])(source)
    out = keras.layers.Concatenate()([keras.layers.Conv1D(3, 3, padding="same")(source), h])
    assert split_front(graph_of(keras.Model(source, out), tmp_path / "a.keras")) is None
