"""Models that others made: opened, described, mended, refused with a reason, and converted to what they answer."""

from __future__ import annotations

import importlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgepress.converters import Conversion, ConversionError, Guess, Options, convert, guess_contract
from edgepress.converters.schemes import SCHEMES
from edgepress.converters.verification import seeded_items
from edgepress.runtime import Contract, InputError, InputSpec, ModelFileError, load
from edgepress.toolkit.convert import Foreign, convert_model
from edgepress.toolkit.evaluate import evaluate

FLOATS = ["tflite-float32", "onnx-float32"]


def small_net(channels: int = 3, activation: str | None = "softmax", classes: int = 4) -> Any:
    """A net with a depthwise convolution and random weights, for 16x16 images of values 0-1."""
    import keras

    keras.utils.set_random_seed(3)
    return keras.Sequential(
        [
            keras.Input((16, 16, channels)),
            keras.layers.Conv2D(6, 3, strides=2, activation="relu", name="first"),
            keras.layers.DepthwiseConv2D(3, name="depthwise"),
            keras.layers.BatchNormalization(),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(classes, activation=activation, kernel_initializer="he_normal"),
        ]
    )


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The net, saved as `.keras`, `.h5` and SavedModel."""
    folder, model = tmp_path_factory.mktemp("net"), small_net()
    model.save(folder / "net.keras")
    model.save(folder / "net.h5")
    model.export(folder / "net_saved", verbose=False)
    return folder, model


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty colour images of four classes as an `.npz`."""
    path = tmp_path_factory.mktemp("data") / "colours.npz"
    rng = np.random.default_rng(0)
    y = np.repeat(np.arange(4), 20)
    x = np.clip(rng.normal(60 * y[:, None, None, None] + 30, 25, (80, 16, 16, 3)), 0, 255).astype(np.uint8)
    np.savez(path, x=x, y=y, labels=np.array(["ant", "bee", "cat", "dog"]))
    return path


