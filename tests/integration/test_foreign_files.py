"""Float `.tflite` and `.onnx` files as sources, those of edgepress and of others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from foreign_models import FLOATS, converted, onnx_of, refused

from edgepress.converters.conversion.conversion import Conversion
from edgepress.converters.proof.compare import seeded_items
from edgepress.converters.schemes import ALL, SCHEMES
from edgepress.runtime import Contract, InputSpec, load
from edgepress.toolkit.conversion.convert import Hints, convert


@pytest.mark.slow
def test_float_files_of_both_formats_are_sources(net: Any, data: Path, tmp_path: Path) -> None:
    folder, model = net
    spec = InputSpec(shape=(16, 16, 3), dtype="float32")
    contract = Contract(task="softmax", labels=tuple("abcd"), input=spec, scheme="keras")
    converted(folder / "net.keras", FLOATS, contract=contract, calibration=list, out=tmp_path)
    pixels = np.load(data)["x"][::9]
    expected = model.predict((pixels[..., ::-1] - 128.0) / 64.0, verbose=0)
    for name, to in (("net-float32.tflite", "all"), ("net-float32.onnx", "onnx")):
        variants = convert(
            tmp_path / name,
            to,
            data=str(data),
            out=tmp_path / to,
            hints=Hints(mean="128", std="64", color="bgr"),
        )
        assert {v.scheme: v.error for v in variants} == {n: "" for n in ALL if to == "all" or n.startswith(to)}
        for variant in variants:
            atol = {"float32": 1e-5, "float16": 5e-3}.get(SCHEMES[variant.scheme].precision, 0.06)
            np.testing.assert_allclose(load(variant.path).scores(pixels), expected, atol=atol, err_msg=variant.scheme)
        assert "quantized already" in refused(tmp_path / to / f"net-int8{Path(name).suffix}")


@pytest.mark.slow
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
        hints = Hints(input_range="0,1", softmax=softmax)
        (variant,) = convert(path, "onnx-float32", out=out, hints=hints)
        opened = load(variant.path)
        assert opened.contract.task == task
        np.testing.assert_allclose(opened.scores(pixels), expected, atol=1e-5)


def softmax_nodes(last: str = "Identity", domain: str = "") -> list[Any]:
    from onnx import helper

    return [
        helper.make_node("Flatten", ["image"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weights"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["shares"], axis=1),
        helper.make_node(last, ["shares"], ["out"], domain=domain),
        helper.make_node("Relu", ["flat"], ["unused"]),
    ]


@pytest.mark.slow
def test_the_last_operation_is_the_one_that_computes_the_output(net: Any, tmp_path: Path) -> None:
    """Not the last one in the file: softmax behind softmax would change the scores without a word."""
    with Conversion(onnx_of(tmp_path / "copied.onnx", softmax_nodes())) as conversion:
        assert conversion.facts.ends_in == "Softmax"
    net[1].export(tmp_path / "saved", verbose=False)  # a call within a call
    with Conversion(tmp_path / "saved") as conversion:
        assert conversion.facts.ends_in == "Softmax"
    (made,) = convert(net[0] / "net.keras", "tflite-float32", out=tmp_path)
    with Conversion(made.path) as conversion:
        assert conversion.facts.ends_in == "SOFTMAX"


def test_onnx_files_that_onnx_runtime_does_not_take_are_refused(tmp_path: Path) -> None:
    assert "8 items at once" in refused(onnx_of(tmp_path / "eight.onnx", softmax_nodes(), batch=8))
    unknown = onnx_of(tmp_path / "unknown.onnx", softmax_nodes("Magic", "com.microsoft"))
    assert "ONNX Runtime can't open" in refused(unknown)


@pytest.mark.slow
@pytest.mark.parametrize("format", ["tflite", pytest.param("onnx", marks=pytest.mark.slow)])
def test_a_file_that_was_made_is_a_source_again(format: str, net: Any, data: Path, tmp_path: Path) -> None:
    folder, model = net
    source = folder / "net.keras"
    for generation in range(3):  # the second one puts scaling in front of scaling: 0-255 to 0-255, then to 0-1
        hints = Hints(input_range="0,1") if not generation else Hints()
        (variant,) = convert(source, f"{format}-float32", out=tmp_path / str(generation), hints=hints)
        assert variant.error == ""
        source = variant.path
    again = convert(source, format, data=str(data), out=tmp_path / "all")
    assert [v.error for v in again] == [""] * len(again)
    pixels = np.load(data)["x"][::9]
    expected = model.predict(pixels / 255.0, verbose=0)
    for variant in again:
        np.testing.assert_allclose(load(variant.path).scores(pixels), expected, atol=0.06, err_msg=variant.scheme)


@pytest.mark.slow
@pytest.mark.parametrize("format", ["tflite", "onnx"])
def test_a_file_of_edgepress_is_a_source_with_its_own_contract(format: str, run: Any, tmp_path: Path) -> None:
    source = run.variants[f"{format}-float32"]
    variants = convert(source, format, out=tmp_path)  # calibrated on what it names itself
    assert [v.scheme for v in variants] == [n for n in ALL if n.startswith(format)]
    assert [v.error for v in variants] == [""] * len(variants)
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


def test_several_inputs_of_other_types_are_refused_with_their_names(tmp_path: Path) -> None:
    import tensorflow as tf

    ends = [tf.TensorSpec((1, 3), dtype, name=name) for name, dtype in (("a", tf.float32), ("b", tf.int32))]
    both = tf.function(lambda a, b: a + tf.cast(b // 2, tf.float32), input_signature=ends)
    converter = tf.lite.TFLiteConverter.from_concrete_functions([both.get_concrete_function()])
    (tmp_path / "both.tflite").write_bytes(converter.convert())
    error = refused(tmp_path / "both.tflite")
    assert "both.tflite has several inputs, of which these are not float32: b (int32)" in error
