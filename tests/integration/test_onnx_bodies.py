"""8-bit ONNX files with control flow, whose bodies read values from outside."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper
from onnx_rewriting import FLOAT, OnnxNet, answer, kinds, rewritten

ROWS = (None, None)
"""Shape of a sum of rows, in the body of Loop."""
VALUES = (None, None, None)
"""Shape of what the branches of If return."""


def loop(net: OnnxNet, read: str, rows: int) -> str:
    """Add up the rows of a value, axis 1, in a Loop whose body reads it from outside."""
    value = helper.make_tensor_value_info
    body = helper.make_graph(
        [
            helper.make_node("Gather", [read, "step"], ["row"], axis=1),
            helper.make_node("Add", ["sum", "row"], ["total"]),
            helper.make_node("Identity", ["go"], ["again"]),
        ],
        "body",
        [value("step", TensorProto.INT64, []), value("go", TensorProto.BOOL, []), value("sum", FLOAT, ROWS)],
        [value("again", TensorProto.BOOL, []), value("total", FLOAT, ROWS)],
    )
    start = net.add("ReduceSum", read, np.array([1]), keepdims=0)
    net.add("Loop", net.constant(np.array(rows)), net.constant(np.array(True)), start, body=body)
    return net.add("Reshape", np.array([-1]))


def branches(net: OnnxNet, read: str, shape: tuple[None, ...] = VALUES) -> str:
    """Return a value or its negative, each from a branch of an If that reads it from outside."""
    graphs = [
        helper.make_graph(
            [helper.make_node(kind, [read], [kind])], kind, [], [helper.make_tensor_value_info(kind, FLOAT, shape)]
        )
        for kind in ("Identity", "Neg")
    ]
    total = net.add("Cast", net.add("ReduceMax", read, keepdims=0), to=TensorProto.BOOL)
    net.add("If", total, then_branch=graphs[0], else_branch=graphs[1])
    return net.add("Reshape", np.array([-1]))


def check(net: OnnxNet) -> None:
    """One value of a net is copied, and its answers stay.

    Without the rewrite, ONNX Runtime 1.32 aborts: only its answers without optimization can be asked for.
    """
    model = net.model()
    changed, count = rewritten(model, "onnx-body-inputs")
    assert count == 1
    assert kinds(changed).count("Concat") + kinds(changed).count("Max") == 1
    items = net.items()
    np.testing.assert_array_equal(answer(changed, items), answer(model, items, optimized=False))


@pytest.mark.parametrize("views", [[], ["Transpose"], ["Transpose", "Reshape"], ["Unsqueeze", "Squeeze"]])
@pytest.mark.parametrize("body", ["Loop", "If"])
def test_values_that_bodies_read_do_not_end_onnx_runtime(body: str, views: list[str]) -> None:
    net = OnnxNet((4, 6))
    read = net.quantized(0.05, 128)
    arguments: dict[str, Any] = {"Transpose": (), "Reshape": (np.array([0, -1, 3]),), "Unsqueeze": (np.array([2]),)}
    arguments["Squeeze"] = arguments["Unsqueeze"]
    for view in views:
        read = net.add(view, *arguments[view], **({"perm": [0, 2, 1]} if view == "Transpose" else {}))
    loop(net, read, rows=4) if body == "Loop" else branches(net, read)
    check(net)


def test_single_numbers_are_copied_too() -> None:
    net = OnnxNet((4, 6))
    net.quantized(0.05, 128)
    net.add("ReduceMax", keepdims=0)
    branches(net, net.quantized(0.05, 128), shape=())
    check(net)


def test_only_values_that_bodies_read_are_copied() -> None:
    net = OnnxNet((4, 6))
    read = net.quantized(0.05, 128)
    net.add("Transpose", read, perm=[0, 2, 1])
    _, count = rewritten(net.model(), "onnx-body-inputs")
    assert count == 0
    net = OnnxNet((4, 6))
    loop(net, net.add("Transpose", perm=[0, 2, 1]), rows=6)  # of floats, which nothing dequantized
    _, count = rewritten(net.model(), "onnx-body-inputs")
    assert count == 0


def test_other_readers_keep_reading_what_was_copied() -> None:
    net = OnnxNet((4, 6))
    read = net.quantized(0.05, 128)
    inside = loop(net, read, rows=4)
    net.add("Add", net.add("Reshape", net.add("ReduceSum", read, np.array([1]), keepdims=0), np.array([-1])), inside)
    changed, _ = rewritten(net.model(), "onnx-body-inputs")
    reads = [name for node in changed.graph.node if node.op_type == "ReduceSum" for name in node.input[:1]]
    assert read not in reads
    check(net)
