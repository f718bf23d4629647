"""Scalers, linear classifiers, normalizers and choices of scikit-learn are layers; their labels are left out."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from edgepress.converters.to_onnx.forms import with_layers

FEATURES = 4
ML = "ai.onnx.ml"
WEIGHTS = np.random.default_rng(0).normal(size=(3, FEATURES)).astype(np.float32)


def model(*nodes: Any, kind: int = TensorProto.FLOAT, opset: int = 17, outputs: int = 3) -> onnx.ModelProto:
    """A graph whose last node makes "y"."""
    source = helper.make_tensor_value_info("x", kind, ["n", FEATURES])
    sink = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", outputs])
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid(ML, 3)]
    return helper.make_model(helper.make_graph(nodes, "g", [source], [sink]), opset_imports=opsets, ir_version=8)


def scaler(output: str = "y") -> Any:
    offset, scale = [1.0, -2.0, 0.0, 100.0], [1.0, 0.5, 2.0, 0.01]
    return helper.make_node("Scaler", ["x"], [output], domain=ML, offset=offset, scale=scale)


def classifier(end: str | None = None, *, source: str = "x", output: str = "y", rows: int = 3, **labels: Any) -> Any:
    return helper.make_node(
        "LinearClassifier",
        [source],
        ["label", output],
        domain=ML,
        coefficients=WEIGHTS[:rows].ravel().tolist(),
        intercepts=[0.5, -0.25, 1.0][:rows],
        **(labels or {"classlabels_ints": [0, 1, 2]}),
        **({"post_transform": end} if end else {}),
    )


def normalizer(norm: str | None, *, source: str = "x") -> Any:
    return helper.make_node("Normalizer", [source], ["y"], domain=ML, **({"norm": norm} if norm else {}))


def run(graph: onnx.ModelProto, items: Any) -> Any:
    return onnxruntime.InferenceSession(graph.SerializeToString()).run(["y"], {"x": items})[0]


@pytest.mark.parametrize(
    "nodes",
    [
        [scaler()],
        *([classifier(end)] for end in (None, "NONE", "SOFTMAX", "LOGISTIC")),
        [classifier("SOFTMAX", classlabels_strings=["a", "b", "c"])],
        [scaler("s"), classifier("LOGISTIC", source="s", output="p"), normalizer("L1", source="p")],
    ],
)
@pytest.mark.parametrize("kind", [TensorProto.FLOAT, TensorProto.INT64])
def test_they_compute_what_onnx_runtime_does(nodes: list[Any], kind: int) -> None:
    outputs = FEATURES if nodes[-1].op_type == "Scaler" else 3
    given = model(*nodes, kind=kind, outputs=outputs)
    items = np.random.default_rng(1).normal(size=(9, FEATURES), scale=5)
    items = items.astype(np.int64 if kind == TensorProto.INT64 else np.float32)
    written = with_layers(given)
    onnx.checker.check_model(written)
    assert {node.domain for node in written.graph.node} == {""}
    np.testing.assert_allclose(run(written, items), run(given, items), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("norm", ["L1", "L2"])
@pytest.mark.parametrize("opset", [17, 18])
def test_items_are_divided_by_their_norm(norm: str, opset: int) -> None:
    given = model(normalizer(norm), opset=opset, outputs=FEATURES)
    items = np.random.default_rng(2).normal(size=(9, FEATURES)).astype(np.float32)
    items[3] = 0
    items[4] = 1e-23 if norm == "L1" else 1e-18
    written = with_layers(given)
    onnx.checker.check_model(written)
    np.testing.assert_allclose(run(written, items), run(given, items), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(
    "node",
    [
        normalizer("MAX"),
        normalizer(None),
        classifier("PROBIT"),
        classifier("SOFTMAX_ZERO"),
        classifier(rows=1, classlabels_ints=[0, 1]),
        helper.make_node("Imputer", ["x"], ["y"], domain=ML, imputed_value_floats=[0.5]),
    ],
)
def test_what_is_no_layer_stays(node: Any) -> None:
    given = model(node)
    assert with_layers(given).graph.node[0].domain == ML


@pytest.mark.parametrize("numbers", [[2], [3, 0, 0]])
@pytest.mark.parametrize("kind", [TensorProto.FLOAT, TensorProto.INT64])
def test_features_are_chosen_and_compared(numbers: list[int], kind: int) -> None:
    """Polynomial features, selections of columns, and Bernoulli's naive Bayes were refused."""
    chosen = helper.make_node("ArrayFeatureExtractor", ["x", "numbers"], ["c"], domain=ML)
    given = model(
        chosen,
        helper.make_node("Binarizer", ["c"], ["y"], domain=ML, threshold=1.5),
        kind=kind,
        outputs=len(numbers),
    )
    given.graph.initializer.append(onnx.numpy_helper.from_array(np.array(numbers), "numbers"))
    items = np.arange(8).reshape(2, FEATURES).astype(np.int64 if kind == TensorProto.INT64 else np.float32) - 1
    written = with_layers(given)
    onnx.checker.check_model(written)
    assert all(node.domain == "" for node in written.graph.node)
    np.testing.assert_array_equal(run(written, items), items[:, numbers] > 1.5)


def test_labels_that_are_read_stay() -> None:
    given = model(classifier(), helper.make_node("Cast", ["label"], ["other"], to=TensorProto.FLOAT))
    given.graph.output.append(helper.make_tensor_value_info("other", TensorProto.FLOAT, ["n"]))
    assert [node.op_type for node in with_layers(given).graph.node] == ["LinearClassifier", "Cast"]
    del given.graph.output[1], given.graph.node[1]
    assert [node.op_type for node in with_layers(given).graph.node] == ["MatMul", "Add", "Identity"]


def test_a_model_of_this_domain_alone_gets_the_standard_one() -> None:
    given = model(scaler(), outputs=FEATURES)
    del given.opset_import[0]
    items = np.ones((2, FEATURES), np.float32)
    np.testing.assert_allclose(run(with_layers(given), items)[0], [0, 1.5, 2, -0.99], atol=1e-6)


def test_a_scaler_of_series_stays() -> None:
    given = model(scaler(), outputs=FEATURES)
    given.graph.input[0].type.tensor_type.shape.dim.add().dim_value = 3
    assert with_layers(given).graph.node[0].domain == ML


def test_networks_are_not_copied() -> None:
    given = model(helper.make_node("Relu", ["x"], ["y"]), outputs=FEATURES)
    assert with_layers(given) is given
