"""What eight bits cost by themselves, models without their last operation, and when either decides on a file."""

from __future__ import annotations

import copy
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgepress.converters.grids import ONNX_AXES, rounded
from edgepress.converters.proof import verify as proof
from edgepress.converters.proof.rounding import rounded_onnx
from edgepress.converters.schemes import SCHEMES
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
    found = rounded(values, axis)
    step = np.abs(values).max(axis=None if axis is None else 1 - axis % 2, keepdims=True) / 127
    assert len(np.unique(step)) == steps
    assert np.all(np.abs(found - values) <= step / 2 * 1.001)
    np.testing.assert_allclose(found / step, np.rint(found / step), atol=1e-3)


def test_steps_that_are_not_symmetric_end_at_the_smallest_and_largest_value() -> None:
    values = np.array([[0.0, 1.0, 2.55]], np.float32)
    np.testing.assert_allclose(rounded(values, None, symmetric=False), values, rtol=1e-5)
    assert np.abs(rounded(values, None) - values).max() > 1e-3
    np.testing.assert_array_equal(rounded(np.zeros((2, 2), np.float32), 0), 0)


def test_only_kernels_are_rounded() -> None:
    weight = coarse()
    model = net(weight)
    changed = numpy_helper.to_array(rounded_onnx(model, ONNX_AXES, symmetric=True).graph.initializer[0])
    np.testing.assert_allclose(changed, rounded(weight, 1))
    np.testing.assert_array_equal(numpy_helper.to_array(model.graph.initializer[0]), weight)


@pytest.mark.parametrize(("end", "cut"), [("Softmax", True), ("Sigmoid", True), ("", False)])
def test_a_model_is_run_without_its_end(end: str, cut: bool) -> None:
    weight, x = coarse(), np.random.default_rng(1).normal(size=(5, 8)).astype(np.float32)
    model = net(weight, end)
    helper.set_model_props(model, {"edgepress.json": "{}"})
    data = interface.before_end(model.SerializeToString())
    assert (data is not None) == cut
    if data is not None:
        np.testing.assert_allclose(proof.outputs_of(data, x), x @ weight, rtol=1e-3, atol=1e-3)


def test_rounding_explains_what_it_does_and_nothing_else() -> None:
    x = np.random.default_rng(1).normal(size=(64, 8)).astype(np.float32) * np.array([0.001, *[1] * 7], np.float32)
    weight, scheme = coarse(), SCHEMES["onnx-dynamic"]
    model = net(weight, "")
    truth = x @ weight
    best = proof.rounded_answers(model, scheme, x, truth, end="")
    assert best is not None
    np.testing.assert_allclose(best, x @ rounded(weight, None, symmetric=False), rtol=1e-3, atol=1e-3)
    assert proof.rounded_answers(model, scheme, x, 1.1 * truth, end="") is None  # already the float file is wrong


def test_a_tuned_graph_counts_unless_it_is_worse() -> None:
    x = np.random.default_rng(1).normal(size=(64, 8)).astype(np.float32) * np.array([0.001, *[1] * 7], np.float32)
    weight, scheme = coarse(), SCHEMES["onnx-dynamic"]
    truth, rounding = x @ weight, partial(rounded, axis=None, symmetric=False)
    for change, counts in ((1.01, True), (3.0, False)):
        tuned = weight.copy()
        tuned[1:] *= change
        found = proof.rounded_answers(net(weight, ""), scheme, x, truth, end="", tuned=net(tuned, ""))
        np.testing.assert_allclose(found, x @ rounding(tuned if counts else weight), rtol=1e-3, atol=1e-3)


def test_a_file_is_judged_beside_rounded_weights_if_it_is_too_far_from_the_source(tmp_path: Any) -> None:
    rng, asked = np.random.default_rng(0), []
    truth = rng.normal(size=(64, CLASSES)).astype(np.float32)
    rounding = truth + rng.normal(0, 0.6, truth.shape).astype(np.float32)
    path = tmp_path / "a.onnx"
    path.write_bytes(net(coarse(), "").SerializeToString())

    def reason(scores: Any, scheme: str = "onnx-dynamic") -> str:
        def answers(end: str) -> Any:
            asked.append(end)
            return rounding

        items = np.zeros((64, 8), np.float32)
        of = {"on": "seeded", "task": "logits", "ends_in": "", "rounded": answers}
        return proof.verify(path, SCHEMES[scheme], items, scores, truth, **of)[1]  # type: ignore[arg-type]

    assert reason(truth) == ""
    assert asked == []
    assert reason(rounding + np.float32(0.01)) == ""
    assert asked == [""]
    assert reason(truth + rng.normal(0, 0.6, truth.shape).astype(np.float32))
    assert reason(rounding, "onnx-float16")
    assert len(asked) == 2


def test_convolutions_that_compute_in_float_are_rounded_per_channel() -> None:
    from edgepress.converters.rewrites.onnx import convolution_weights
    from edgepress.converters.to_onnx.weights import store_in_bytes

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
    assert convolution_weights.rewrite(model) == 1
    truth = proof.outputs_of(model.SerializeToString(), x).reshape(8, -1)
    made = proof.outputs_of(store_in_bytes(copy.deepcopy(model)).SerializeToString(), x).reshape(8, -1)
    scheme = SCHEMES["onnx-dynamic"]
    best = proof.rounded_answers(model, scheme, x, truth, end="", rewrites=["onnx-convolution-weights"])
    np.testing.assert_allclose(made, best, atol=1e-5)
    coarse_one = proof.rounded_answers(model, scheme, x, truth, end="")
    first = slice(4 * 4)  # the channel with the smallest weights
    assert np.abs(coarse_one - truth)[:, first].max() > 10 * np.abs(best - truth)[:, first].max()
