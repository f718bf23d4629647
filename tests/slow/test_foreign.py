"""Models that others made: opened, described, fixed, refused with a reason, and converted to what they answer."""

from __future__ import annotations

import importlib
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from foreign_models import FLOATS, onnx_of, refused

from edgepress.converters.contract.hints import Hints
from edgepress.converters.conversion.conversion import Conversion
from edgepress.runtime import Contract, InputError, InputSpec, load
from edgepress.toolkit.conversion.convert import convert
from edgepress.toolkit.measurement.evaluation import evaluate


@pytest.mark.parametrize("name", ["net.keras", "net.h5", "net_saved"])
def test_every_kind_of_keras_model_answers_raw_pixels_as_it_answered_scaled_ones(
    name: str, net: Any, data: Path, tmp_path: Path
) -> None:
    folder, model = net
    notes: list[str] = []
    variants = convert(
        folder / name,
        "tflite-float32,tflite-int8,onnx-float32",
        data=str(data),
        out=tmp_path,
        hints=Hints(input_range="0,1"),
        on_note=notes.append,
    )
    assert [v.error for v in variants] == ["", "", ""]
    pixels = np.load(data)["x"][::7]
    expected = model.predict(pixels / 255.0, verbose=0)
    for variant in variants:
        opened = load(variant.path)
        assert opened.contract.labels == ("ant", "bee", "cat", "dog")
        assert opened.contract.input == InputSpec.image(16, 16, "rgb")
        assert opened.contract.verification == variant.verification
        atol = 0.05 if "int8" in variant.scheme else 1e-5
        np.testing.assert_allclose(opened.scores(pixels), expected, atol=atol)
    assert variants[0].other_format_error == variants[2].other_format_error < 1e-5
    assert any("0 to 1" in note for note in notes)
    assert any("labels: 4 from" in note for note in notes)


