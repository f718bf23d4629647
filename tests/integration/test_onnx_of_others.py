"""ONNX files as others write them: unsorted, with dead nodes, labels, other floats, an ArgMax at the end."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx_rewriting import OnnxNet, answer
from rewriting import Net

from edgepress.converters.contract.guess import guess_contract
from edgepress.converters.contract.hints import Hints
from edgepress.converters.errors import ConversionError
from edgepress.converters.schemes import SCHEMES
from edgepress.converters.sources.onnx import OnnxSource
from edgepress.converters.to_onnx.graph import OnnxGraph
from edgepress.converters.to_onnx.quantize import with_scheme
from edgepress.runtime import InputError, ModelFileError

NODE = helper.make_node
TYPES = {"float16": TensorProto.FLOAT16, "double": TensorProto.DOUBLE, "float": TensorProto.FLOAT}


def of_classes(
    *,
    kind: str = "float",
    dead: bool = False,
    argmax: bool = False,
    labels: list[str] | None = None,
    zip_map: bool = False,
) -> onnx.ModelProto:
    """A net from "x" (n, 4) to "probabilities" (n, 3), written as scikit-learn's converters do."""
    numbers = TYPES[kind]
    dtype = helper.tensor_dtype_to_np_dtype(numbers)
    values = np.random.default_rng(0)
    constants = [
        numpy_helper.from_array(values.normal(size=(4, 6)).astype(dtype), "w1"),
        numpy_helper.from_array(values.normal(size=6).astype(dtype), "b1"),
        numpy_helper.from_array(values.normal(size=(6, 3)).astype(dtype), "w2"),
    ]
    nodes = [
        NODE("MatMul", ["x", "w1"], ["m1"]),
        NODE("Add", ["m1", "b1"], ["a1"]),
        NODE("Relu", ["a1"], ["r1"]),
        NODE("MatMul", ["r1", "w2"], ["m2"]),
        NODE("Softmax", ["m2"], ["probabilities"], axis=1),
    ]
    outputs = [helper.make_tensor_value_info("probabilities", numbers, ["n", 3])]
    if dead:
        nodes.append(NODE("Binarizer", ["m2"], ["nobody"], domain="ai.onnx.ml", threshold=0.5))
    if argmax or labels:
        nodes.append(NODE("ArgMax", ["probabilities"], ["number"], axis=1, keepdims=0))
    if argmax:
        outputs = [helper.make_tensor_value_info("number", TensorProto.INT64, ["n"])]
    if labels:
        nodes.append(NODE("ArrayFeatureExtractor", ["classes", "number"], ["label"], domain="ai.onnx.ml"))
        text = helper.make_tensor("classes", TensorProto.STRING, [len(labels)], [name.encode() for name in labels])
        constants.append(text)
        outputs.insert(0, helper.make_tensor_value_info("label", TensorProto.STRING, ["n"]))
    if zip_map:
        names = {"classlabels_strings": labels} if labels else {"classlabels_int64s": [0, 1, 2]}
        nodes.append(NODE("ZipMap", ["probabilities"], ["dictionaries"], domain="ai.onnx.ml", **names))
        keys = TensorProto.STRING if labels else TensorProto.INT64
        value = helper.make_tensor_type_proto(TensorProto.FLOAT, [])
        mapped = helper.make_sequence_type_proto(helper.make_map_type_proto(keys, value))
        outputs[-1] = helper.make_value_info("dictionaries", mapped)
    source = helper.make_tensor_value_info("x", numbers, ["n", 4])
    graph = helper.make_graph(nodes, "g", [source], outputs, constants)
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def items() -> Any:
    return np.random.default_rng(1).normal(size=(5, 4)).astype(np.float16).astype(np.float32)


def expected(model: onnx.ModelProto) -> Any:
    w1, b1, w2 = (numpy_helper.to_array(t).astype(np.float64) for t in model.graph.initializer[:3])
    scores = np.maximum(items() @ w1 + b1, 0) @ w2
    return np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)


def opened(model: onnx.ModelProto, path: Path, output: str = "") -> OnnxSource:
    path.write_bytes(model.SerializeToString())
    return OnnxSource(path, output=output)


LABELS = ["ant", "bee", "cat"]


@pytest.mark.parametrize(
    "options",
    [
        {"dead": True},
        {"labels": LABELS},
        {"labels": LABELS, "dead": True, "zip_map": True},
        {"zip_map": True},
        {"kind": "float16"},
        {"kind": "double", "labels": LABELS},
    ],
    ids=str,
)
def test_the_probabilities_are_kept_and_answer_as_before(options: Any, tmp_path: Path) -> None:
    model = of_classes(**options)
    source = opened(model, tmp_path / "net.onnx")
    np.testing.assert_allclose(source.answer(items()), expected(model), atol=1e-5)
    assert (source.facts.outputs, source.facts.dtype) == (3, "float32")
    guess = guess_contract(source.facts)
    assert guess.contract.labels == (tuple(LABELS) if "labels" in options else ("0", "1", "2"))
    made = source.onnx(guess.adapter)
    assert {node.domain for node in made.graph.node} == {""}
    assert len(made.graph.output) == 1
    types = {tensor.data_type for tensor in made.graph.initializer}
    assert types <= {TensorProto.FLOAT, TensorProto.INT64}
    if options.get("labels"):
        assert any("the only one of real numbers; label left out" in note for note in source.facts.notes)


