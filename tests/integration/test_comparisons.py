"""Values that mark something are found in files of integers, whose grids do not hold them exactly."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime
import pytest
from onnx_rewriting import OnnxNet
from rewriting import Net

from edgepress.converters.calibration import tflite_statistics
from edgepress.converters.ptq.score import runner
from edgepress.converters.schemes import SCHEMES
from edgepress.converters.to_onnx.quantize import with_scheme as onnx_with_scheme
from edgepress.converters.to_tflite.constants import is_mark, on_grid, with_marks_on_grids
from edgepress.converters.to_tflite.convert import with_scheme
from edgepress.converters.to_tflite.graph import Graph
from edgepress.runtime.sessions import onnx_session

BOOL = 6
"""Of the schema's `TensorType`."""
SHAPE = (5, 4, 3)
KEEPS = {"NOT_EQUAL": True, "EQUAL": False, "GREATER": True, "LESS_EQUAL": False, "LESS": True, "GREATER_EQUAL": False}
"""Whether a comparison with the mark is true for values; those of the last two have the mark first."""


def items_with(mark: float) -> Any:
    """Values of 0 to 1, with the mark at a third of the places; their range is not a multiple of the mark."""
    random = np.random.default_rng(0)
    x = random.uniform(0.02, 0.97, (64, *SHAPE)).astype(np.float32)
    x[random.random(x.shape) < 1 / 3] = mark
    return x


def marked_net(kind: str, mark: Any) -> bytes:
    """A convolution of what is not marked, with 0.7 in the place of marks."""
    net = Net(SHAPE[:2], SHAPE[2])
    source, operands = net.now, [net.now, np.asarray(mark, np.float32)]
    condition = net.add(kind, operands[:: -1 if list(KEEPS).index(kind) > 3 else 1], net.shape)
    net.graph.table.tensors[condition].type = BOOL
    values = [source, np.full(net.graph.shape(source), 0.7, np.float32)]
    net.add("SELECT_V2", [condition, *values[:: 1 if KEEPS[kind] else -1]], net.graph.shape(source))
    net.conv(4)
    return net.model()


def ratio_db(exact: Any, answers: Any) -> float:
    return float(10 * np.log10(np.square(exact - exact.mean()).mean() / np.square(answers - exact).mean()))


@pytest.mark.parametrize(
    ("mark", "kind", "scheme"),
    [
        *((mark, kind, "tflite-int8") for mark in (-1.0, -0.3) for kind in KEEPS),
        *((1.9, kind, "tflite-int8") for kind in ("EQUAL", "NOT_EQUAL")),
        *((-0.3, kind, "tflite-int16x8") for kind in ("EQUAL", "GREATER")),
    ],
)
def test_tflite_files_find_marks(mark: float, kind: str, scheme: str) -> None:
    model, items = marked_net(kind, mark), items_with(mark)
    ranges = tflite_statistics(model, lambda: [items], None).ranges()
    file = with_scheme(model, SCHEMES[scheme], ranges, uint8=False)
    exact, answers = (np.stack([runner(each)(item) for item in items]) for each in (model, file))
    assert ratio_db(exact, answers) > 30


@pytest.mark.parametrize("largest", [255.0, 256.0, 1000.0])
@pytest.mark.parametrize("with_itself", [False, True])
@pytest.mark.parametrize("kind", ["EQUAL", "NOT_EQUAL"])
def test_values_in_wide_steps_are_compared(kind: str, with_itself: bool, largest: float) -> None:
    """With their smallest value, or with themselves, as a test for NaN does; LiteRT aborts at a scale of 1."""
    items = saturated() * np.float32(largest)
    model = marked_net(kind, 0)
    if with_itself:
        graph = Graph(model)
        graph.operators[0].inputs = [graph.table.inputs[0]] * 2
        model = graph.to_bytes()
    ranges = tflite_statistics(model, lambda: [items], None).ranges()
    file = with_scheme(model, SCHEMES["tflite-int8"], ranges, uint8=False)
    quantized = Graph(file)
    (comparison,) = (op for op in quantized.operators if quantized.kind(op) == kind)
    assert all(quantized.scales(int(index))[0] == [] for index in comparison.inputs)
    exact, answers = (np.stack([runner(each)(item) for item in items]) for each in (model, file))
    assert ratio_db(exact, answers) > 30


def saturated() -> Any:
    """Values of -0.3 to 1.4, cut to 0 and 1, at which most of them are."""
    return np.random.default_rng(0).uniform(-1, 2, (64, *SHAPE)).clip(0, 1).astype(np.float32)


@pytest.mark.parametrize(
    ("bound", "kind", "scheme"),
    [
        *((bound, kind, "tflite-int8") for bound in (-0.5, 1.5, 1000.0) for kind in KEEPS),
        *((bound, kind, "tflite-int8") for bound in (-1e-3, 1e-3, 0.999, 1.001) for kind in list(KEEPS)[2:]),
        *((bound, kind, "tflite-int16x8") for bound in (-0.5, 1e-3, 1000.0) for kind in ("GREATER", "LESS")),
        *((bound, "EQUAL", "tflite-int16x8") for bound in (-0.5, 1000.0)),
    ],
)
def test_bounds_that_no_value_has_are_no_marks(bound: float, kind: str, scheme: str) -> None:
    """Values at the ends of the grid stay on their side of them."""
    model, items = marked_net(kind, bound), saturated()
    ranges = tflite_statistics(model, lambda: [items], None).ranges()
    file = with_scheme(model, SCHEMES[scheme], ranges, uint8=False)
    exact, answers = (np.stack([runner(each)(item) for item in items]) for each in (model, file))
    assert ratio_db(exact, answers) > 30


