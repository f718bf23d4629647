"""Statistics of the tensors of float graphs, TFLite and ONNX, over calibration items."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from int8_graphs import Net

from edgepress.converters.calibration import onnx_statistics, tflite_statistics
from edgepress.converters.errors import ConversionError
from edgepress.converters.numeric.statistics import CalibrationMethods, Statistics

ITEMS = np.random.default_rng(0).normal(size=(300, 64)).astype(np.float32)
ITEMS[7, 5] = 30
OPEN, CLOSED = {"a", "b"}, {"logits", "shaped", "answer"}
"""Tensors that may be clipped, and those that may not."""


def tflite_net() -> bytes:
    net = Net((1, 64), 0, dtype=np.float32)
    plain: dict[str, Any] = {"scale": 0, "dtype": np.float32}
    a = net.op("RELU", [net.input], (1, 64), **plain)
    b = net.op("MUL", [a, a], (1, 64), **plain)
    logits = net.op("ADD", [b, net.input], (1, 64), **plain)
    shaped = net.op("RESHAPE", [logits], (1, 8, 8), newShape=[1, 8, 8], **plain)
    answer = net.op("SOFTMAX", [shaped], (1, 8, 8), beta=1.0, **plain)
    named = {net.input: "input", a: "a", b: "b", logits: "logits", shaped: "shaped", answer: "answer"}
    for index, name in named.items():
        net.graph.tensors[index].name = name.encode()
    return net.model(answer)


def onnx_net() -> Any:
    from onnx import TensorProto, helper, shape_inference

    nodes = [
        helper.make_node("Relu", ["input"], ["a"]),
        helper.make_node("Mul", ["a", "a"], ["b"]),
        helper.make_node("Add", ["b", "input"], ["logits"]),
        helper.make_node("Flatten", ["logits"], ["shaped"]),
        helper.make_node("Softmax", ["shaped"], ["answer"]),
    ]
    ends = [[helper.make_tensor_value_info(n, TensorProto.FLOAT, ["n", 64])] for n in ("input", "answer")]
    model = helper.make_model(
        helper.make_graph(nodes, "net", *ends), opset_imports=[helper.make_opsetid("", 17)], ir_version=8
    )
    return shape_inference.infer_shapes(model)


@pytest.fixture(scope="module", params=["tflite", "onnx"])
def statistics(request: pytest.FixtureRequest) -> Statistics:
    batches = lambda: np.array_split(ITEMS, 7)  # noqa: E731
    if request.param == "tflite":
        return tflite_statistics(tflite_net(), batches, (-40.0, 40.0))
    return onnx_statistics(onnx_net(), batches, (-40.0, 40.0))


def test_extremes_are_those_of_all_items(statistics: Statistics) -> None:
    ranges, positive = statistics.ranges(), np.maximum(ITEMS, 0)
    assert ranges["input"] == (-40.0, 40.0), "known beforehand"
    assert ranges["a"] == (0.0, 30.0)
    assert ranges["b"] == (0.0, 900.0)
    logits = positive**2 + ITEMS
    assert ranges["logits"] == pytest.approx((logits.min(), logits.max()))
    assert ranges["answer"][1] == pytest.approx(1, abs=1e-6)


def test_answers_and_what_a_softmax_reads_are_not_clipped(statistics: Statistics) -> None:
    assert set(statistics.names) == OPEN
    whole = statistics.ranges()
    clipped = statistics.ranges(CalibrationMethods("percentile"))
    assert {name for name in whole if clipped[name] != whole[name]} == OPEN
    assert statistics.ranges(CalibrationMethods("percentile"), bits=16) == whole


def test_ranges_do_not_depend_on_batches() -> None:
    model = tflite_net()
    for method in ("minmax", "mse"):
        one = tflite_statistics(model, lambda: [ITEMS], None).ranges(CalibrationMethods(method))  # type: ignore[arg-type]
        assert one == tflite_statistics(model, lambda: ITEMS[:, None], None).ranges(CalibrationMethods(method))  # type: ignore[arg-type]
    assert one["input"][1] < 30


def test_items_of_another_shape_and_none_are_refused() -> None:
    with pytest.raises(ConversionError, match="no calibration items"):
        tflite_statistics(tflite_net(), list, None)
    for collect, net in ((tflite_statistics, tflite_net()), (onnx_statistics, onnx_net())):
        with pytest.raises(ConversionError, match="does not take an item"):
            collect(net, lambda: [ITEMS[:, :5]], None)