@pytest.mark.parametrize("name", ["net.keras", "net.h5", "net_saved"])
def test_every_kind_of_keras_model_answers_raw_pixels_as_it_answered_scaled_ones(
    name: str, net: Any, data: Path, tmp_path: Path
) -> None:
    folder, model = net
    notes: list[str] = []
    variants = convert_model(
        folder / name,
        "tflite-float32,tflite-int8,onnx-float32",
        data=str(data),
        out=tmp_path,
        foreign=Foreign(input_range="0,1"),
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


def test_files_of_keras_2_are_mended(net: Any, tmp_path: Path) -> None:
    """`groups` in a DepthwiseConv2D, `lr` in the optimizer: what Keras 2 wrote and Keras 3 refuses."""
    import shutil

    import h5py

    folder, model = net
    old = tmp_path / "old.hdf5"
    shutil.copy(folder / "net.h5", old)
    with h5py.File(old, "r+") as file:
        config = json.loads(file.attrs["model_config"])
        for layer in config["config"]["layers"]:
            if layer["class_name"] == "DepthwiseConv2D":
                layer["config"]["groups"] = 1
            if layer["class_name"] == "InputLayer":
                layer["config"]["batch_input_shape"] = layer["config"].pop("batch_shape")
        file.attrs["model_config"] = json.dumps(config)
        file.attrs["training_config"] = json.dumps(
            {"loss": "mse", "optimizer_config": {"class_name": "Adam", "config": {"lr": 0.1}}}
        )
    before = old.read_bytes()
    with Conversion(old) as conversion:
        facts = conversion.facts
        guess = guess_contract(facts.shape, facts.outputs, ends_in=facts.ends_in)
        (variant,) = conversion.run(["tflite-float32"], guess, calibration=list, out=tmp_path)
    assert variant.error == ""
    assert old.read_bytes() == before, "the user's own file was changed"
    pixels = seeded_items(guess.contract.input, 8)
    np.testing.assert_allclose(
        load(variant.path).scores(pixels), model.predict(pixels.astype(np.float32), verbose=0), atol=1e-5
    )


def refused(path: Path, options: Options | None = None) -> str:
    with Conversion(path, options=options) as conversion, pytest.raises((ModelFileError, ConversionError)) as caught:
        _ = conversion.facts
    return str(caught.value)


@pytest.fixture
def foreign_layers(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The module of that name beside this one, which child processes can import too."""
    here = str(Path(__file__).parent)
    monkeypatch.syspath_prepend(here)
    monkeypatch.setenv("PYTHONPATH", here, prepend=os.pathsep)
    return importlib.import_module("foreign_layers")


def test_what_keras_files_are_refused_for(net: Any, tmp_path: Path, foreign_layers: Any) -> None:
    import keras

    _, model = net
    model.save_weights(tmp_path / "only.weights.h5")
    assert "weights alone" in refused(tmp_path / "only.weights.h5")

    left, right = keras.Input((4,)), keras.Input((4,))
    keras.Model([left, right], keras.layers.Softmax()(left + right)).save(tmp_path / "two.keras")
    assert "Several inputs" in refused(tmp_path / "two.keras")

    lambda_net = keras.Sequential([keras.Input((4,)), keras.layers.Lambda(lambda x: x * 2), keras.layers.Softmax()])
    lambda_net.save(tmp_path / "lambda.keras")
    assert "--trust" in refused(tmp_path / "lambda.keras")
    with Conversion(tmp_path / "lambda.keras", options=Options(trust=True)) as conversion:
        assert conversion.facts.outputs == 4

    keras.Sequential([keras.Input((4,)), foreign_layers.Doubling(), keras.layers.Softmax()]).save(
        tmp_path / "custom.keras"
    )
    assert "--custom MODULE:Doubling" in refused(tmp_path / "custom.keras")
    with Conversion(tmp_path / "custom.keras", options=Options(custom=("foreign_layers:Doubling",))) as conversion:
        assert conversion.facts.outputs == 4
    nowhere = Conversion(tmp_path / "custom.keras", options=Options(custom=("nowhere:Doubling",)))
    with nowhere as conversion, pytest.raises(InputError, match="can't be imported"):
        _ = conversion.facts


def test_float_files_of_both_formats_are_sources(net: Any, data: Path, tmp_path: Path) -> None:
    folder, model = net
    spec = InputSpec(shape=(16, 16, 3), dtype="float32")
    contract = Contract(task="softmax", labels=tuple("abcd"), input=spec, scheme="keras")
    convert(folder / "net.keras", FLOATS, contract=contract, calibration=list, out=tmp_path)
    pixels = np.load(data)["x"][::9]
    expected = model.predict((pixels[..., ::-1] - 128.0) / 64.0, verbose=0)
    for name, to in (("net-float32.tflite", "tflite"), ("net-float32.onnx", "onnx")):
        variants = convert_model(
            tmp_path / name,
            to,
            data=str(data),
            out=tmp_path / to,
            foreign=Foreign(mean="128", std="64", color="bgr"),
        )
        assert {v.scheme: v.error for v in variants} == {n: "" for n in SCHEMES if n.startswith(to)}
        for variant in variants:
            atol = {"float32": 1e-5, "float16": 5e-3}.get(SCHEMES[variant.scheme].precision, 0.06)
            np.testing.assert_allclose(load(variant.path).scores(pixels), expected, atol=atol, err_msg=variant.scheme)
        other = convert_model(
            tmp_path / name, "onnx-float32" if to == "tflite" else "tflite-float32", out=tmp_path / "x"
        )
        assert "can't be made from" in other[0].error
        quantized = tmp_path / to / f"net-int8.{to}"
        assert "quantized already" in refused(quantized)


def test_channels_first_and_logits(tmp_path: Path) -> None:
    """An ONNX model as PyTorch exports it: channels first, logits; softmax is the runtime's or in the file."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    weights = np.random.default_rng(0).normal(0, 0.01, (3 * 8 * 8, 5)).astype(np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("Flatten", ["image"], ["flat"]),
            helper.make_node("MatMul", ["flat", "weights"], ["logits"]),
        ],
        "torch",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 3, 8, 8])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", 5])],
        [numpy_helper.from_array(weights, "weights")],
    )
    path = tmp_path / "torch.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    pixels = seeded_items(InputSpec.image(8, 8, "rgb"), 6)
    logits = (pixels / 255.0).transpose(0, 3, 1, 2).reshape(6, -1) @ weights
    expected = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    for softmax, task in ((False, "logits"), (True, "softmax")):
        out = tmp_path / task
        foreign = Foreign(input_range="0,1", softmax=softmax)
        (variant,) = convert_model(path, "onnx-float32", out=out, foreign=foreign)
        opened = load(variant.path)
        assert opened.contract.task == task
        np.testing.assert_allclose(opened.scores(pixels), expected, atol=1e-5)


