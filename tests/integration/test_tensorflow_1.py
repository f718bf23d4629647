"""SavedModels of TensorFlow 1, and others that TensorFlow 2 does not load, are opened by the loader of TensorFlow 1."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgepress.converters.adapter import InputAdapter
from edgepress.converters.contract.hints import Hints
from edgepress.converters.inspection import read
from edgepress.converters.schemes import ALL
from edgepress.converters.sources.open import open_source
from edgepress.runtime.errors import ModelFileError
from edgepress.runtime.input_spec import InputSpec

ITEMS = np.random.default_rng(0).integers(0, 256, (8, 9, 11, 3)).astype(np.uint8)
SPEC = InputSpec.image(9, 11, "rgb")


def _write(folder: Path, *, name: str = "serving_default", trained: bool = True, resource: bool = False) -> np.ndarray:
    """Save a small net of images of any size by TensorFlow 1, and return its answers to `ITEMS`.

    `trained`: with a second graph for training, which `tf.saved_model.load` refuses.
    """
    import tensorflow as tf

    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        v1.set_random_seed(0)
        source = v1.placeholder(tf.float32, [None, None, None, 3], "image")
        kernel, dense = (v1.get_variable(n, s, use_resource=resource) for n, s in (("k", [3, 3, 3, 8]), ("d", [8, 4])))
        features = tf.reduce_mean(tf.nn.relu(tf.nn.conv2d(source, kernel, 2, "SAME")), [1, 2])
        scores = tf.nn.softmax(features @ dense)
        session.run(v1.global_variables_initializer())
        builder, first = v1.saved_model.Builder(str(folder)), {"image": source}
        signature = {name: v1.saved_model.predict_signature_def(first, {"scores": scores})}
        if trained:
            builder.add_meta_graph_and_variables(session, ["train"])
            builder.add_meta_graph(["serve"], signature)
        else:
            builder.add_meta_graph_and_variables(session, ["serve"], signature)
        builder.save()
        answers: np.ndarray = session.run(scores, {source: ITEMS / 255})
    return answers


@pytest.mark.parametrize("resource", [False, True])
@pytest.mark.parametrize(("name", "trained"), [("serving_default", True), ("predict_images", False)])
def test_it_answers_and_converts(tmp_path: Path, name: str, trained: bool, resource: bool) -> None:
    expected = _write(tmp_path / "model", name=name, trained=trained, resource=resource)
    source = open_source(tmp_path / "model", Hints(size="9x11"))
    adapter = InputAdapter(SPEC, SPEC.shape, std=(255.0,))
    assert source.answer(adapter.apply(ITEMS)) == pytest.approx(expected, abs=1e-6)
    assert any("TensorFlow 1" in note for note in source.facts.notes)
    assert source.facts.ends_in == "Softmax"
    import onnxruntime

    session = onnxruntime.InferenceSession(source.onnx(adapter).SerializeToString())
    assert session.run(None, {session.get_inputs()[0].name: ITEMS})[0] == pytest.approx(expected, abs=1e-5)
    assert source.tflite(adapter)


def test_inspect_counts_it(tmp_path: Path) -> None:
    _write(tmp_path / "model")
    found = read(tmp_path / "model", "9x11")
    assert (found.macs, found.parameters) == (5 * 6 * 27 * 8 + 32, 27 * 8 + 32)
    assert any("TensorFlow 1" in note for note in found.notes)


def test_what_neither_loads_is_an_error_about_the_file(tmp_path: Path) -> None:
    _write(tmp_path / "model")
    file = tmp_path / "model" / "saved_model.pb"
    file.write_bytes(file.read_bytes()[:2000])
    with pytest.raises(ModelFileError, match="model"):
        open_source(tmp_path / "model")


def test_several_signatures_without_a_serving_one_are_named(tmp_path: Path) -> None:
    import tensorflow as tf

    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        source = v1.placeholder(tf.float32, [None, 4])
        scores = tf.nn.softmax(source)
        signature = v1.saved_model.predict_signature_def({"x": source}, {"y": scores})
        builder = v1.saved_model.Builder(str(tmp_path / "model"))
        builder.add_meta_graph_and_variables(session, ["serve"], {"first": signature, "second": signature})
        builder.save()
    with pytest.raises(ModelFileError, match=r"model.*first, second"):
        open_source(tmp_path / "model")


@pytest.mark.slow
def test_all_schemes(tmp_path: Path) -> None:
    from edgepress.toolkit import convert

    _write(tmp_path / "model")
    items = np.random.default_rng(1).integers(0, 256, (120, *SPEC.shape)).astype(np.uint8)
    np.savez(tmp_path / "data.npz", x=items, y=np.arange(120) % 4)
    hints = Hints(size="9x11", input_range="0,1")
    made = convert(tmp_path / "model", data=str(tmp_path / "data.npz"), out=tmp_path / "out", hints=hints)
    assert {v.scheme: v.error for v in made} == dict.fromkeys(ALL, "")
