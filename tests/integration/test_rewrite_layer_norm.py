"""Layer normalization with fewer passes over its input: the same answers, float in integer files."""

from __future__ import annotations

import numpy as np
import pytest
from normalizing import normalize
from rewriting import Net, answer, kinds, rewrite

from edgepress.converters.calibration import tflite_statistics
from edgepress.converters.schemes import SCHEMES
from edgepress.converters.to_tflite.convert import with_scheme
from edgepress.converters.to_tflite.graph import Graph


@pytest.mark.parametrize("behind", ["conv", "large conv", "nothing"])
@pytest.mark.parametrize("beta", ["", "add", "sub"])
@pytest.mark.parametrize("gamma", [True, False])
def test_answers_stay(gamma, beta, behind):
    net = Net((5, 4), 16)
    net.conv(16)
    normalize(net, gamma=gamma, beta=beta)
    if behind != "nothing":
        net.conv(8, (3, 3) if behind == "large conv" else (1, 1), same=False)
    graph = Graph(model := net.model())
    assert rewrite("layer-norm", graph) == 1
    changed = graph.to_bytes()
    before = answer(model)
    for builtin in (False, True):
        assert np.abs(before - answer(changed, builtin=builtin)).max() < 1e-4 * np.abs(before).max()
    assert "SQUARED_DIFFERENCE" not in kinds(changed)
    if behind == "conv":
        assert kinds(changed)[-3 - gamma :] == ["RSQRT", *["MUL"] * (1 + gamma), "CONV_2D"]


def test_integer_files_keep_it_float():
    net = Net((5, 4), 16)
    net.conv(16)
    normalize(net, beta="add")
    net.conv(8)
    graph = Graph(model := net.model())
    rewrite("layer-norm", graph)
    changed = graph.to_bytes()
    ranges = tflite_statistics(
        changed, lambda: [np.random.default_rng(0).normal(size=(4, *graph.shape(0)[1:]))], None
    ).ranges()
    made = with_scheme(changed, SCHEMES["tflite-int8"], ranges, uint8=False)
    found = Graph(made)
    for op in found.operators:
        if found.kind(op) in ("MEAN", "SUB", "MUL", "ADD", "RSQRT"):
            assert {found.dtype(int(i)).name for i in (*op.inputs, *op.outputs)} <= {"float32", "int32"}
    truth = answer(model)
    assert np.abs(answer(made) - truth).max() < 0.15 * np.abs(truth).max()


@pytest.mark.parametrize(("shape", "places"), [((), 1), ((1,), 1), ((16,), 1), ((16, 1, 1, 1), 0), ((5, 1, 16), 0)])
def test_factors_are_one_number_or_one_of_each_channel(shape, places):
    net = Net((16, 4), 16)
    net.conv(16)
    normalize(net)
    graph = net.graph
    makers = graph.makers()
    gamma = next(
        op for op in graph.operators if graph.kind(op) == "MUL" and graph.kind(makers[op.inputs[0]]) == "RSQRT"
    )
    gamma.inputs = [gamma.inputs[0], graph.add_constant(net.random.normal(size=shape).astype(np.float32))]
    graph = Graph(model := net.model())
    assert rewrite("layer-norm", graph) == places
    if places:
        np.testing.assert_allclose(answer(graph.to_bytes()), answer(model), rtol=1e-4, atol=1e-4)


def test_what_others_read_stays():
    net = Net((5, 4), 16)
    net.conv(16)
    normalize(net)
    makers = net.graph.operators
    squared = next(op for op in makers if net.graph.kind(op) == "SQUARED_DIFFERENCE")
    net.add("ADD", [net.now, int(squared.outputs[0])], net.shape)
    assert rewrite("layer-norm", Graph(net.model())) == 0