@pytest.mark.parametrize("seed", range(4))
def test_nodes_in_any_order_are_sorted(seed: int, tmp_path: Path) -> None:
    model = of_classes()
    nodes = list(model.graph.node)
    random.Random(seed).shuffle(nodes)
    shuffled = of_classes()
    del shuffled.graph.node[:]
    shuffled.graph.node.extend(nodes)
    source = opened(shuffled, tmp_path / "net.onnx")
    np.testing.assert_allclose(source.answer(items()), expected(model), atol=1e-5)


def test_nodes_that_need_each_other_are_refused(tmp_path: Path) -> None:
    model = of_classes()
    model.graph.node[1].input[1] = "r1"
    with pytest.raises(ModelFileError, match="2 of its nodes need each other"):
        opened(model, tmp_path / "net.onnx")


def with_two_heads(model: onnx.ModelProto) -> onnx.ModelProto:
    model.graph.output.append(helper.make_tensor_value_info("r1", TensorProto.FLOAT, ["n", 6]))
    return model


def test_of_several_outputs_the_user_chooses_one(tmp_path: Path) -> None:
    model = with_two_heads(of_classes(dead=True))
    with pytest.raises(ModelFileError, match="outputs") as caught:
        opened(model, tmp_path / "net.onnx")
    assert "--output NAME" in caught.value.hint
    with pytest.raises(InputError, match="no output 'other'") as unknown:
        opened(model, tmp_path / "net.onnx", "other")
    assert "probabilities, r1" in unknown.value.hint
    source = opened(model, tmp_path / "net.onnx", "probabilities")
    np.testing.assert_allclose(source.answer(items()), expected(model), atol=1e-5)
    assert "output: probabilities, as given; r1 left out" in source.facts.notes
    assert opened(model, tmp_path / "net.onnx", "r1").facts.outputs == 6


@pytest.mark.parametrize("kind", ["float", "float16"])
def test_a_number_of_a_class_is_refused_with_the_name_of_the_scores(kind: str, tmp_path: Path) -> None:
    """The hint is followed."""
    model = of_classes(argmax=True, kind=kind)
    source = opened(model, tmp_path / "net.onnx")
    with pytest.raises(InputError, match="number of a class") as caught:
        guess_contract(source.facts)
    name = caught.value.hint.rpartition("--output ")[2].rstrip(".")
    source = opened(model, tmp_path / "net.onnx", name)
    np.testing.assert_allclose(source.answer(items()), expected(model), atol=1e-5)
    assert guess_contract(source.facts).contract.task == "softmax"
    with pytest.raises(InputError, match="number of a class"):
        guess_contract(opened(model, tmp_path / "net.onnx").facts, Hints(labels=LABELS))


@pytest.mark.parametrize("kind", [TensorProto.INT16, TensorProto.INT64, TensorProto.UINT8])
def test_scores_that_the_model_rounds_to_integers_are_taken_before(kind: int, tmp_path: Path) -> None:
    """A quantized file has no range for integers at its end."""
    model = of_classes()
    (end,) = model.graph.output
    model.graph.node.extend([NODE("Mul", [end.name, "many"], ["whole"]), NODE("Cast", ["whole"], ["rounded"], to=kind)])
    model.graph.initializer.append(numpy_helper.from_array(np.float32(200), "many"))
    del model.graph.output[:]
    model.graph.output.append(helper.make_tensor_value_info("rounded", kind, [None, 3]))
    source = opened(model, tmp_path / "net.onnx")
    np.testing.assert_allclose(source.answer(items()), 200 * expected(model), atol=1e-3)
    assert f"outputs: the real numbers that the model truncates to {TensorProto.DataType.Name(kind).lower()}" in (
        source.facts.notes
    )


def test_characters_of_a_recognizer_are_labels(tmp_path: Path) -> None:
    for characters, found in (
        ("a\nb\nc", ("a", "b", "c")),
        ("a\nb\n", ("blank", "a", "b")),
        ("é\r\n", ("blank", "é", " ")),
        ("a\n \n", ("blank", "a", " ")),
    ):
        model = of_classes()
        model.metadata_props.add(key="character", value=characters)
        assert guess_contract(opened(model, tmp_path / "net.onnx").facts).contract.labels == found
    model.metadata_props[-1].value = "a\nb\nc\nd"
    assert guess_contract(opened(model, tmp_path / "net.onnx").facts).contract.labels == ("0", "1", "2")


