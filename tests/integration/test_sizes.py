"""Models whose inputs leave sizes free: `--size` fixes them, for every format."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgepress.converters.adapter import InputAdapter
from edgepress.converters.contract.hints import Hints
from edgepress.converters.inspection import open_in_engine, read
from edgepress.converters.sources.open import open_source
from edgepress.runtime import load
from edgepress.runtime.errors import InputError, ModelFileError
from edgepress.runtime.input_spec import InputSpec
from edgepress.toolkit.diagnosis.profiling.profile import profile

KINDS = ["free.keras", "free_saved_model", "free.onnx", "free.tflite", "shapes.tflite"]
MACS = {"free.onnx": 22 * 30 * 27 * 8 + 32, "shapes.tflite": 22 * 30 * 27 * 8 + 32}
"""For 46x62 images: a convolution of 3x3x3 to 8 channels with stride 2 and a dense layer; the others also have a
depthwise one."""
WITH_DEPTHWISE = 22 * 30 * 27 * 8 + 20 * 28 * 9 * 8 + 32


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of images of any size in every format, and a recurrent one of sequences of any length."""
    import keras
    import tensorflow as tf

    layers, made = keras.layers, tmp_path_factory.mktemp("sizes")
    keras.utils.set_random_seed(0)
    body = [layers.Conv2D(8, 3, strides=2, activation="relu"), layers.DepthwiseConv2D(3)]
    inner = keras.Sequential([keras.Input((None, None, 3)), *body])  # a model inside has shapes of its own
    end = [layers.GlobalAveragePooling2D(), layers.Dense(4, activation="softmax")]
    model = keras.Sequential([keras.Input((None, None, 3)), inner, *end])
    model.save(made / "free.keras")
    model.export(made / "free_saved_model", verbose=False)
    steps = [layers.Conv1D(4, 3), layers.LSTM(6), layers.Dense(3, activation="softmax")]
    keras.Sequential([keras.Input((None, 5)), *steps]).save(made / "sequence.keras")
    kernel, depthwise, dense = (variable.numpy() for variable in (*body[0].weights[:1], body[1].kernel, end[1].kernel))

    def plain(x: Any) -> Any:
        x = tf.nn.relu(tf.nn.conv2d(x, kernel, 2, "VALID"))
        x = tf.nn.depthwise_conv2d(x, depthwise, [1, 1, 1, 1], "VALID")
        return tf.nn.softmax(tf.reduce_mean(x, [1, 2]) @ dense)

    def with_shapes(x: Any) -> Any:
        x = tf.nn.relu(tf.nn.conv2d(x, kernel, 2, "VALID"))
        count = tf.shape(x)[1] * tf.shape(x)[2]
        return tf.nn.softmax(tf.reduce_mean(tf.reshape(x, [1, count, 8]), 1) @ dense)

    for name, function in (("free", plain), ("shapes", with_shapes)):
        signature = [tf.TensorSpec((1, None, None, 3))]
        concrete = tf.function(function, input_signature=signature).get_concrete_function()
        converter = tf.lite.TFLiteConverter.from_concrete_functions([concrete])
        (made / f"{name}.tflite").write_bytes(converter.convert())
    _write_onnx(made / "free.onnx", kernel.transpose(3, 2, 0, 1), dense)
    return made