@pytest.mark.parametrize(
    ("mark", "found"),
    [
        *((each, True) for each in (-1, 0, 0.5, 0.503, 1.5, [-1, 0.5, 1.5], -0.99, 0.01)),
        *((each, False) for each in (-1.01, 1.51, -0.999, 1e-3, -3e-3, 1.499, [0.5, 2], [0.5, 1e-3])),
    ],
)
def test_marks_are_told_from_bounds(mark: Any, *, found: bool) -> None:
    """Of values from -1 to 1.5 in steps of 0.01, of which nothing but 0 and the ends may become these."""
    assert is_mark(np.array(mark, np.float64), (-1.0, 1.5), lambda x: np.rint(x / 0.01)) == found


@pytest.mark.parametrize(("value", "integer"), [(-1.0, 0), (-9, 0), (0, 127), (0.5, 191), (1.01, 255), (9, 255)])
def test_values_on_a_grid(value: float, integer: int) -> None:
    """Of -0.996 to 1.004, in steps of 0.0078."""
    assert on_grid(np.array([value]), 2 / 255, 127, np.dtype(np.uint8)).tolist() == [integer]


def test_bounds_on_both_sides_stay_as_they_are() -> None:
    model = marked_net("GREATER", np.array([-50.0, 0.5, 50.0], np.float32))
    items = np.random.default_rng(0).uniform(0, 1, (64, *SHAPE)).astype(np.float32)
    ranges = tflite_statistics(model, lambda: [items], None).ranges()
    file = with_scheme(model, SCHEMES["tflite-int8"], ranges, uint8=False)
    exact, answers = (np.stack([runner(each)(item) for item in items]) for each in (model, file))
    assert ratio_db(exact, answers) > 25


def test_marks_by_channel_are_found() -> None:
    marks = np.array([-1.0, -0.5, -0.25], np.float32)
    items = np.where(items_with(-1.0) < 0, marks, items_with(-1.0)).astype(np.float32)
    model = marked_net("NOT_EQUAL", marks)
    ranges = tflite_statistics(model, lambda: [items], None).ranges()
    file = with_scheme(model, SCHEMES["tflite-int8"], ranges, uint8=False)
    exact, answers = (np.stack([runner(each)(item) for item in items]) for each in (model, file))
    assert ratio_db(exact, answers) > 30


def test_files_of_float_compare_as_they_did() -> None:
    model = marked_net("NOT_EQUAL", -1.0)
    assert with_marks_on_grids(model, model, {}) == model


@pytest.mark.parametrize("kind", ["Greater", "Less", "Equal"])
@pytest.mark.parametrize("bound", [-0.5, -1e-3, 1e-3, 50.0])
def test_bounds_of_onnx_that_no_value_reaches_stay(bound: float, kind: str) -> None:
    items = np.random.default_rng(0).uniform(-0.5, 2, (64, *SHAPE)).clip(-1, 1).astype(np.float32)
    net = OnnxNet(SHAPE)
    net.conv(5, SHAPE[0], (1, 1))
    source = net.add("Relu")
    net.add("Where", net.add(kind, source, np.array(bound, np.float32)), source, np.array(0.7, np.float32))
    net.conv(4, SHAPE[0], (1, 1))
    model = net.model()
    quantized = onnx_with_scheme(model, SCHEMES["onnx-int8"], lambda: [items], None)
    exact, answers = (
        onnx_session(onnxruntime, each.SerializeToString()).run(None, {"input": items})[0]
        for each in (model, quantized)
    )
    assert ratio_db(exact, answers) > 20


@pytest.mark.parametrize("kind", ["Equal", "Greater", "LessOrEqual"])
@pytest.mark.parametrize("mark", [-1.0, -0.3])
@pytest.mark.parametrize("mark_first", [False, True])
def test_onnx_files_find_marks(mark_first: bool, mark: float, kind: str) -> None:
    net = OnnxNet(SHAPE)
    operands: list[Any] = [net.now, np.array(mark, np.float32)]
    other = {"Greater": "Less", "LessOrEqual": "GreaterOrEqual"}.get(kind, kind)
    condition = net.add(other if mark_first else kind, *operands[:: -1 if mark_first else 1])
    values: list[Any] = ["input", np.array(0.7, np.float32)]
    net.add("Where", condition, *values[:: 1 if kind == "Greater" else -1])
    net.conv(4, SHAPE[0], (1, 1))
    model, items = net.model(), items_with(mark)
    quantized = onnx_with_scheme(model, SCHEMES["onnx-int8"], lambda: [items], None)
    exact, answers = (
        onnx_session(onnxruntime, each.SerializeToString()).run(None, {"input": items})[0]
        for each in (model, quantized)
    )
    assert ratio_db(exact, answers) > 30
