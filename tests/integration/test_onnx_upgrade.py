"""ONNX models of old opsets: the upgraded model answers like the file, or the file is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper, version_converter
from onnx_rewriting import OnnxNet

from edgepress.converters.contract.hints import Hints
from edgepress.converters.errors import ConversionError
from edgepress.converters.sources import onnx as source_module
from edgepress.converters.sources.onnx import OnnxSource
from edgepress.converters.to_onnx import opening, upgrade
from edgepress.toolkit.conversion.convert import convert

SHAPE = (4, 10, 11)
OUTPUTS = 5
F32 = np.float32


def model_of(opset: int, node: Any, constants: dict[str, Any] | None = None, shape: tuple[int, ...] = SHAPE) -> Any:
    """A model of the node from "x" to "made", behind a sum and before a dense layer."""
    values = {"one": np.ones(1, F32), **(constants or {})}
    nodes = [helper.make_node("Add", ["image", "one"], ["x"]), node]
    nodes += [helper.make_node("Flatten", ["made"], ["flat"]), helper.make_node("MatMul", ["flat", "w"], ["out"])]
    count = _size(opset, node, values, shape)
    values["w"] = np.random.default_rng(1).normal(size=(count, OUTPUTS)).astype(F32)
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", *shape])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, ["n", OUTPUTS])],
        [numpy_helper.from_array(value, name) for name, value in values.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def _size(opset: int, node: Any, values: dict[str, Any], shape: tuple[int, ...]) -> int:
    graph = helper.make_graph(
        [node],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, *shape])],
        [helper.make_tensor_value_info("made", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(values[name], name) for name in node.input if name in values],
    )
    bare = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    return ran(bare, np.zeros((1, *shape), F32)).size


def ran(model: Any, items: Any) -> Any:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: items})[0]


def resizing(opset: int, mode: str, scale: float) -> tuple[Any, dict[str, Any]]:
    scales = [1.0, 1.0, scale, scale]
    if opset < 9:
        return helper.make_node("Upsample", ["x"], ["made"], mode=mode, scales=scales), {}
    kind = "Upsample" if opset < 10 else "Resize"
    return helper.make_node(kind, ["x", "s"], ["made"], mode=mode), {"s": np.array(scales, F32)}


@pytest.mark.parametrize("mode", ["linear", "nearest"])
@pytest.mark.parametrize(
    ("opset", "scale"),
    [*((opset, scale) for opset in (7, 8, 9) for scale in (1.25, 1.7, 2.0, 3.0)), (10, 0.4), (10, 0.75), (10, 2.5)],
)
def test_pixels_are_placed_as_before_opset_11(mode: str, opset: int, scale: float, tmp_path: Path) -> None:
    original = model_of(opset, *resizing(opset, mode, scale))
    assert_equal(original, tmp_path)


@pytest.mark.parametrize("opset", [7, 9, 11, 12])
@pytest.mark.parametrize("kind", ["Hardmax", "Softmax", "LogSoftmax"])
@pytest.mark.parametrize("axis", [None, 1, 2, 3, -1])
def test_axes_are_taken_as_one_before_opset_13(kind: str, opset: int, axis: int | None, tmp_path: Path) -> None:
    if axis is not None and axis < 0 and opset < 11:
        pytest.skip("not in this opset")
    attributes = {} if axis is None else {"axis": axis}
    assert_equal(model_of(opset, helper.make_node(kind, ["x"], ["made"], **attributes)), tmp_path)


@pytest.mark.parametrize("axis", [1, 2, 3, -1])
def test_the_batch_is_no_part_of_the_axes_that_hardmax_takes_as_one(axis: int) -> None:
    """A Hardmax over items and axes in one made a file that does not open."""
    old = model_of(12, helper.make_node("Hardmax", ["x"], ["made"], axis=axis))
    upgraded = onnx.shape_inference.infer_shapes(upgrade.upgrade_model(old, Path("model.onnx")))
    (node,) = (node for node in upgraded.graph.node if node.op_type == "Hardmax")
    values = [*upgraded.graph.value_info, *upgraded.graph.input, *upgraded.graph.output]
    (taken,) = (value for value in values if value.name == node.input[0])
    assert taken.type.tensor_type.shape.dim[0].dim_param == "n"


def statistics(*shape: int) -> dict[str, Any]:
    rng = np.random.default_rng(2)
    found = {name: rng.normal(size=shape).astype(F32) for name in ("scale", "bias", "mean")}
    return found | {"variance": rng.uniform(0.5, 2, shape).astype(F32)}


NORMAL = ["x", "scale", "bias", "mean", "variance"]
POOL = {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}


@pytest.mark.parametrize(
    ("opset", "node", "constants"),
    [
        (7, helper.make_node("BatchNormalization", NORMAL, ["made"]), statistics(4)),
        (7, helper.make_node("BatchNormalization", NORMAL, ["made"], spatial=0), statistics(*SHAPE)),
        (8, helper.make_node("BatchNormalization", NORMAL, ["made"], spatial=0, epsilon=0.1), statistics(*SHAPE)),
        (9, helper.make_node("BatchNormalization", NORMAL, ["made"]), statistics(4)),
        (7, helper.make_node("Dropout", ["x"], ["made"], ratio=0.5), {}),
        (10, helper.make_node("Dropout", ["x"], ["made"], ratio=0.9), {}),
        (7, helper.make_node("PRelu", ["x", "p"], ["made"]), {"p": np.float32([[[-0.5]], [[0.2]], [[2]], [[1]]])}),
        (8, helper.make_node("PRelu", ["x", "p"], ["made"]), {"p": np.linspace(-1, 1, 11, dtype=F32)}),
        (7, helper.make_node("Pad", ["x"], ["made"], mode="edge", pads=[0, 0, 1, 2, 0, 0, 2, 1]), {}),
        (10, helper.make_node("Pad", ["x"], ["made"], value=1.5, pads=[0, 0, 1, 2, 0, 0, 2, 1]), {}),
        (7, helper.make_node("AveragePool", ["x"], ["made"], count_include_pad=1, **POOL), {}),
        (10, helper.make_node("AveragePool", ["x"], ["made"], count_include_pad=1, ceil_mode=1, **POOL), {}),
        (10, helper.make_node("AveragePool", ["x"], ["made"], ceil_mode=1, **POOL), {}),
        (11, helper.make_node("AveragePool", ["x"], ["made"], ceil_mode=1, **POOL), {}),
        (7, helper.make_node("Clip", ["x"], ["made"], min=-0.5, max=0.7), {}),
        (9, helper.make_node("Slice", ["x"], ["made"], axes=[2, 3], starts=[1, 0], ends=[-1, 4]), {}),
        (10, helper.make_node("ReduceMean", ["x"], ["made"], axes=[2, 3], keepdims=0), {}),
        (7, helper.make_node("LRN", ["x"], ["made"], size=3), {}),
    ],
)  # fmt: skip
def test_other_operations_that_changed(opset: int, node: Any, constants: dict[str, Any], tmp_path: Path) -> None:
    assert_equal(model_of(opset, node, constants), tmp_path)


def assert_equal(original: Any, folder: Path) -> None:
    """The upgraded model is in a newer opset, answers like the original, and its source answers like it, too."""
    path = folder / "old.onnx"
    onnx.save(original, path)
    _, newer = opening.open_model(path)
    assert upgrade.opset_of(newer) >= upgrade.QDQ_OPSET
    onnx.checker.check_model(newer, full_check=True)
    items = np.random.default_rng(0).normal(size=(3, *SHAPE)).astype(F32)
    truth = np.concatenate([ran(original, item[np.newaxis]) for item in items])
    np.testing.assert_allclose(np.concatenate([ran(newer, item[np.newaxis]) for item in items]), truth, atol=2e-4)
    np.testing.assert_array_equal(OnnxSource(path).answer(items), truth)


def test_a_wrong_upgrade_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "old.onnx"
    onnx.save(model_of(9, *resizing(9, "linear", 2.0)), path)
    monkeypatch.setattr(opening, "upgrade_model", lambda model, path: version_converter.convert_version(model, 17))
    with pytest.raises(ConversionError, match=r"of opset 9\. Upgraded to 17, it answers otherwise") as caught:
        OnnxSource(path)
    assert "opset 17" in caught.value.hint


def test_an_upgrade_that_can_not_be_compared_is_said(tmp_path: Path) -> None:
    original = model_of(7, helper.make_node("PRelu", ["x", "one"], ["made"]))
    original.opset_import[0].version = 6
    original.graph.node[0].CopyFrom(helper.make_node("Relu", ["image"], ["x"]))
    onnx.save(original, tmp_path / "older.onnx")
    (note,) = OnnxSource(tmp_path / "older.onnx").facts.notes
    assert "ONNX Runtime can't run it in opset 6" in note


def test_functions_are_compared_with_their_inlined_form(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    doubled = helper.make_function("mine", "Double", ["a"], ["b"], [helper.make_node("Add", ["a", "a"], ["b"])], [
        helper.make_opsetid("", 17)
    ])  # fmt: skip
    model = model_of(17, helper.make_node("Relu", ["x"], ["made"]))
    model.graph.node[1].CopyFrom(helper.make_node("Double", ["x"], ["made"], domain="mine"))
    model.opset_import.append(helper.make_opsetid("mine", 1))
    model.functions.append(doubled)
    onnx.save(model, tmp_path / "own.onnx")
    compared: list[int] = []
    items = source_module._random_items
    monkeypatch.setattr(source_module, "_random_items", lambda *of: compared.append(1) or items(*of))
    OnnxSource(tmp_path / "own.onnx")
    assert compared


@pytest.mark.slow
def test_files_of_an_old_bilinear_model_answer_like_it(tmp_path: Path) -> None:
    original = model_of(9, *resizing(9, "linear", 2.0), shape=(3, 8, 8))
    path = tmp_path / "old.onnx"
    onnx.save(original, path)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (80, 8, 8, 3), np.uint8)
    np.savez(tmp_path / "data.npz", x=images, y=rng.integers(0, OUTPUTS, 80))
    made = convert(path, to="onnx-float32,onnx-int8", data=str(tmp_path / "data.npz"), out=tmp_path / "out",
                   hints=Hints(input_range=(0.0, 1.0), task="logits", color="rgb"))  # fmt: skip
    from edgepress.runtime import load

    truth = np.concatenate([ran(original, x[np.newaxis].transpose(0, 3, 1, 2).astype(F32) / 255) for x in images])
    for variant in made:
        assert variant.path is not None, variant.error
        answers = load(variant.path).scores(images)
        exact = np.exp(truth - truth.max(1, keepdims=True))
        error = np.abs(answers - exact / exact.sum(1, keepdims=True)).max()
        assert error < (1e-5 if variant.scheme == "onnx-float32" else 0.2)


@pytest.mark.parametrize(
    ("opset", "steps", "expected"), [(13, True, 17), (16, True, 17), (13, False, 13), (18, True, 18)]
)
def test_models_with_steps_of_a_norm_are_upgraded_to_where_it_is_one(opset: int, steps: bool, expected: int) -> None:
    """Up to opset 16, each layer normalization stayed a dozen operations; other models with QDQ stay as they are."""
    net = OnnxNet((4, 6))
    value = net.now
    mean = net.add("ReduceMean", value, **({"keepdims": 1} if opset >= 18 else {"axes": [-1], "keepdims": 1}))
    net.add("Mul", net.add("Sub", value, mean), F32(2))
    net.add("Sqrt" if steps else "Abs")
    model = net.model(opset=opset)
    assert upgrade.opset_of(upgrade.upgrade_model(model, Path("model.onnx"))) == expected


@pytest.mark.parametrize("opset", [13, 16])
@pytest.mark.parametrize("axis", [None, 1, 2, -1])
def test_axes_of_models_with_qdq_are_not_taken_as_one(axis: int | None, opset: int) -> None:
    """From opset 13 on, Hardmax takes one axis."""
    net = OnnxNet((4, 6))
    value = net.now
    net.add("Sub", value, net.add("ReduceMean", value, axes=[-1], keepdims=1))
    net.add("Mul", net.add("Sqrt", net.add("Abs")), F32(2))
    net.add("Hardmax", **({} if axis is None else {"axis": axis}))
    model = net.model(opset=opset)
    items = net.items(5)
    upgraded = upgrade.upgrade_model(model, Path("model.onnx"))
    assert upgrade.opset_of(upgraded) == 17
    np.testing.assert_array_equal(ran(upgraded, items), ran(model, items))


def test_a_model_with_qdq_that_can_not_be_upgraded_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(model: Any, version: int) -> Any:
        raise RuntimeError("no adapter")

    monkeypatch.setattr(upgrade.version_converter, "convert_version", refuse)
    net = OnnxNet((4, 6))
    for kind in ("ReduceMean", "Sqrt"):
        net.add(kind)
    net.add("Mul", net.add("Sub", net.now, net.now), F32(2))
    model = net.model(opset=14)
    assert upgrade.upgrade_model(model, Path("model.onnx")) is model