def _write_onnx(path: Path, kernel: np.ndarray, dense: np.ndarray) -> None:
    """The net without its depthwise convolution, channels first, all sizes free, and a shape that depends on them."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    nodes = [
        helper.make_node("Conv", ["x", "kernel"], ["c"], strides=[2, 2]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("GlobalAveragePool", ["r"], ["g"]),
        helper.make_node("Flatten", ["g"], ["f"]),
        helper.make_node("MatMul", ["f", "dense"], ["m"]),
        helper.make_node("Softmax", ["m"], ["y"], axis=-1),
    ]
    graph = helper.make_graph(
        nodes,
        "free",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3, "H", "W"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", "classes"])],
        [numpy_helper.from_array(np.ascontiguousarray(v), n) for n, v in (("kernel", kernel), ("dense", dense))],
        value_info=[helper.make_tensor_value_info("c", TensorProto.FLOAT, ["N", 8, "height", "width"])],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


@pytest.mark.parametrize("name", [*KINDS, "sequence.keras"])
def test_without_a_size_the_error_says_what_to_give(folder: Path, name: str) -> None:
    with pytest.raises(ModelFileError, match=f"{name}.*--size"):
        open_source(folder / name)


@pytest.mark.parametrize("name", KINDS)
def test_every_format_is_converted_at_the_size(folder: Path, name: str, tmp_path: Path) -> None:
    source = open_source(folder / name, Hints(size="46x62"))
    first = name.endswith(".onnx")
    shape = (3, 46, 62) if first else (46, 62, 3)
    assert (source.facts.shape, source.facts.outputs) == (shape, 4)
    item = InputSpec.image(46, 62, "rgb")
    adapter = InputAdapter(item, shape, std=(255.0,), channels_first=first)
    items = np.random.default_rng(1).integers(0, 256, (2, *item.shape)).astype(np.uint8)
    expected = source.answer(adapter.apply(items))
    if not name.endswith(".onnx"):
        if not name.endswith(".tflite"):
            assert _onnx_answer(source.onnx(adapter), items) == pytest.approx(expected, abs=1e-5)
        (tmp_path / "m.tflite").write_bytes(source.tflite(adapter))
        assert _tflite_answer(tmp_path / "m.tflite", items) == pytest.approx(expected, abs=1e-5)
        assert not {"SHAPE", "PACK"} & {node.operation for node in read(tmp_path / "m.tflite").nodes}
    else:
        assert _onnx_answer(source.onnx(adapter), items) == pytest.approx(expected, abs=1e-5)


def test_a_recurrent_layer_is_unrolled_over_the_length_that_was_given(folder: Path, tmp_path: Path) -> None:
    source = open_source(folder / "sequence.keras", Hints(size="7"))
    adapter = InputAdapter(InputSpec(shape=(7, 5), dtype="float32"), (7, 5))
    items = np.random.default_rng(1).normal(size=(2, 7, 5)).astype(np.float32)
    (tmp_path / "m.tflite").write_bytes(source.tflite(adapter))
    assert _tflite_answer(tmp_path / "m.tflite", items) == pytest.approx(source.answer(items), abs=1e-5)


@pytest.mark.parametrize("name", KINDS)
def test_inspect_counts_at_the_size(folder: Path, name: str) -> None:
    path = folder / name
    if name == "free_saved_model":  # a convolution of 3x3 has no output for 1x1
        with pytest.raises(ModelFileError, match="--size"):
            read(path)
    else:
        assert any("--size" in note for note in read(path).notes)
    found = open_in_engine(path, read(path, "46x62"), "46x62")
    assert found.macs == MACS.get(name, WITH_DEPTHWISE)
    assert {46, 62} < {*(found.inputs[0].shape or ())}
    assert found.peak_activation_bytes is not None
    with pytest.raises(InputError, match="46x62x9"):
        read(path, "46x62x9")


def _tflite_answer(path: Path, items: np.ndarray) -> np.ndarray:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path))
    interpreter.allocate_tensors()
    source, sink = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    assert source["shape"].tolist() == source["shape_signature"].tolist() == [1, *items.shape[1:]]
    answers = []
    for item in items.astype(source["dtype"]):
        interpreter.set_tensor(source["index"], item[np.newaxis])
        interpreter.invoke()
        answers.append(interpreter.get_tensor(sink["index"])[0])
    return np.array(answers)


def _onnx_answer(model: Any, items: np.ndarray) -> np.ndarray:
    import onnxruntime

    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    assert session.get_inputs()[0].shape[1:] == [*items.shape[1:]]
    scores: np.ndarray = session.run(None, {session.get_inputs()[0].name: items})[0]
    return scores


@pytest.mark.parametrize("name", ["free.tflite", "shapes.tflite"])
def test_a_tflite_file_of_free_sizes_is_not_answered_at_1x1(folder: Path, name: str) -> None:
    with pytest.raises(ModelFileError, match=f"{name}.*--size"):
        load(folder / name)


@pytest.mark.parametrize("name", ["free.onnx", "shapes.tflite"])
def test_profile_gives_no_time_for_a_free_size(folder: Path, name: str) -> None:
    with pytest.raises((InputError, ModelFileError), match=f"{name}.*--size"):
        profile(folder / name)
