"""Small 1x1 convolutions of dynamic files: which ones compute in float, and that nothing is lost."""

from __future__ import annotations

import numpy as np
import pytest
from rewriting import Net, answer, rewrite

from edgepress.converters.schemes import SCHEMES
from edgepress.converters.to_tflite.convert import with_scheme
from edgepress.converters.to_tflite.graph import Graph


@pytest.mark.parametrize(
    ("size", "inputs", "outputs", "kernel", "stride", "small"),
    [
        ((8, 8), 16, 16, 1, 1, True),
        ((8, 8), 16, 144, 1, 1, True),
        ((8, 8), 16, 145, 1, 1, False),
        ((8, 8), 512, 16, 1, 1, True),
        ((8, 8), 64, 64, 1, 1, False),
        ((8, 8), 16, 16, 3, 1, False),
        ((8, 8), 16, 16, 1, 2, False),
        ((1, 1), 16, 16, 1, 1, False),
    ],
)
def test_which_are_small(size, inputs, outputs, kernel, stride, small):
    net = Net(size, inputs)
    net.conv(outputs, (kernel, kernel), stride=stride)
    net.conv(64, (3, 3))  # so that there is something to quantize
    model = net.model()
    assert rewrite("small-products", Graph(model)) == small
    made = with_scheme(model, SCHEMES["tflite-dynamic"], None, {"small-products"}, uint8=False)
    graph = Graph(made)
    first = next(op for op in graph.operators if graph.kind(op) == "CONV_2D")
    assert (graph.dtype(int(first.inputs[1])) == np.float32) == small
    if small:
        assert graph.kind(graph.makers()[int(first.inputs[1])]) == "DEQUANTIZE"
    plain = with_scheme(model, SCHEMES["tflite-dynamic"], None, set(), uint8=False)
    assert len(made) < len(plain) + 1024
    truth = answer(model)
    assert np.abs(answer(made) - truth).max() < 0.03 * np.abs(truth).max()
