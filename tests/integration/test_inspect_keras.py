"""`edgepress inspect` of Keras files and SavedModels."""

from __future__ import annotations

import re
import shutil
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from inspecting import LENET_MACS, LENET_PARAMETERS, row_of

from edgepress.converters.inspection import Inspection, read
from edgepress.toolkit.conversion.inspection import inspect
from edgepress.toolkit.errors import ModelFileError


def test_keras_layers(keras_found: Inspection) -> None:
    f = keras_found
    assert (f.format, f.inputs[0].shape, f.outputs[0].shape) == ("keras", (None, 28, 28, 1), (None, 10))
    assert row_of(f, "Dense")["count"] == 3
    assert f.weights[0].size_bytes == 4 * 400 * 120


def opened(path: Path) -> Inspection:
    """What Keras makes of a file, in this process."""
    from edgepress.converters.inspection.keras_graph import open_in_keras

    return open_in_keras(path, read(path))


@pytest.mark.parametrize("stateful", [False, True])
def test_figures_of_a_keras_file_with_a_fixed_batch_are_for_one(tmp_path: Path, stateful: bool) -> None:
    import keras

    def model(batch: int | None) -> Any:
        inner = keras.Sequential([keras.Input(batch_shape=(batch, 6)), keras.layers.Dense(3)])
        lstm = keras.layers.LSTM(6, stateful=stateful and batch is not None)
        return keras.Sequential([keras.Input(batch_shape=(batch, 10, 4)), lstm, inner])

    found = []
    for batch in (None, 8):
        model(batch).save(tmp_path / f"{batch}.keras")
        found.append(opened(tmp_path / f"{batch}.keras"))
    free, fixed = found
    assert fixed.inputs[0].shape == (8, 10, 4)
    assert fixed.macs == free.macs == 10 * 24 * 10 + 18
    assert fixed.parameters == free.parameters
    assert fixed.peak_activation_bytes == free.peak_activation_bytes
    assert fixed.notes == ("It takes 8 items at a time: figures are for one.",)


def test_a_keras_file_that_is_held_to_its_batch_shows_no_figures_for_one(tmp_path: Path) -> None:
    import keras

    source = keras.Input(batch_shape=(8, 6))
    x = keras.ops.reshape(keras.layers.Dense(4)(source), (8, 2, 2))
    keras.Model(source, keras.layers.Dense(3)(keras.layers.Flatten()(x))).save(tmp_path / "model.keras")
    f = opened(tmp_path / "model.keras")
    assert (f.parameters, f.macs_not_counted, f.peak_activation_bytes) == (43, ("Dense",), None)
    assert "figures for one are not known" in f.notes[0]


def test_keras_layers_that_multiply_nothing_or_can_not_be_counted(tmp_path: Path) -> None:
    import keras

    source = keras.Input((4, 4))
    x = keras.layers.PReLU()(keras.layers.LayerNormalization(axis=(1, 2))(source))
    keras.Model(source, keras.layers.Dot(axes=2)([x, x])).save(tmp_path / "model.keras")
    f = opened(tmp_path / "model.keras")
    assert (f.macs, f.macs_not_counted) == (0, ("Dot",))


def test_keras_files_open_as_conversion_opens_them(tmp_path: Path) -> None:
    import keras

    model = keras.Sequential([keras.Input((8, 8, 2)), keras.layers.DepthwiseConv2D(3, dtype="float16")])
    model.save(tmp_path / "model.keras")
    model.save(tmp_path / "model.h5")
    asis = opened(tmp_path / "model.keras")
    assert (asis.notes, asis.nodes[0].data_types) == ((), "float32 x float16 -> float16")
    shutil.copy(tmp_path / "model.keras", tmp_path / "zip.h5")
    shutil.copy(tmp_path / "model.h5", tmp_path / "hdf5.keras")
    for name in ("zip.h5", "hdf5.keras"):
        f = opened(tmp_path / name)
        assert f.engine is not None
        assert f.engine.opens, f.engine.error
        assert f.macs == asis.macs > 0
        assert "a copy that edgepress convert repairs" in f.notes[0]


