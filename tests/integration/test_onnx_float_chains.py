"""What stays float of ONNX graphs, because it stretches the range of values and narrows it again."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
from onnx_rewriting import OnnxNet
from rewriting import Net

from edgepress.converters.schemes import SCHEMES
from edgepress.converters.to_onnx.float_layers import float_chains
from edgepress.converters.to_onnx.graph import OnnxGraph
from edgepress.converters.to_onnx.quantize import with_scheme as onnx_with_scheme
from edgepress.converters.to_tflite.float_layers import float_chain_names
from edgepress.converters.to_tflite.graph import Graph
from edgepress.runtime.sessions import onnx_session

ONE = np.array(1, np.float32)


@pytest.mark.parametrize(("value", "found"), [(-1e9, 2), (-88.0, 2), (-87.0, 0), (0.0, 0)])
def test_pads_below_all_values_are_masks(value: float, found: int) -> None:
    """A maximum ignores them, in both formats."""
    net = Net((5, 4), 3)
    net.conv(4)
    pads = np.array([(0, 0), (1, 1), (1, 1), (0, 0)], np.int32)
    net.add("PADV2", [net.now, pads, np.array(value, np.float32)], (1, 7, 6, 4))
    net.add("MAX_POOL_2D", [net.now], (1, 3, 3, 4))
    assert len(float_chain_names(Graph(net.model()))) == found
    other = OnnxNet((3, 8, 8))
    other.conv(4, 3, (3, 3))
    other.add("Pad", np.array([0, 0, 1, 1, 0, 0, 1, 1]), np.array(value, np.float32))
    other.add("MaxPool", kernel_shape=[2, 2])
    assert len(float_chains(OnnxGraph(other.model()))) == found


@pytest.mark.parametrize(
    ("kind", "constant", "found"),
    [
        *(("Add", each, 2) for each in (-88.0, -1e9, -np.inf)),
        *(("Add", each, 0) for each in (-87.0, 88.0, 1e9)),
        *(("Sub", each, 2) for each in (88.0, 1e4, np.inf)),
        *(("Sub", each, 0) for each in (87.0, -88.0, -1e4)),
        *(("Where", each, 2) for each in (-88.0, -np.inf)),
        *(("Where", each, 0) for each in (-87.0, 88.0)),
        *(("Mul", each, 2) for each in (-1e4, 1e9)),
        *(("Mul", each, 0) for each in (-9999.0, 255.0, 1.0)),
    ],
)
@pytest.mark.parametrize("other", [0.0, 1.5])
def test_masks_of_onnx_are_found(kind: str, constant: float, found: int, other: float) -> None:
    """What is added must leave other values as they are, unless it is very large."""
    net = OnnxNet((3, 8, 8))
    net.conv(4, 3, (3, 3))
    mask = np.array([constant, other], np.float32)[np.arange(6) % 2]
    net.add(kind, *([np.arange(6) > 2, net.now, mask] if kind == "Where" else [mask]))
    if kind in ("Add", "Sub") and other and abs(constant) < 1e4:
        found = 0
    net.add("Softmax", axis=3)
    assert len(float_chains(OnnxGraph(net.model()))) == found


def test_a_constant_bias_is_no_weight() -> None:
    """A product of two computed tensors ends a chain; one with weights that are not negative keeps it."""
    for weights, found in ((np.ones((4, 4), np.float32), 3), ("computed", 0)):
        net = OnnxNet((4,))
        wide = net.add("Exp")
        net.add("Gemm", wide, wide if isinstance(weights, str) else weights, np.ones(1, np.float32), transB=1)
        net.add("Sqrt")
        assert len(float_chains(OnnxGraph(net.model()))) == found


def test_nodes_without_a_name_are_quantized() -> None:
    net = OnnxNet((3, 8, 8))
    net.conv(4, 3, (3, 3))
    for kind, inputs in (("Exp", []), ("Add", [ONE]), ("Log", [])):
        net.add(kind, *inputs)
    net.conv(4, 4, (3, 3))
    model = net.model()
    for node in model.graph.node:
        node.name = ""
    items = np.random.default_rng(0).normal(size=(8, 3, 8, 8)).astype(np.float32)
    rewrites = {"onnx-float-chains"}
    quantized = OnnxGraph(onnx_with_scheme(model, SCHEMES["onnx-int8"], lambda: [items], None, rewrites=rewrites))
    assert all(quantized.maker(node.input[0], "DequantizeLinear") for node in quantized.nodes("Conv"))
    for kind in ("Add", "Log"):
        (node,) = quantized.nodes(kind)
        assert not quantized.maker(node.input[0], "DequantizeLinear")


@pytest.mark.parametrize(
    ("first", "last", "found"), [(3.0, 0.3, 3), (1.5, 0.5, 3), (3.0, 1.0, 3), (1.0, 0.5, 0), (0.5, 2.0, 0)]
)
def test_powers_stretch_or_narrow_by_their_exponent(first: float, last: float, found: int) -> None:
    net = OnnxNet((3, 8, 8))
    net.conv(3, 3, (1, 1))
    for exponent in (first, last):
        net.add("Pow", np.array(exponent, np.float32))
        net.add("ReduceMean", axes=[1], keepdims=1)
    assert len(float_chains(OnnxGraph(net.model()))) == found


@pytest.mark.parametrize(("factor", "found"), [("exp", 4), ("other", 0)])
def test_a_product_with_what_was_stretched_is_stretched(factor: str, found: int) -> None:
    """x exp(x), but not y exp(x)."""
    net = OnnxNet((3, 8, 8))
    net.conv(3, 3, (1, 1))
    values = net.now
    other = net.conv(3, 3, (1, 1)) if factor == "other" else values
    net.add("Mul", net.add("Exp", values), other)
    net.add("ReduceSum", np.array([1]), keepdims=1)
    net.add("Sqrt")
    assert len(float_chains(OnnxGraph(net.model()))) == found


@pytest.mark.parametrize(("before", "found"), [("Mul", 3), ("Abs", 0)])
def test_an_exponential_narrows_squares(before: str, found: int) -> None:
    """As a radial basis function does: of a square up to 100 in 8 bits, the bell keeps three values."""
    net = OnnxNet((3, 8, 8))
    source = net.conv(3, 3, (1, 1))
    net.add("Exp", net.add("Neg", net.add(before, source, *([source] if before == "Mul" else []))))
    net.conv(3, 3, (1, 1))
    assert len(float_chains(OnnxGraph(net.model()))) == found
    other = Net((5, 4), 3)
    other.conv(4)
    kind = "ABS" if before == "Abs" else "SQUARE"
    other.add("EXP", [other.add("NEG", [other.add(kind, [other.now], other.shape)], other.shape)], other.shape)
    assert len(float_chain_names(Graph(other.model()))) == found


@pytest.mark.parametrize(("before", "found"), [("Exp", 2), ("Abs", 0), ("Softmax", 0)])
@pytest.mark.parametrize("first", [False, True])
def test_a_choice_leaves_out_what_was_made_wide(before: str, found: int, *, first: bool) -> None:
    """Not what comes in, as in a leaky ReLU, and no probabilities."""
    net = OnnxNet((3, 8, 8))
    source = net.now if first else net.conv(3, 3, (1, 1))
    condition = net.add("Greater", source, np.array(0, np.float32))
    wide = net.add(before, source)
    net.add("Where", condition, source, wide)
    assert len(float_chains(OnnxGraph(net.model()))) == found


@pytest.mark.parametrize(("least", "found"), [(1e-12, 6), (1e-3, 5)])
@pytest.mark.parametrize("kind", ["Reciprocal", "Div"])
def test_a_product_with_an_inverse_root_is_a_quotient(kind: str, least: float, found: int) -> None:
    net = OnnxNet((3, 8, 8))
    source = net.conv(3, 3, (1, 1))
    net.add("ReduceSum", net.add("Mul", source, source), np.array([1]), keepdims=1)
    net.add("Add", np.array(least, np.float32))
    root = net.add("Sqrt")
    net.add(kind, *([ONE, root] if kind == "Div" else []))
    net.add("Mul", source, net.now)
    assert len(float_chains(OnnxGraph(net.model()))) == found


@pytest.mark.parametrize("kind", ["ReduceL2", "ReduceSumSquare"])
def test_magnitudes_by_norms_are_squares(kind: str) -> None:
    net = OnnxNet((3, 8, 8))
    net.conv(3, 3, (1, 1))
    net.add(kind, axes=[1], keepdims=1)
    net.add("Clip", np.array(1e-6, np.float32))
    net.add("Log")
    assert [node.op_type for node in float_chains(OnnxGraph(net.model()))] == ["Conv", kind, "Clip", "Log"]


def test_other_ends_leave_a_wide_value() -> None:
    net = OnnxNet((3, 8, 8))
    net.add("Tanh", net.add("Exp", net.conv(3, 3, (1, 1))))
    assert float_chains(OnnxGraph(net.model())) == []


def test_a_norm_that_is_expanded_is_a_divisor() -> None:
    """As PyTorch writes `normalize`."""
    net = OnnxNet((3, 8, 8))
    source = net.conv(3, 3, (1, 1))
    norm = net.add("Clip", net.add("ReduceL2", source, axes=[1], keepdims=1), np.array(1e-12, np.float32))
    net.add("Div", source, net.add("Expand", norm, np.array([1, 3, 8, 8])))
    kinds = [node.op_type for node in float_chains(OnnxGraph(net.model()))]
    assert kinds == ["ReduceL2", "Clip", "Expand", "Div"]


@pytest.mark.parametrize("end", ["Log", "Div", "Reciprocal", "Tanh", ""])
def test_nodes_of_onnx_are_found(end: str) -> None:
    net = OnnxNet((3, 8, 8))
    net.add("Exp")
    net.add("Add", ONE)
    net.add("Div", np.array(2, np.float32))
    net.add("ReduceSum", np.array([1]), keepdims=1)
    if end:
        net.add(end, *([ONE, net.now] if end == "Div" else []))
    model = net.model()
    for number, node in enumerate(model.graph.node):
        node.name = str(number)
    names = [node.name for node in float_chains(OnnxGraph(model))]
    assert names == (["0", "1", "2", "3", "4"] if end in ("Log", "Div", "Reciprocal") else [])


def test_shares_of_small_sigmoids_are_numbers() -> None:
    """As of one-vs-rest classifiers: where each sigmoid rounds to 0, their shares were 0 / 0."""
    net = OnnxNet((4,))
    shares = net.add("Sigmoid", net.add("Gemm", net.now, -np.eye(4, dtype=np.float32), np.full(4, -9, np.float32)))
    net.add("Div", shares, net.add("ReduceSum", shares, np.array([1]), keepdims=1))
    model = net.model()
    assert len(float_chains(OnnxGraph(model))) == 3
    items = np.random.default_rng(0).normal(size=(32, 4)).astype(np.float32)
    items[0, 0] = -20  # so that sigmoids reach 1
    rewrites = {"onnx-float-chains"}
    file = onnx_with_scheme(model, SCHEMES["onnx-int8"], lambda: [items], None, rewrites=rewrites)
    exact, answers = (
        onnx_session(onnxruntime, each.SerializeToString()).run(None, {"input": items})[0] for each in (model, file)
    )
    assert np.abs(answers - exact).max() < 0.1