def test_calibrated_schemes_of_a_foreign_model_need_data(net: Any, tmp_path: Path) -> None:
    folder, _ = net
    with pytest.raises(InputError, match="--data"):
        convert_model(folder / "net.keras", "tflite-int8", out=tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_crash_while_a_file_is_made_fails_that_scheme_alone(net: Any, tmp_path: Path, foreign_layers: Any) -> None:
    folder, _ = net
    spec = InputSpec(shape=(16, 16, 3), dtype="float32")
    guess = Guess(
        contract=Contract(task="softmax", labels=tuple("abcd"), input=spec, scheme="keras"), model_shape=spec.shape
    )
    with Conversion(folder / "net.keras") as conversion:
        variants = conversion.run(
            ["tflite-float32", "tflite-int8", "tflite-float16", "onnx-float32"],
            guess,
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


def onnx_of(path: Path, nodes: list[Any], *, batch: int | str = "n", opset: int = 17) -> Path:
    """An ONNX file from "image" (batch, 8, 8, 3) to "out" (batch, 5); the weights are called "weights"."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    weights = np.random.default_rng(0).normal(0, 0.01, (3 * 8 * 8, 5)).astype(np.float32)
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [batch, 8, 8, 3])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, [batch, 5])],
        [numpy_helper.from_array(weights, "weights")],
    )
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid("com.microsoft", 1)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), path)
    return path


def softmax_nodes(last: str = "Identity", domain: str = "") -> list[Any]:
    from onnx import helper

    return [
        helper.make_node("Flatten", ["image"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weights"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["shares"], axis=1),
        helper.make_node(last, ["shares"], ["out"], domain=domain),
        helper.make_node("Relu", ["flat"], ["unused"]),
    ]


def test_the_last_operation_is_the_one_that_computes_the_output(net: Any, tmp_path: Path) -> None:
    """Not the last one in the file: softmax behind softmax would change the scores without a word."""
    with Conversion(onnx_of(tmp_path / "copied.onnx", softmax_nodes())) as conversion:
        assert conversion.facts.ends_in == "Softmax"
    net[1].export(tmp_path / "saved", verbose=False)  # a call within a call
    with Conversion(tmp_path / "saved") as conversion:
        assert conversion.facts.ends_in == "Softmax"
    (made,) = convert_model(net[0] / "net.keras", "tflite-float32", out=tmp_path)
    with Conversion(made.path) as conversion:
        assert conversion.facts.ends_in == "SOFTMAX"


def test_onnx_files_that_onnx_runtime_does_not_take_are_refused(tmp_path: Path) -> None:
    assert "8 items at once" in refused(onnx_of(tmp_path / "eight.onnx", softmax_nodes(), batch=8))
    unknown = onnx_of(tmp_path / "unknown.onnx", softmax_nodes("Magic", "com.microsoft"))
    assert "ONNX Runtime can't open" in refused(unknown)


@pytest.mark.parametrize("format", ["tflite", "onnx"])
def test_a_file_that_was_made_is_a_source_again(format: str, net: Any, data: Path, tmp_path: Path) -> None:
    folder, model = net
    source = folder / "net.keras"
    for generation in range(3):  # the second one puts scaling in front of scaling: 0-255 to 0-255, then to 0-1
        foreign = Foreign(input_range="0,1") if not generation else Foreign()
        (variant,) = convert_model(source, f"{format}-float32", out=tmp_path / str(generation), foreign=foreign)
        assert variant.error == ""
        source = variant.path
    again = convert_model(source, format, data=str(data), out=tmp_path / "all")
    assert [v.error for v in again] == [""] * len(again)
    pixels = np.load(data)["x"][::9]
    expected = model.predict(pixels / 255.0, verbose=0)
    for variant in again:
        np.testing.assert_allclose(load(variant.path).scores(pixels), expected, atol=0.06, err_msg=variant.scheme)


@pytest.mark.parametrize("format", ["tflite", "onnx"])
def test_a_file_of_edgepress_is_a_source_with_its_own_contract(format: str, run: Any, tmp_path: Path) -> None:
    notes: list[str] = []
    source = run.variants[f"{format}-float32"]
    variants = convert_model(source, "all", out=tmp_path, on_note=notes.append)  # calibrated on what it names itself
    assert [v.scheme for v in variants] == [n for n in SCHEMES if n.startswith(format)]
    assert [v.error for v in variants] == [""] * len(variants)
    assert any("are left out" in note for note in notes)
    before, after = load(source).contract, load(variants[0].path).contract
    assert before is not None
    assert after is not None
    assert (after.labels, after.input, after.data, after.task) == (
        before.labels,
        before.input,
        before.data,
        before.task,
    )
    assert (after.arch, after.test_accuracy) == (before.arch, before.test_accuracy)


def test_a_saved_model_of_one_item_gives_every_float_file(net: Any, tmp_path: Path) -> None:
    import tensorflow as tf

    _, model = net
    module = tf.Module()
    module.model = model
    module.serve = tf.function(
        lambda x: model(x, training=False), input_signature=[tf.TensorSpec((1, 16, 16, 3), tf.float32)]
    )
    tf.saved_model.save(module, str(tmp_path / "one"), signatures={"serving_default": module.serve})
    variants = convert_model(tmp_path / "one", ",".join(FLOATS), out=tmp_path / "out")
    assert [v.error for v in variants] == ["", ""]
    items = np.random.default_rng(0).integers(0, 256, (3, 16, 16, 3), np.uint8)
    for variant in variants:
        expected = model.predict(items.astype(np.float32), verbose=0)
        np.testing.assert_allclose(load(variant.path).scores(items), expected, atol=1e-4)


def test_several_inputs_of_a_tflite_file_are_refused_with_its_name(tmp_path: Path) -> None:
    import tensorflow as tf

    both = tf.function(lambda a, b: a + b, input_signature=[tf.TensorSpec((1, 3), tf.float32)] * 2)
    converter = tf.lite.TFLiteConverter.from_concrete_functions([both.get_concrete_function()])
    (tmp_path / "both.tflite").write_bytes(converter.convert())
    error = refused(tmp_path / "both.tflite")
    assert "both.tflite can't be converted" in error
    assert "one input" in error


def test_a_subclassed_model_with_its_class(tmp_path: Path, foreign_layers: Any) -> None:
    model = foreign_layers.Subclassed()
    model(np.zeros((1, 4), np.float32))
    path = tmp_path / "subclassed.keras"
    model.save(path)
    assert "--custom MODULE:Subclassed" in refused(path)
    with Conversion(path, options=Options(custom=("foreign_layers:Subclassed",))) as conversion:
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
    (variant,) = convert_model(onnx_of(tmp_path / "nan.onnx", nodes), "onnx-float32", out=tmp_path / "out")
    assert "The model itself answers NaN" in variant.error


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
        (variant,) = convert_model(
            tmp_path / "one.onnx",
            "onnx-float32",
            data=str(tmp_path / "two.npz"),
            out=tmp_path / str(threshold),
            foreign=Foreign(threshold=threshold),
        )
        assert evaluate(variant.path, data=str(tmp_path / "two.npz"))["accuracy"] == accuracy
