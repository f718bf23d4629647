"""Weights of eight bits, and models without their last operation."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from rewriting import rewrite

from edgepress.converters.numeric.grids import round_to_grid
from edgepress.converters.proof import verify as proof
from edgepress.converters.to_onnx import interface

CLASSES = 4


def net(weight: npt.NDArray[Any], end: str = "Softmax") -> onnx.ModelProto:
    """A dense layer and what ends it."""
    nodes = [helper.make_node("MatMul", ["x", "w"], ["z"])]
    nodes += [helper.make_node(end, ["z"], ["p"])] if end else []
    shapes = {"x": 8, nodes[-1].output[0]: CLASSES}
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", size]) for name, size in shapes.items()]
    graph = helper.make_graph(nodes, "net", ends[:1], ends[1:], [numpy_helper.from_array(weight, "w")])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def coarse(seed: int = 0) -> Any:
    """Weights that eight bits hold badly: one row is a thousand times as large as the others."""
    weight = np.random.default_rng(seed).normal(size=(8, CLASSES)).astype(np.float32)
    weight[0] *= 1000
    return weight


@pytest.mark.parametrize(("axis", "steps"), [(None, 1), (0, 3), (-1, 2)])
def test_each_channel_has_its_own_step(axis: int | None, steps: int) -> None:
    values = np.array([[1, 100], [2, 50], [0.1, 20]], np.float32)
    found = round_to_grid(values, axis)
    step = np.abs(values).max(axis=None if axis is None else 1 - axis % 2, keepdims=True) / 127
    assert len(np.unique(step)) == steps
    assert np.all(np.abs(found - values) <= step / 2 * 1.001)
    np.testing.assert_allclose(found / step, np.rint(found / step), atol=1e-3)


def test_steps_that_are_not_symmetric_end_at_the_smallest_and_largest_value() -> None:
    values = np.array([[0.0, 1.0, 2.55]], np.float32)
    np.testing.assert_allclose(round_to_grid(values, None, symmetric=False), values, rtol=1e-5)
    assert np.abs(round_to_grid(values, None) - values).max() > 1e-3
    np.testing.assert_array_equal(round_to_grid(np.zeros((2, 2), np.float32), 0), 0)


@pytest.mark.parametrize(("end", "cut"), [("Softmax", True), ("Sigmoid", True), ("", False)])
def test_a_model_is_run_without_its_end(end: str, cut: bool) -> None:
    weight, x = coarse(), np.random.default_rng(1).normal(size=(5, 8)).astype(np.float32)
    model = net(weight, end)
    helper.set_model_props(model, {"edgepress.json": "{}"})
    data = interface.before_end(model.SerializeToString())
    assert (data is not None) == cut
    if data is not None:
        np.testing.assert_allclose(proof.outputs_of(data, x), x @ weight, rtol=1e-3, atol=1e-3)


def test_convolutions_that_compute_in_float_are_rounded_per_channel() -> None:
    from edgepress.converters.to_onnx.float_layers import store_in_bytes

    random = np.random.default_rng(2)
    kernel = (random.normal(size=(16, 3, 3, 3)) * np.geomspace(0.01, 1, 16).reshape(-1, 1, 1, 1)).astype(np.float32)
    x = random.normal(size=(8, 3, 6, 6)).astype(np.float32)
    ends = [
        helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, s)
        for n, s in (("x", ["n", 3, 6, 6]), ("y", ["n", 16, 4, 4]))
    ]
    graph = helper.make_graph(
        [helper.make_node("Conv", ["x", "w"], ["y"])], "g", ends[:1], ends[1:], [numpy_helper.from_array(kernel, "w")]
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    assert rewrite("onnx-convolution-weights", model) == 1
    truth = proof.outputs_of(model.SerializeToString(), x).reshape(8, -1)
    made = proof.outputs_of(store_in_bytes(copy.deepcopy(model)).SerializeToString(), x).reshape(8, -1)

    def answers(axis: int | None) -> Any:
        changed = copy.deepcopy(model)
        changed.graph.initializer[0].CopyFrom(
            numpy_helper.from_array(round_to_grid(kernel, axis, symmetric=False), "w")
        )
        return proof.outputs_of(changed.SerializeToString(), x).reshape(8, -1)

    np.testing.assert_allclose(made, answers(0), atol=1e-5)
    first = slice(4 * 4)  # the channel with the smallest weights
    assert np.abs(answers(None) - truth)[:, first].max() > 10 * np.abs(made - truth)[:, first].max()
