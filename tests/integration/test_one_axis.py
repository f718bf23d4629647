"""Outputs such as [1, N, 1, 1], with one axis longer than 1, are those of a classifier."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from foreign_models import onnx_with

from edgepress.converters.contract.guess import guess_contract
from edgepress.converters.sources.open import open_source
from edgepress.runtime import load
from edgepress.toolkit.conversion.convert import convert


def flat_keras(path: Path, shape: tuple[int, ...]) -> Path:
    import keras

    keras.utils.set_random_seed(1)
    model = keras.Sequential([keras.Input((6,)), keras.layers.Dense(5, activation="softmax")])
    keras.Model(model.inputs, keras.layers.Reshape(shape)(model.outputs[0])).save(path)
    return path


def saved_model(folder: Path) -> Path:
    import tensorflow as tf

    module = tf.Module()
    module.w = tf.Variable(np.random.default_rng(0).normal(size=(6, 5)).astype(np.float32))
    serve = tf.function(
        lambda x: tf.reshape(tf.nn.softmax(x @ module.w), [-1, 1, 5, 1]),
        input_signature=[tf.TensorSpec((None, 6), tf.float32)],
    )
    tf.saved_model.save(module, str(folder), signatures=serve.get_concrete_function())
    return folder


def tflite_file(path: Path) -> Path:
    from edgepress.converters.to_tflite import flatbuffer as flat

    source = open_source(flat_keras(path.with_suffix(".keras"), (5,)))
    root, graph = flat.read(source.tflite(guess_contract(source.facts).adapter))
    sizes = flat.constant(root, graph, np.array([1, 5, 1, 1], np.int32), "again")
    new = flat.tensor(graph, [1, 5, 1, 1], "four")
    graph.operators.append(flat.operator(root, "RESHAPE", [int(graph.outputs[0]), sizes], new, newShape=[1, 5, 1, 1]))
    flat.redirect(root, graph, new, inputs=False)
    path.write_bytes(flat.write(root))
    return path


@pytest.fixture(scope="module")
def four(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Classifiers of six numbers with outputs [N, 5, 1, 1] and alike, one of each kind of source."""
    folder = tmp_path_factory.mktemp("four")
    return {
        "keras": flat_keras(folder / "m.keras", (5, 1, 1)),
        "savedmodel": saved_model(folder / "m"),
        "tflite": tflite_file(folder / "m.tflite"),
        "onnx": onnx_with(folder / "m.onnx", {"y": ["n", 5, 1, 1]}, shape=["n", 6], softmax=True),
    }


X = np.random.default_rng(0).normal(size=(60, 6)).astype(np.float32)


@pytest.mark.parametrize("kind", ["keras", "savedmodel", "tflite", "onnx"])
def test_one_axis_that_counts_is_a_classifier(kind: str, four: dict[str, Path], tmp_path: Path) -> None:
    source = open_source(four[kind])
    assert (source.facts.outputs, source.facts.output_shape) == (5, ())
    assert source.answer(X[:3]).shape == (3, 5)
    adapter = guess_contract(source.facts).adapter
    for name, make in (("m.tflite", source.tflite), ("m.onnx", source.onnx)):
        if kind in ("keras", "savedmodel") or name.endswith(kind):
            made = make(adapter)
            (tmp_path / name).write_bytes(made if isinstance(made, bytes) else made.SerializeToString())
            np.testing.assert_allclose(load(tmp_path / name).scores(X[:3]), source.answer(X[:3]), atol=1e-5)
    if kind in ("tflite", "onnx"):  # the runtime takes the source as it is, too
        np.testing.assert_allclose(load(four[kind]).scores(X[:3]), source.answer(X[:3]), atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["keras", "savedmodel", "tflite", "onnx"])
def test_one_axis_that_counts_is_quantized(kind: str, four: dict[str, Path], tmp_path: Path) -> None:
    np.savez(tmp_path / "data.npz", x=X, y=np.arange(60) % 5)
    made = convert(four[kind], "all", data=str(tmp_path / "data.npz"), out=tmp_path / "out")
    assert {v.error for v in made} == {""}
    answers = [load(v.path).scores(X[:4]) for v in made if v.path is not None]
    assert {a.shape for a in answers} == {(4, 5)}
    np.testing.assert_allclose(np.array(answers), np.broadcast_to(answers[0], np.shape(answers)), atol=0.06)
