"""Logarithms of sums of exponentials, as of Gaussian naive Bayes and torch.logsumexp, for onnx2tf."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx_rewriting import OnnxNet

from edgepress.converters.to_onnx.onnx2tf_forms import with_onnx2tf_forms

KINDS = ["ReduceMax", "Sub", "Exp", "ReduceSum", "Log"]


def log_sum(opset: int, axes: list[int], **attributes: Any) -> onnx.ModelProto:
    net = OnnxNet((3, 4))
    if opset < 18:
        net.add("ReduceLogSumExp", **({"axes": axes} if axes else {}), **attributes)
    else:
        net.add("ReduceLogSumExp", *([np.array(axes)] if axes else []), **attributes)
    model = net.model(opset=opset)
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    return onnx.shape_inference.infer_shapes(model)


def run(model: onnx.ModelProto, items: Any) -> Any:
    return onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"input": items})[0]


@pytest.mark.parametrize("opset", [17, 20])
@pytest.mark.parametrize("axes", [[-1], [1, 2], []])
@pytest.mark.parametrize("keepdims", [0, 1])
def test_the_greatest_value_is_subtracted(opset: int, axes: list[int], keepdims: int) -> None:
    """Exponentials of values far from 0 were 0 in TFLite files, so that their answers were no numbers."""
    model = log_sum(opset, axes, keepdims=keepdims)
    items = np.random.default_rng(0).normal(size=(1, 3, 4)).astype(np.float32) - 500
    before = run(model, items)
    written = with_onnx2tf_forms(model)
    onnx.checker.check_model(written)
    assert [n.op_type for n in written.graph.node] == [*KINDS, *(["Add"] if keepdims else ["Add", "Squeeze"])]
    np.testing.assert_allclose(run(written, items), before, rtol=1e-6)


def test_one_of_no_axes_stays() -> None:
    model = log_sum(20, [], noop_with_empty_axes=1)
    assert [node.op_type for node in with_onnx2tf_forms(model).graph.node] == ["ReduceLogSumExp"]
