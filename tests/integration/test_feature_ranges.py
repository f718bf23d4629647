"""Tensors whose features have ranges of their own, with a layer that normalizes them or without."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgepress.converters.ptq.repair import SCALED
from edgepress.converters.schemes import SCHEMES
from edgepress.converters.to_tflite.float_layers import normalization_names
from edgepress.converters.to_tflite.graph import Graph
from edgepress.runtime import load
from edgepress.toolkit.conversion.convert import convert
from edgepress.toolkit.diagnosis.accuracy.diagnose import diagnose_accuracy

FEATURES = 8
RANGES = np.array([0.01, 0.1, 1, 5, 20, 100, 500, 2000.0])
"""Spread of each feature."""
SCHEMES_OF_INTEGERS = [name for name, scheme in SCHEMES.items() if scheme.calibrated]


def table(items: int, seed: int) -> Any:
    """Items, float32; the features of small range matter as much as the others."""
    return (np.random.default_rng(seed).normal(0.5, 1, (items, FEATURES)) * RANGES).astype(np.float32)


@pytest.fixture(scope="module", params=["table", "flattened", "batch", "dense", "wide"])
def net(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    """A net on a table, or on one that it flattens first, and its data.

    "batch": BatchNormalization, which TFLite's converter puts into the dense layer; "dense": one of suitable weights;
    "wide": two of them, of which one goes around the hidden layer.
    """
    import keras
    from keras import layers

    keras.utils.set_random_seed(2)
    folder = tmp_path_factory.mktemp("table")
    scale: Any = layers.Normalization()
    scale.adapt(table(500, 0))
    if request.param == "batch":
        scale = layers.BatchNormalization()
    elif request.param in ("dense", "wide"):
        scale = layers.Activation("linear")
    shape = (2, FEATURES // 2) if request.param == "flattened" else (FEATURES,)
    x = inputs = keras.Input(shape)
    x = layers.Flatten()(x) if request.param == "flattened" else x
    dense = layers.Dense(32, activation="relu")
    around = layers.Dense(4)
    scores = layers.Dense(4)(dense(scale(x)))
    model = keras.Model(inputs, layers.Add()([scores, around(x)]) if request.param == "wide" else scores)
    if request.param == "batch":
        scale.moving_mean.assign(table(500, 0).mean(axis=0))
        scale.moving_variance.assign(table(500, 0).var(axis=0))
    elif request.param in ("dense", "wide"):
        for layer in (dense, around) if request.param == "wide" else (dense,):
            layer.kernel.assign(layer.kernel / RANGES[:, np.newaxis])
    model.save(folder / "m.keras")
    x = table(300, 1).reshape(-1, *shape)
    y = np.asarray(model(x)).argmax(axis=1)
    np.savez(folder / "d.npz", x_train=x[:200], y_train=y[:200], x_test=x[200:], y_test=y[200:], labels=list("abcd"))
    return model, folder


@pytest.fixture(scope="module")
def variants(net: tuple[Any, Path]) -> dict[str, Any]:
    """The files of integers by their schemes."""
    folder = net[1]
    made = convert(folder / "m.keras", SCHEMES_OF_INTEGERS, data=str(folder / "d.npz"))
    return {variant.scheme: variant for variant in made}


@pytest.mark.slow
@pytest.mark.parametrize("scheme", SCHEMES_OF_INTEGERS)
def test_features_of_small_range_are_not_lost(scheme: str, net: tuple[Any, Path], variants: dict[str, Any]) -> None:
    model, _ = net
    items = table(200, 3).reshape(-1, *model.input_shape[1:])
    true = np.asarray(model(items))
    scores = np.asarray(load(variants[scheme].path).outputs(items))
    noise = np.mean((scores - true) ** 2)
    assert 10 * np.log10(np.var(true) / noise) > (18 if "int4" in scheme else 25)


@pytest.mark.slow
def test_the_file_takes_float_and_quantizes_what_is_normalized(variants: dict[str, Any]) -> None:
    path = variants["tflite-int8"].path
    graph = Graph(path.read_bytes())
    kinds = [graph.kind(op) for op in graph.operators]
    assert graph.dtype(int(graph.table.inputs[0])) == np.float32
    front = [kind for kind in kinds[: kinds.index("QUANTIZE")] if kind != "RESHAPE"]
    assert sorted(front) in (["MUL", "SUB"], ["ADD", "MUL"])
    assert "float-normalization" in load(path).contract.rewrites
    assert not [note for note in variants["tflite-int8"].notes if "still computed in float" in note]


@pytest.mark.slow
def test_images_and_features_that_are_alike_are_as_before(run: Any, net: tuple[Any, Path], tmp_path: Path) -> None:
    import keras
    from keras import layers

    (image,) = convert(run.model, ["tflite-float32"], out=tmp_path)
    assert normalization_names(image.path.read_bytes()) == []
    inputs = keras.Input(net[0].input_shape[1:])
    alike = keras.Model(inputs, layers.Dense(4)(layers.Flatten()(layers.Rescaling(0.1, -1)(inputs))))
    alike.save(tmp_path / "alike.keras")
    data = str(net[1] / "d.npz")
    made = convert(tmp_path / "alike.keras", ["tflite-int8"], out=tmp_path, data=data, verify=False)
    assert "float-normalization" not in load(made[0].path).contract.rewrites


@pytest.mark.slow
def test_integer_only_files_compute_nothing_in_float(net: tuple[Any, Path], tmp_path: Path) -> None:
    """Where no float kernel runs, the features are integers from the beginning."""
    _, folder = net
    options = {"data": str(folder / "d.npz"), "target": "integer-only", "verify": False}
    (variant,) = convert(folder / "m.keras", ["tflite-int8"], out=tmp_path, **options)
    assert variant.path is not None, variant.error
    assert "float-normalization" not in load(variant.path).contract.rewrites


@pytest.mark.slow
@pytest.mark.parametrize("net", ["dense"], indirect=True)
def test_scaled_features_are_told_and_known_to_diagnose(net: tuple[Any, Path], tmp_path: Path) -> None:
    _, folder = net
    data = str(folder / "d.npz")
    (variant,) = convert(folder / "m.keras", ["tflite-dynamic"], out=tmp_path, data=data)
    assert SCALED in variant.notes
    assert next(repair["name"] for repair in variant.compression["repairs"] if repair["kept"]) == "feature-scaling"
    diagnosis = diagnose_accuracy(folder / "m.keras", variant.path, data=data)
    assert min(layer.added_db for layer in diagnosis.layers if layer.added_db is not None) > 20


@pytest.mark.slow
def test_images_with_constants_of_each_pixel_keep_their_answers(tmp_path: Path) -> None:
    """Some pixels never vary, as at the edges of digits: Keras divides them by 1e-7."""
    import keras
    from keras import layers

    keras.utils.set_random_seed(2)
    images = np.random.default_rng(0).integers(0, 256, (300, 8, 8, 1)).astype(np.uint8)
    images[:, 0] = 7
    scale = layers.Normalization(axis=(1, 2, 3))
    scale.adapt(images.astype(np.float32))
    inputs = keras.Input((8, 8, 1))
    hidden = layers.Flatten()(layers.Conv2D(8, 3, activation="relu")(scale(inputs)))
    keras.Model(inputs, layers.Dense(4, activation="softmax")(hidden)).save(tmp_path / "net.keras")
    np.savez(tmp_path / "images.npz", x=images)
    schemes = ",".join(SCHEMES_OF_INTEGERS[:2])
    made = convert(tmp_path / "net.keras", f"{schemes},onnx-int8", data=str(tmp_path / "images.npz"), out=tmp_path)
    for each in made:
        assert each.error == ""
        assert each.verification is not None
        assert each.verification.sqnr_db is not None
        assert each.verification.sqnr_db > 15