def test_a_deflated_keras_file_is_read_and_damage_in_it_is_one_error(run: Any, tmp_path: Path) -> None:
    path = tmp_path / "model.keras"
    with zipfile.ZipFile(run.model) as old, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            if name != "edgepress.json":
                new.writestr(name, old.read(name))
    whole = path.read_bytes()
    assert sum(int(np.prod(w.shape)) for w in read(path).weights) == LENET_PARAMETERS
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
    for member in members:
        start = member.header_offset + 30 + len(member.filename)
        broken = bytes(b ^ 0xA5 for b in whole[start : start + 40])
        path.write_bytes(whole[:start] + broken + whole[start + 40 :])
        with pytest.raises(ModelFileError, match="is damaged"):
            read(path)
    path.write_bytes(re.sub(rb"(PK\x01\x02.{6})\x08\x00", lambda m: m[1] + b"\x63\x00", whole, flags=re.DOTALL))
    with pytest.raises(ModelFileError, match="compression"):
        read(path)


def test_loops_and_unknown_ranks_of_a_saved_model_are_told(tmp_path: Path) -> None:
    import tensorflow as tf

    module = tf.Module()
    module.w = tf.Variable(tf.ones((4, 4)))

    def loop(x: Any) -> dict[str, Any]:
        start = (tf.constant(0), tf.zeros((1, 4)))
        return {"y": tf.while_loop(lambda i, _: i < 3, lambda i, h: (i + 1, tf.matmul(x + h, module.w)), start)[1]}

    def product(x: Any) -> dict[str, Any]:
        return {"y": tf.matmul(tf.reshape(x, (3, 1)), module.w[:3], transpose_a=True)}

    def ranks(x: Any) -> dict[str, Any]:
        return {"y": tf.reshape(x, (-1, 4)) @ module.w}

    found = {}
    for function, shape in ((loop, (1, 4)), (product, (1, 3)), (ranks, None)):
        signature = tf.function(function, input_signature=[tf.TensorSpec(shape, tf.float32, name="x")], autograph=False)
        tf.saved_model.save(module, tmp_path / function.__name__, signatures=signature)
        found[function] = read(tmp_path / function.__name__)
    f = found[loop]
    assert (f.parameters, f.macs) == (16, 0)
    assert any(name.endswith("While") for name in f.macs_not_counted)
    assert any("Not inspected: the bodies of" in note for note in f.notes)
    assert found[product].macs == 12
    f = found[ranks]
    assert (f.inputs[0].shape, f.peak_activation_bytes, f.macs_not_counted) == (None, None, ("MatMul",))


def test_weights_without_a_model_are_shown_and_named_as_such(tmp_path: Path) -> None:
    import h5py

    path = tmp_path / "model.weights.h5"
    with h5py.File(path, "w") as file:
        file["layers/dense/vars/0"] = np.zeros((20, 10), np.float32)
        file["optimizer/vars/0"] = np.zeros(50, np.float32)
        file[b"layers/caf\xe9"] = np.zeros(0, np.float32)
    f = inspect(path)
    assert f.weights[-1].name == "layers/caf\N{REPLACEMENT CHARACTER}"
    assert (f.format, f.parameters, f.weights_bytes, f.nodes) == ("h5", 200, 800, ())
    assert f.engine is None
    assert any("weights and no architecture" in note for note in f.notes)


@pytest.mark.slow
def test_a_keras_file_that_keras_refuses_still_shows_its_layers(run: Any, tmp_path: Path) -> None:
    path = tmp_path / "model.keras"
    with zipfile.ZipFile(run.model) as source, zipfile.ZipFile(path, "w") as target:
        for member in source.infolist():
            content = source.read(member)
            if member.filename == "config.json":
                content = content.replace(b'"class_name": "Flatten"', b'"class_name": "NoSuchLayer"')
            target.writestr(member, content)
    f = inspect(path)
    assert f.engine is not None
    assert not f.engine.opens
    assert "NoSuchLayer" in f.engine.error
    assert row_of(f, "NoSuchLayer")["count"] == 1
    assert f.parameters == LENET_PARAMETERS
    assert f.macs_not_counted


@pytest.mark.slow
def test_saved_model_folder(run: Any, tmp_path: Path) -> None:
    from edgepress.converters.sources.keras import load_keras

    load_keras(run.model).export(tmp_path / "saved", verbose=False)
    f = inspect(tmp_path / "saved")
    assert (f.format, f.macs, f.inputs[0].shape) == ("saved_model", LENET_MACS, (None, 28, 28, 1))
    assert f.weights_bytes == 4 * LENET_PARAMETERS
    assert f.peak_activation_bytes == 4 * 2 * 28 * 28 * 6
    (tmp_path / "saved" / "saved_model.pb").write_bytes(b"not a graph")
    with pytest.raises(ModelFileError, match=r"saved_model\.pb is damaged"):
        inspect(tmp_path / "saved")
