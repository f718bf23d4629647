"""TFLite files made of ONNX models, and ONNX files of TFLite models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from foreign_models import onnx_of

from edgepress.converters.contract.guess import guess_contract
from edgepress.converters.errors import ConversionError
from edgepress.converters.proof.compare import seeded_items
from edgepress.converters.schemes import ALL
from edgepress.converters.sources.onnx import OnnxSource
from edgepress.converters.sources.open import open_source
from edgepress.converters.to_onnx.from_tflite import float_onnx_of
from edgepress.runtime import InputSpec, load
from edgepress.toolkit.conversion.convert import Hints, convert


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A linear classifier of 8x8 images, height x width x channels, of values 0-255."""
    from onnx import helper

    nodes = [
        helper.make_node("Flatten", ["image"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weights"], ["out"]),
    ]
    return onnx_of(tmp_path / "linear.onnx", nodes)


def tflite_of(function: Any, shape: tuple[int, ...]) -> bytes:
    import tensorflow as tf

    traced = tf.function(function, input_signature=[tf.TensorSpec((1, *shape), tf.float32)])
    converter = tf.lite.TFLiteConverter.from_concrete_functions([traced.get_concrete_function()])
    return bytes(converter.convert())


def made_of(path: Path, file: bytes, monkeypatch: pytest.MonkeyPatch) -> bytes:
    """The float file of a model of pixels, 0 to 1, if this one were made of it."""
    monkeypatch.setattr(OnnxSource, "_import", lambda self, **options: file)
    source = open_source(path)
    adapter = guess_contract(source.facts, Hints(input_range="0,1", task="logits")).adapter
    return source.tflite(adapter)


def weights_of(path: Path) -> Any:
    (held,) = onnx.load(path).graph.initializer
    return onnx.numpy_helper.to_array(held)


def test_tflite_files_of_an_onnx_model_are_verified_against_it(model: Path, tmp_path: Path) -> None:
    variants = convert(model, "tflite-float32,onnx-float32", out=tmp_path / "out", hints=Hints(input_range="0,1"))
    assert [v.error for v in variants] == ["", ""]
    pixels = seeded_items(InputSpec.image(8, 8, "rgb"), 6)
    tflite, other = (load(v.path) for v in variants)
    np.testing.assert_allclose(tflite.scores(pixels), other.scores(pixels), atol=1e-6)


def test_an_operation_that_tflite_lacks_ends_the_tflite_rows_alone(tmp_path: Path) -> None:
    """The reason names it."""
    from onnx import helper

    nodes = [
        helper.make_node("Flatten", ["image"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weights"], ["sums"]),
        helper.make_node("Unique", ["sums"], ["found", "", "places"]),
        helper.make_node("Gather", ["found", "places"], ["same"]),
        helper.make_node("Add", ["sums", "same"], ["out"]),
    ]
    path = onnx_of(tmp_path / "unique.onnx", nodes)
    first, second, other = convert(path, "tflite-float32,tflite-float16,onnx-float32", out=tmp_path / "out")
    assert first.error.startswith("Unique (found) can't be converted to TFLite: ")
    assert first.error == second.error, "it is not tried twice"
    assert other.error == ""


def test_a_file_that_answers_otherwise_is_refused(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import tensorflow as tf

    wrong = weights_of(model) * np.float32(1.01)
    with pytest.raises(ConversionError, match="does not answer like the model"):
        made_of(model, tflite_of(lambda x: tf.reshape(x, (1, -1)) @ wrong, (8, 8, 3)), monkeypatch)


@pytest.mark.parametrize(("amplification", "accepted"), [(1e6, True), (1.0, False)])
def test_an_error_is_compared_with_what_rounding_makes(
    amplification: float, accepted: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A net that amplifies the last bits of its input answers in no two engines alike."""
    import tensorflow as tf
    from onnx import helper, numpy_helper

    factor = np.float32(amplification)
    nodes = [
        helper.make_node("Flatten", ["image"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weights"], ["sums"]),
        helper.make_node("Constant", [], ["factor"], value=numpy_helper.from_array(factor)),
        helper.make_node("Mul", ["sums", "factor"], ["angles"]),
        helper.make_node("Sin", ["angles"], ["out"]),
    ]
    path = onnx_of(tmp_path / "waves.onnx", nodes)
    weights = weights_of(path)
    shift = np.float32(0.01)
    file = tflite_of(lambda x: tf.sin((tf.reshape(x, (1, -1)) @ weights) * factor + shift), (8, 8, 3))
    if accepted:
        assert made_of(path, file, monkeypatch)
    else:
        with pytest.raises(ConversionError, match="does not answer like the model"):
            made_of(path, file, monkeypatch)


def test_a_file_that_divides_black_by_zero_is_refused(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As one that has lost the least norm of a normalization."""
    import tensorflow as tf

    weights = weights_of(model)
    shares = lambda x: tf.reshape(x * (tf.reduce_sum(x) / tf.reduce_sum(x)), (1, -1)) @ weights  # noqa: E731
    with pytest.raises(ConversionError, match="returns NaN or infinity for an item of 0 alone"):
        made_of(model, tflite_of(shares, (8, 8, 3)), monkeypatch)


@pytest.mark.slow
def test_onnx_files_are_repaired_whether_tflite_files_are_made_or_not(model: Path, tmp_path: Path) -> None:
    items = np.random.default_rng(0).integers(0, 256, (2, 40, 8, 8, 3), dtype=np.uint8)
    labels = np.arange(40) % 10
    np.savez(tmp_path / "data.npz", x_train=items[0], x_test=items[1], y_train=labels, y_test=labels)
    (variant,) = convert(model, "onnx-int8", data=str(tmp_path / "data.npz"), out=tmp_path / "out")
    assert variant.path is not None
    contract = load(variant.path).contract
    assert contract is not None
    assert "repairs" in contract.compression


def test_onnx_files_of_a_tflite_model_take_any_batch() -> None:
    """Its operations merge the batch with a dimension of the item, as a dense layer over steps does."""
    import onnxruntime
    import tensorflow as tf

    random = np.random.default_rng(0)
    first, second = random.normal(size=(4, 5)).astype(np.float32), random.normal(size=(30, 3)).astype(np.float32)
    steps = lambda x: tf.reshape(tf.nn.relu(tf.reshape(x, (6, 4)) @ first), (1, 30)) @ second  # noqa: E731
    model = float_onnx_of(tflite_of(steps, (6, 4)))
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"
    items = random.normal(size=(7, 6, 4)).astype(np.float32)
    expected = (np.maximum(items @ first, 0)).reshape(7, 30) @ second
    (found,) = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {model.graph.input[0].name: items})
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_an_onnx_file_whose_operations_take_one_item_keeps_that_batch() -> None:
    import tensorflow as tf

    both = lambda x: tf.nn.softmax(tf.reduce_sum(tf.concat([x, 2 * x], 0), 0, keepdims=True))  # noqa: E731
    model = float_onnx_of(tflite_of(both, (6,)))
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_value == 1


def saved(path: Path, nodes: list[Any], shape: tuple[int, ...], weights: dict[str, Any]) -> Path:
    """A model with a free batch and three outputs, as PyTorch exports it."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    graph = helper.make_graph(
        nodes,
        "main_graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch_size", *shape])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch_size", 3])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in weights.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


@pytest.mark.slow
def test_channels_of_images_move_to_the_end_and_those_of_tensors_stay(tmp_path: Path) -> None:
    from onnx import helper

    random = np.random.default_rng(0)
    node = helper.make_node

    def weights(*shape: int) -> Any:
        return random.normal(0, 0.3, shape).astype(np.float32)

    images = saved(
        tmp_path / "image.onnx",
        [
            node("Conv", ["x", "kernel"], ["c"], kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4),
            node("Relu", ["c"], ["r"]),
            node("MaxPool", ["r"], ["p"], kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4),
            node("Flatten", ["p"], ["f"]),  # the order of its values depends on that of the axes
            node("Gemm", ["f", "dense"], ["y"]),
        ],
        (3, 12, 16),
        {"kernel": weights(6, 3, 3, 3), "dense": weights(6 * 3 * 4, 3)},
    )
    steps = saved(
        tmp_path / "steps.onnx",
        [
            node("Transpose", ["x"], ["t"], perm=[0, 2, 1]),
            node("Conv", ["t", "kernel"], ["c"], kernel_shape=[3]),
            node("Relu", ["c"], ["r"]),
            node("Flatten", ["r"], ["f"]),
            node("Gemm", ["f", "dense"], ["y"]),
        ],
        (49, 10),
        {"kernel": weights(6, 10, 3), "dense": weights(6 * 47, 3)},
    )
    np.savez(tmp_path / "pixels.npz", x=seeded_items(InputSpec.image(12, 16, "rgb"), 200))
    np.savez(tmp_path / "steps.npz", x=random.normal(size=(200, 49, 10)).astype(np.float32))
    for path in (tmp_path / "pixels.npz", tmp_path / "steps.npz"):
        items = np.load(path)["x"]
        np.savez(path, x=items, y=np.arange(len(items)) % 3)
    for model, data in ((images, "pixels.npz"), (steps, "steps.npz")):
        variants = convert(model, "all", data=str(tmp_path / data), out=tmp_path / model.stem)
        assert {v.scheme: v.error for v in variants} == dict.fromkeys(ALL, "")
