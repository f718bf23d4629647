"""Taps that only meet zeros: the same answers without them."""

from __future__ import annotations

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from hypothesis import given, settings
from hypothesis import strategies as st
from rewriting import BUILTIN, Net, answer, rewrite

from edgepress.converters.to_tflite.graph import Graph


@settings(max_examples=10)
@given(
    size=st.tuples(st.integers(1, 7), st.integers(1, 7)),
    kernel=st.tuples(st.integers(1, 7), st.integers(1, 7)),
    stride=st.sampled_from([1, 2, 3]),
    dilation=st.sampled_from([1, 2]),
    same=st.booleans(),
    depthwise=st.booleans(),
)
def test_answers_stay(size, kernel, stride, dilation, same, depthwise):
    spans = [dilation * (k - 1) + 1 for k in kernel]
    if (dilation > 1 < stride) or (not same and any(n < span for n, span in zip(size, spans, strict=True))):
        return
    net = Net(size, 3)
    build = (
        (lambda *a, **k: net.depthwise(*a, multiplier=2, **k)) if depthwise else (lambda *a, **k: net.conv(4, *a, **k))
    )
    build(kernel, stride=stride, dilation=dilation, same=same, act=1)
    graph = Graph(model := net.model())
    found = rewrite("unused-taps", graph)
    changed = graph.to_bytes()
    for builtin in (False, True):
        assert np.abs(answer(model, builtin=builtin) - answer(changed, builtin=builtin)).max() < 1e-5
    assert not (found and not same)
    assert rewrite("unused-taps", Graph(changed)) == 0


@pytest.mark.parametrize("depthwise", [True, False])
@pytest.mark.parametrize(("size", "kernel", "dilation", "left"), [
    (1, 3, 1, 1), (2, 3, 1, 3), (2, 5, 1, 3), (3, 7, 1, 5), (1, 7, 1, 1), (8, 3, 1, 3), (2, 5, 2, 1), (3, 5, 2, 3),
    (4, 5, 3, 3), (1, 2, 3, 2), (2, 4, 1, 3),
])  # fmt: skip
def test_what_is_left(size, kernel, dilation, left, depthwise):
    net = Net((size, size), 4)
    if depthwise:
        net.depthwise((kernel, kernel), dilation=dilation)
    else:
        net.conv(1, (kernel, kernel), dilation=dilation)
    graph = Graph(net.model())
    assert rewrite("unused-taps", graph) == (left != kernel)
    assert graph.shape(int(graph.operators[0].inputs[1])) == (1, left, left, 4)


@pytest.mark.parametrize(("size", "kernel"), [((1, 2), (2, 2)), ((2, 1), (3, 2)), ((1, 2), (5, 2)), ((1, 1), (2, 2))])
def test_the_built_in_kernel_of_several_threads_computes_all_results(size, kernel):
    net = Net(size, 4)
    net.conv(4, kernel)
    before = net.model()
    graph = Graph(before)
    rewrite("unused-taps", graph)
    interpreter = Interpreter(model_content=graph.to_bytes(), num_threads=2, experimental_op_resolver_type=BUILTIN)
    interpreter.allocate_tensors()
    (source,), (sink,) = interpreter.get_input_details(), interpreter.get_output_details()
    interpreter.set_tensor(source["index"], np.ones(source["shape"], np.float32))
    interpreter.invoke()
    whole = interpreter.get_tensor(sink["index"])
    interpreter = Interpreter(model_content=before)
    interpreter.allocate_tensors()
    interpreter.set_tensor(source["index"], np.ones(source["shape"], np.float32))
    interpreter.invoke()
    np.testing.assert_allclose(whole, interpreter.get_tensor(sink["index"]), atol=1e-5)