@pytest.fixture
def foreign_layers(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The module of that name beside this one, which child processes can import too."""
    here = str(Path(__file__).parents[1] / "support")
    monkeypatch.syspath_prepend(here)
    monkeypatch.setenv("PYTHONPATH", here, prepend=os.pathsep)
    return importlib.import_module("foreign_layers")


def test_what_keras_files_are_refused_for(net: Any, tmp_path: Path, foreign_layers: Any) -> None:
    import keras

    _, model = net
    model.save_weights(tmp_path / "only.weights.h5")
    assert "weights alone" in refused(tmp_path / "only.weights.h5")

    left, right = keras.Input((4,)), keras.Input((4,), dtype="int32", name="right")
    added = left + keras.ops.cast(right, "float32")
    keras.Model([left, right], keras.layers.Softmax()(added)).save(tmp_path / "two.keras")
    assert "not float32: right (int32)" in refused(tmp_path / "two.keras")

    lambda_net = keras.Sequential([keras.Input((4,)), keras.layers.Lambda(lambda x: x * 2), keras.layers.Softmax()])
    lambda_net.save(tmp_path / "lambda.keras")
    assert "--trust" in refused(tmp_path / "lambda.keras")
    with Conversion(tmp_path / "lambda.keras", hints=Hints(trust=True)) as conversion:
        assert conversion.facts.outputs == 4

    keras.Sequential([keras.Input((4,)), foreign_layers.Doubling(), keras.layers.Softmax()]).save(
        tmp_path / "custom.keras"
    )
    assert "--custom MODULE:Doubling" in refused(tmp_path / "custom.keras")
    with Conversion(tmp_path / "custom.keras", hints=Hints(custom=("foreign_layers:Doubling",))) as conversion:
        assert conversion.facts.outputs == 4
    nowhere = Conversion(tmp_path / "custom.keras", hints=Hints(custom=("nowhere:Doubling",)))
    with nowhere as conversion, pytest.raises(InputError, match="can't be imported"):
        _ = conversion.facts


def test_calibrated_schemes_of_a_foreign_model_need_data(net: Any, tmp_path: Path) -> None:
    folder, _ = net
    done: list[str] = []
    variants = convert(
        folder / "net.keras",
        "tflite-int8,tflite-dynamic,tflite-int16x8",
        out=tmp_path,
        on_done=lambda variant: done.append(variant.scheme),
    )
    assert [(v.scheme, v.status) for v in variants] == [
        ("tflite-int8", "failed"),
        ("tflite-dynamic", "ok"),
        ("tflite-int16x8", "failed"),
    ]
    assert all("--data" in v.hint and "net.keras" in v.error for v in variants if v.path is None)
    assert [path.name for path in tmp_path.iterdir()] == ["net-dynamic.tflite"]
    assert sorted(done) == sorted(v.scheme for v in variants)
    assert convert(folder / "net.keras", "tflite-int8", out=tmp_path)[0].status == "failed"


def test_a_crash_while_a_file_is_made_fails_that_scheme_alone(net: Any, tmp_path: Path, foreign_layers: Any) -> None:
    folder, _ = net
    spec = InputSpec(shape=(16, 16, 3), dtype="float32")
    contract = Contract(task="softmax", labels=tuple("abcd"), input=spec, scheme="keras")
    with Conversion(folder / "net.keras") as conversion:
        variants = conversion.run(
            ["tflite-float32", "tflite-int8", "tflite-float16", "onnx-float32"],
            contract,
            calibration=foreign_layers.abort,
            out=tmp_path,
        )
    assert [v.status for v in variants] == ["ok", "failed", "ok", "ok"]
    assert "SIGABRT" in variants[1].error
    assert {p.name for p in tmp_path.iterdir()} == {
        "net-float32.tflite",
        "net-float16.tflite",
        "net-float32.onnx",
    }


def test_a_saved_model_of_one_item_gives_every_float_file(net: Any, tmp_path: Path) -> None:
    import tensorflow as tf

    _, model = net
    module = tf.Module()
    module.model = model
    module.serve = tf.function(
        lambda x: model(x, training=False), input_signature=[tf.TensorSpec((1, 16, 16, 3), tf.float32)]
    )
    tf.saved_model.save(module, str(tmp_path / "one"), signatures={"serving_default": module.serve})
    variants = convert(tmp_path / "one", ",".join(FLOATS), out=tmp_path / "out")
    assert [v.error for v in variants] == ["", ""]
    items = np.random.default_rng(0).integers(0, 256, (3, 16, 16, 3), np.uint8)
    for variant in variants:
        expected = model.predict(items.astype(np.float32), verbose=0)
        np.testing.assert_allclose(load(variant.path).scores(items), expected, atol=1e-4)


def test_a_subclassed_model_with_its_class(tmp_path: Path, foreign_layers: Any) -> None:
    model = foreign_layers.Subclassed()
    model(np.zeros((1, 4), np.float32))
    path = tmp_path / "subclassed.keras"
    model.save(path)
    assert "--custom MODULE:Subclassed" in refused(path)
    with Conversion(path, hints=Hints(custom=("foreign_layers:Subclassed",))) as conversion:
        assert (conversion.facts.shape, conversion.facts.outputs) == ((4,), 3)


def test_a_parent_that_answers_nan_is_named_as_such(tmp_path: Path) -> None:
    from onnx import helper

    nodes = [
        helper.make_node("Flatten", ["image"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weights"], ["numbers"]),
        helper.make_node("Sub", ["numbers", "numbers"], ["zero"]),
        helper.make_node("Div", ["zero", "zero"], ["nan"]),
        helper.make_node("Softmax", ["nan"], ["out"], axis=1),
    ]
    (variant,) = convert(onnx_of(tmp_path / "nan.onnx", nodes), "onnx-float32", out=tmp_path / "out")
    assert "source model" in variant.error
    assert "NaN" in variant.error


def test_evaluate_judges_one_sigmoid_by_its_threshold(tmp_path: Path) -> None:
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    graph = helper.make_graph(
        [
            helper.make_node("Flatten", ["image"], ["flat"]),
            helper.make_node("MatMul", ["flat", "weights"], ["number"]),
            helper.make_node("Sigmoid", ["number"], ["out"]),
        ],
        "g",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 8, 8, 3])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, ["n", 1])],
        [numpy_helper.from_array(np.full((192, 1), -0.005 / 192, np.float32), "weights")],
    )
    opsets = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), tmp_path / "one.onnx")
    y = np.repeat([0, 1], 20)  # sigmoid(-1) = 0.27 and sigmoid(-1.25) = 0.22
    x = np.broadcast_to(np.where(y, 200, 250).astype(np.uint8)[:, None, None, None], (40, 8, 8, 3)).copy()
    x[:, 0, 0, 0] = np.arange(40)  # no item twice
    np.savez(tmp_path / "two.npz", x=x, y=y, labels=np.array(["no", "yes"]))
    for threshold, accuracy in ((0.25, 1.0), (0.5, 0.5)):
        (variant,) = convert(
            tmp_path / "one.onnx",
            "onnx-float32",
            data=str(tmp_path / "two.npz"),
            out=tmp_path / str(threshold),
            hints=Hints(threshold=threshold),
        )
        assert evaluate(variant.path, data=str(tmp_path / "two.npz"))["accuracy"] == accuracy