@pytest.mark.parametrize("opset", [13, 17, 20])
def test_operations_without_float16_stay_float32(opset: int) -> None:
    """Celu made a file that the checker refuses; the products around it are of float16, though nodes lack names."""
    net = OnnxNet((6,))
    net.add("MatMul", net.random.normal(size=(6, 5)).astype(np.float32))
    net.add("Celu", alpha=0.5)
    net.add("Relu")
    net.add("MatMul", net.random.normal(size=(5, 3)).astype(np.float32))
    model = net.model(opset=opset)
    for node in model.graph.node:
        node.name = ""
    half = with_scheme(model, SCHEMES["onnx-float16"], list, None)
    items = net.items()
    assert np.abs(answer(half, items) - answer(model, items)).max() < 0.02 * np.abs(answer(model, items)).max()
    graph = OnnxGraph(half)
    assert [graph.constant(node.input[1]).dtype for node in graph.nodes("MatMul")] == [np.float16] * 2


@pytest.mark.parametrize("listed", [True, False])
def test_weights_of_the_oldest_format_may_be_inputs(tmp_path: Path, *, listed: bool) -> None:
    """Version 3 demands that they are; ONNX Runtime opens files without, so they exist."""
    model = of_classes()
    model.ir_version = 3
    if listed:
        for tensor in model.graph.initializer:
            model.graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    np.testing.assert_allclose(opened(model, tmp_path / "net.onnx").answer(items()), expected(model), atol=1e-5)


BATCHES: dict[str, list[Any]] = {
    "a reshape to one item": [NODE("Reshape", ["m2", "whole"], ["p"]), NODE("Softmax", ["p"], ["probabilities"])],
    "probabilities of a column": [
        NODE("Softmax", ["m2"], ["p"], axis=0),
        NODE("Add", ["m2", "p"], ["probabilities"]),
    ],
    "one mean of all": [
        NODE("ReduceMean", ["m2"], ["p"], axes=[0, 1]),
        NODE("Div", ["m2", "p"], ["probabilities"]),
    ],
    "not a number for several": [
        NODE("Shape", ["x"], ["size"], start=0, end=1),
        NODE("Cast", ["size"], ["count"], to=TensorProto.FLOAT),
        NODE("Reciprocal", ["count"], ["one"]),
        NODE("Ceil", ["one"], ["up"]),
        NODE("Sub", ["one", "up"], ["below"]),
        NODE("Sqrt", ["below"], ["zero"]),
        NODE("Add", ["m2", "zero"], ["probabilities"]),
    ],
}


@pytest.mark.parametrize("name", ["", *BATCHES])
def test_models_that_mix_the_items_of_a_batch_take_one(name: str, tmp_path: Path) -> None:
    """A free batch is a promise that exporters write unchecked: files that kept it could not be verified, or erred."""
    model = of_classes()
    if name:
        del model.graph.node[-1]
        model.graph.node.extend(BATCHES[name])
        model.graph.initializer.append(numpy_helper.from_array(np.array([1, 3]), "whole"))
    source = opened(model, tmp_path / "net.onnx")
    made = source.onnx(guess_contract(source.facts, Hints(task="logits")).adapter)
    (batch, *_) = made.graph.input[0].type.tensor_type.shape.dim
    assert batch.dim_value == (1 if name else 0)
    assert bool(source.facts.notes) == bool(name)
    before, after = (onnxruntime.InferenceSession(m.SerializeToString()) for m in (model, made))
    for item in items():
        (whole,) = before.run(None, {"x": item[None]})
        np.testing.assert_allclose(source.answer(item[None]), whole, rtol=1e-4)
        np.testing.assert_allclose(after.run(None, {made.graph.input[0].name: item[None]})[0], whole, rtol=1e-4)


def test_control_flow_is_refused_by_its_name_in_the_model(tmp_path: Path) -> None:
    net = OnnxNet((4,))
    value = helper.make_tensor_value_info("negative", TensorProto.FLOAT, None)
    branch = helper.make_graph([NODE("Neg", ["input"], ["negative"])], "branch", [], [value])
    condition = net.add("Greater", net.add("ReduceMax", keepdims=0), np.array(0, np.float32))
    net.add("If", condition, then_branch=branch, else_branch=branch)
    source = opened(net.model(), tmp_path / "net.onnx")
    adapter = guess_contract(source.facts, Hints(task="logits")).adapter
    with pytest.raises(ConversionError, match=r"control flow, which is not converted to TFLite: If \(") as refused:
        source.tflite(adapter)
    assert "ONNX schemes" in refused.value.hint


def test_a_file_that_does_not_run_is_not_taken_for_the_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Places counted from the end, which TFLite refuses when it computes; the model had been blamed."""
    net = OnnxNet((1, 1, 4))
    net.add("Neg")
    source = opened(net.model(), tmp_path / "net.onnx")
    made = Net((1, 1), 4)
    made.add("GATHER_ND", [made.now, np.array([[-1]], np.int32)], made.shape)
    monkeypatch.setattr(source, "_import", lambda **options: made.model())
    adapter = guess_contract(source.facts, Hints(task="logits", color="none")).adapter
    with pytest.raises(ConversionError, match=r"^The TFLite file made of it does not run: ") as refused:
        source.tflite(adapter)
    assert "ONNX schemes" in refused.value.hint
