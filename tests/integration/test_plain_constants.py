"""Constants of float graphs: what follows from constants is computed once, and what stands for infinity is finite."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx_rewriting import OnnxNet
from rewriting import Net, answer, kinds

from edgepress.converters.calibration import tflite_statistics
from edgepress.converters.ptq.score import runner
from edgepress.converters.schemes import SCHEMES
from edgepress.converters.to_onnx.forms import with_plain_forms
from edgepress.converters.to_tflite.constants import HUGE, INFINITE, LARGEST, with_plain_constants
from edgepress.converters.to_tflite.convert import with_scheme
from edgepress.converters.to_tflite.graph import Graph

BOOL = 6
"""Of the schema's `TensorType`."""


def net_of_constants(*, kind: str = "ADD", repeat: int = 1) -> bytes:
    """A convolution, added to three operations on constants, one of which makes truth values."""
    net = Net((3, 2), 4)
    image = net.conv(4)
    random = np.random.default_rng(0)
    first, second = (random.normal(size=(1, 1, 2, 4)).astype(np.float32) for _ in range(2))
    total = net.add("ADD", [first, second], (1, 1, 2, 4))
    if repeat > 1:
        total = net.add("TILE", [total, np.array([1, repeat, 1, 1], np.int32)], (1, repeat, 2, 4))
    shape = net.graph.shape(total)
    larger = net.add("GREATER", [total, np.array(0, np.float32)], shape)
    net.graph.table.tensors[larger].type = BOOL
    chosen = net.add("SELECT_V2", [larger, total, np.array(9, np.float32)], shape)
    if repeat > 1:
        chosen = net.add("MEAN", [chosen, np.array([1], np.int32)], (1, 2, 4))
    net.add(kind, [image, chosen], (1, 3, 2, 4))
    return net.model()


def test_what_follows_from_constants_is_computed() -> None:
    model = net_of_constants()
    plain = with_plain_constants(model)
    assert kinds(plain) == ["CONV_2D", "ADD"]
    np.testing.assert_array_equal(answer(plain), answer(model))
    assert with_plain_constants(plain) == plain


