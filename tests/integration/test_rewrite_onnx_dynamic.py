"""Weights of convolutions in dynamic ONNX files."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import numpy_helper
from onnx_rewriting import OnnxNet, answer, kinds
from rewriting import rewrite

from edgepress.converters.schemes import SCHEMES
from edgepress.converters.to_onnx.float_layers import store_in_bytes
from edgepress.converters.to_onnx.quantize import with_scheme


def test_convolutions_of_dynamic_files_are_as_small_and_nearer() -> None:
    net = OnnxNet((16, 8, 8))
    net.conv(64, 16, (3, 3))
    net.conv(64, 1, (5, 5), group=64)
    net.add("GlobalAveragePool")
    net.add("Flatten")
    net.add("MatMul", net.random.normal(size=(64, 32)).astype(np.float32))
    model, items = net.model(), net.items()
    assert rewrite("onnx-convolution-weights", model) == 2
    truth, found = answer(model, items), []
    for rewrites in ((), ("onnx-convolution-weights",)):
        made = with_scheme(model, SCHEMES["onnx-dynamic"], list, None, rewrites=rewrites)
        found.append((np.abs(answer(made, items) - truth).max(), made.ByteSize(), set(kinds(made))))
    (before, large, old), (after, small, new) = found
    assert after <= before
    assert small < 1.1 * large
    assert "ConvInteger" in old
    assert "ConvInteger" not in new
    assert {"Conv", "MatMulInteger"} <= new


@pytest.mark.parametrize(("low", "high"), [(-1.0, 1.0), (0.5, 2.0), (-2.0, -0.5), (-0.1, 3.0)])
def test_weights_of_dynamic_files_are_off_by_half_a_step(low: float, high: float) -> None:
    net = OnnxNet((16, 1, 1))
    net.conv(32, 16, (1, 1), bias=False)
    model = net.model()
    weights = np.random.default_rng(0).uniform(low, high, (32, 16, 1, 1)).astype(np.float32)
    weights[0] = 0
    (tensor,) = [t for t in model.graph.initializer if t.dims == list(weights.shape)]
    tensor.CopyFrom(numpy_helper.from_array(weights, tensor.name))
    each = answer(store_in_bytes(model), np.eye(16, dtype=np.float32).reshape(16, 16, 1, 1))
    off = np.abs(each[:, :, 0, 0].T - weights[:, :, 0, 0])
    steps = (weights.max((1, 2, 3)).clip(0) - weights.min((1, 2, 3)).clip(max=0)) / 255
    assert (off <= 0.501 * steps[:, np.newaxis] + 1e-7).all()


@pytest.mark.parametrize(("inputs", "count"), [(15, 0), (16, 1)])
def test_few_weights_of_dynamic_files_stay_float(inputs: int, count: int) -> None:
    net = OnnxNet((inputs, 2, 2))
    net.conv(16, inputs, (1, 1))
    assert rewrite("onnx-convolution-weights", net.model()) == count