@pytest.mark.parametrize(("repeat", "is_folded"), [(LARGEST // 8, True), (LARGEST // 8 + 1, False)])
def test_small_constants_do_not_become_large_ones(repeat: int, is_folded: bool) -> None:
    model = net_of_constants(repeat=repeat)
    plain = with_plain_constants(model)
    assert ("TILE" not in kinds(plain)) == is_folded
    assert len(plain) < len(model) + 4 * 8 * repeat
    np.testing.assert_allclose(answer(plain), answer(model), rtol=1e-6)


@pytest.mark.parametrize(("rows", "is_folded"), [(256, True), (64, True), (63, False)])
def test_a_large_constant_may_grow_by_a_quarter(rows: int, is_folded: bool) -> None:
    """As a mel matrix does, which Keras pads by one frequency; here by 16 rows."""
    net = Net((1, 1), 128)
    values = net.conv(128)
    matrix = np.random.default_rng(0).uniform(size=(rows, 128)).astype(np.float32)
    weights = net.add("PAD", [matrix, np.array([[0, 16], [0, 0]], np.int32)], (rows + 16, 128))
    net.add("FULLY_CONNECTED", [values, weights], (1, rows + 16))
    model = net.model()
    plain = with_plain_constants(model)
    assert ("PAD" not in kinds(plain)) == is_folded
    np.testing.assert_allclose(answer(plain), answer(model), rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize(("size", "is_folded"), [(144, True), (1024, True), (1025, False)])
def test_the_kernel_of_patches_is_a_constant(size: int, is_folded: bool) -> None:
    """Which Keras makes of a diagonal of ones; weights have to be constants to be quantized."""
    net = Net((3, 3), 1)
    diagonal = net.add("MATRIX_DIAG", [np.ones(size, np.float32)], (size, size))
    kernel = net.add("RESHAPE", [diagonal, np.array([size, 1, size, 1], np.int32)], (size, 1, size, 1))
    bias = np.zeros(size, np.float32)
    net.add("CONV_2D", [0, kernel, bias], (1, 3, 3, size), strideW=1, strideH=1, padding=0)
    assert kinds(with_plain_constants(net.model())) == (
        ["CONV_2D"] if is_folded else ["MATRIX_DIAG", "RESHAPE", "CONV_2D"]
    )


def test_convolutions_with_computed_weights_stay_float() -> None:
    """As a dynamic convolution, whose kernel is made of the means of its input."""
    random = np.random.default_rng(0)
    net = Net((6, 6), 4)
    first = net.conv(4)
    net.add("MEAN", [first, np.array([1, 2], np.int32)], (1, 4))
    net.add("FULLY_CONNECTED", [net.now, random.normal(size=(16, 4)).astype(np.float32), -1], (1, 16))
    kernel = net.add("RESHAPE", [net.now, np.array([4, 1, 1, 4], np.int32)], (4, 1, 1, 4))
    net.add("CONV_2D", [first, kernel, np.ones(4, np.float32)], (1, 6, 6, 4), strideW=1, strideH=1, padding=0)
    model = net.model()
    items = random.normal(size=(16, 6, 6, 4)).astype(np.float32)
    ranges = tflite_statistics(model, lambda: [items], None).ranges()
    file = with_scheme(model, SCHEMES["tflite-int8"], ranges, uint8=False)
    exact, answers = (np.stack([runner(each)(item) for item in items]) for each in (model, file))
    assert 10 * np.log10(np.square(exact - exact.mean()).mean() / np.square(answers - exact).mean()) > 25


def test_a_constant_model_stays_one() -> None:
    net = Net((3, 2), 4)
    values = np.ones((1, 3, 2, 4), np.float32)
    net.add("ADD", [net.add("ADD", [values, values], values.shape), values], values.shape)
    assert kinds(with_plain_constants(net.model())) == ["ADD"]


def test_random_numbers_stay_random() -> None:
    net = Net((3, 2), 4)
    noise = net.add("RANDOM_UNIFORM", [np.array([1, 3, 2, 4], np.int32)], (1, 3, 2, 4))
    net.add("ADD", [net.graph.table.inputs[0], noise], (1, 3, 2, 4))
    model = net.model()
    assert with_plain_constants(model) == model


@pytest.mark.parametrize("value", [-np.inf, np.inf, -3.4e38, -1.01 * HUGE])
def test_infinite_constants_become_finite(value: float) -> None:
    mask = np.array([0, value, 3], np.float32)
    net = Net((2, 2), 3)
    net.add("ADD", [net.now, mask], net.shape)
    graph = Graph(with_plain_constants(net.model()))
    expected = np.array([0, np.copysign(INFINITE, value), 3], np.float32)
    np.testing.assert_array_equal(graph.constant(int(graph.operators[0].inputs[1])), expected)


@pytest.mark.parametrize("value", [-1e9, 0.99 * HUGE])
def test_large_constants_stay(value: float) -> None:
    net = Net((2, 2), 3)
    net.add("ADD", [net.now, np.array([0, value, 3], np.float32)], net.shape)
    model = net.model()
    assert with_plain_constants(model) == model


@pytest.mark.parametrize("scheme", ["tflite-int8", "tflite-int16x8"])
@pytest.mark.parametrize("in_float", ["POW", "FLOOR_MOD"])
def test_operations_of_integers_and_of_floats_share_a_number(in_float: str, scheme: str) -> None:
    """Which litert-quantizer copies, with the shape of its bytes: LiteRT refused such a file."""
    net = Net((4, 4), 4)
    image = net.conv(4)
    two = net.graph.add_constant(np.array(2, np.float32))
    net.graph.table.tensors[two].shape = None  # as TensorFlow writes it
    net.add("ADD", [net.add("SUB", [two, image], net.shape), net.add(in_float, [image, two], net.shape)], net.shape)
    model = with_plain_constants(net.model())
    items = np.random.default_rng(0).normal(size=(16, 4, 4, 4)).astype(np.float32)
    ranges = tflite_statistics(model, lambda: [items], None).ranges()
    file = with_scheme(model, SCHEMES[scheme], ranges, uint8=False)
    assert in_float in kinds(file)
    exact, answers = (np.stack([runner(each)(item) for item in items]) for each in (net.model(), file))
    assert 10 * np.log10(np.var(exact) / np.var(answers - exact)) > 20


def run(model: onnx.ModelProto) -> Any:
    x = np.random.default_rng(0).normal(size=(2, 3, 4, 5)).astype(np.float32)
    return onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"input": x})[0]


@pytest.mark.parametrize(("axes", "amounts"), [([2, 3], [1, 2, -1, 0]), ([-1], [2, 1]), ([3, 1], [0, 1, 1, 0])])
def test_pads_of_some_axes_are_written_for_all(axes: list[int], amounts: list[int]) -> None:
    net = OnnxNet((3, 4, 5))
    net.add("Relu")
    net.add("Pad", np.array(amounts), np.array(0.5, np.float32), np.array(axes))
    net.add("Neg")
    model = net.model()
    model.opset_import[0].version = 18
    before = run(model)
    model = with_plain_forms(model)
    (pad,) = (node for node in model.graph.node if node.op_type == "Pad")
    assert len(pad.input) == 3
    np.testing.assert_array_equal(run(model), before)


@pytest.mark.parametrize("kind", ["Add", "Sub", "Where"])
@pytest.mark.parametrize("in_node", [False, True])
def test_infinite_masks_of_onnx_become_finite(kind: str, *, in_node: bool) -> None:
    """Of initializers and of nodes; a bound of a Clip stays, and so does the model itself."""
    net = OnnxNet((3, 4, 5))
    source = net.add("Clip", np.array(-np.inf, np.float32), np.array(3, np.float32))
    mask = np.array([0, np.inf if kind == "Sub" else -np.inf, 0, 2, 0], np.float32)
    net.add(kind, *([np.arange(5) > 1, source, mask] if kind == "Where" else [mask]))
    net.add("Softmax")
    model = net.model()
    graph = model.graph
    if in_node:
        name = graph.node[1].input[-1]
        tensor = next(each for each in graph.initializer if each.name == name)
        graph.node.insert(0, onnx.helper.make_node("Constant", [], [name], value=tensor))
        graph.initializer.remove(tensor)
    same = model.SerializeToString()
    plain = with_plain_forms(model)
    assert model.SerializeToString() == same
    values = [onnx.numpy_helper.to_array(each) for each in plain.graph.initializer]
    assert sum(np.isinf(each).sum() for each in values) == 1
    assert sum((np.abs(each) == INFINITE).sum() for each in values) == 1
    np.testing.assert_allclose(run(plain), run(model), rtol=1e-6)


@pytest.mark.parametrize("kind", ["MINIMUM", "MAXIMUM", "LESS"])
def test_infinite_bounds_stay(kind: str) -> None:
    net = Net((2, 2), 3)
    net.add(kind, [net.now, np.array([np.inf, 3.4e38, -np.inf], np.float32)], net.shape)
    model = net.model()
    assert with_plain_constants(model) == model
