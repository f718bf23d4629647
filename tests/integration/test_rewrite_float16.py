"""Float16 files as every LiteRT takes them: biases of 16 bits beside such weights, depthwise ones of 32."""

from __future__ import annotations

import numpy as np
from rewriting import Net, answer, rewrite

from edgepress.converters.schemes import SCHEMES
from edgepress.converters.to_tflite.convert import with_scheme
from edgepress.converters.to_tflite.graph import Graph

FLOAT16 = SCHEMES["tflite-float16"]


def stored(graph: Graph, index: int) -> np.dtype:
    """The type in which a constant is stored."""
    maker = graph.makers().get(index)
    return graph.dtype(index if maker is None else int(maker.inputs[0]))


def test_weights_and_bias_of_an_operation_are_stored_alike():
    net = Net((8, 8), 8)
    net.conv(16, (3, 3), act=1)
    net.depthwise((3, 3))
    net.conv(8)
    model = net.model()
    assert rewrite("depthwise-float32", Graph(model)) == 1
    graph = Graph(with_scheme(model, FLOAT16, None, {"depthwise-float32"}, uint8=False))
    assert rewrite("float16-biases", graph) == 2
    made = graph.to_bytes()
    graph = Graph(made)
    for op in graph.operators:
        if "CONV" in graph.kind(op):
            wanted = np.float32 if graph.kind(op) == "DEPTHWISE_CONV_2D" else np.float16
            assert [stored(graph, int(i)) for i in op.inputs[1:]] == [wanted, wanted]
    truth = answer(model)
    assert np.abs(answer(made) - truth).max() < 0.01 * np.abs(truth).max()
    assert rewrite("float16-biases", graph) == 0


def test_operations_without_a_bias_stay():
    net = Net((), 8)
    net.add("FULLY_CONNECTED", [net.now, net.random.normal(size=(4, 8)).astype(np.float32)], (1, 4))
    net.add("FULLY_CONNECTED", [net.now, *(net.random.normal(size=s).astype(np.float32) for s in ((3, 4), 3))], (1, 3))
    graph = Graph(with_scheme(net.model(), FLOAT16, None, uint8=False))
    assert rewrite("float16-biases", graph) == 1


def test_a_bias_that_float16_cannot_hold_stays():
    net = Net((8, 8), 8)
    net.conv(16, (3, 3))
    bias = int(net.graph.operators[0].inputs[2])
    net.graph.operators[0].inputs[2] = net.graph.add_constant(net.graph.constant(bias) * np.float32(1e6))
    graph = Graph(with_scheme(net.model(), FLOAT16, None, uint8=False))
    assert rewrite("float16-biases", graph) == 0


def test_a_bias_that_several_operations_read_is_stored_once():
    """As those of unrolled recurrent layers are."""
    net = Net((), 8)
    weights, bias = (net.graph.add_constant(net.random.normal(size=s).astype(np.float32)) for s in ((8, 8), 8))
    for _ in range(3):
        net.add("FULLY_CONNECTED", [net.now, weights, bias], (1, 8))
    model = net.model()
    graph = Graph(with_scheme(model, FLOAT16, None, uint8=False))
    assert rewrite("float16-biases", graph) == 3
    made = graph.to_bytes()
    assert len({int(op.inputs[2]) for op in graph.operators if graph.kind(op) == "FULLY_CONNECTED"}) == 1
    assert np.abs(answer(made) - answer(model)).max() < 0.01 * np.abs(answer(model)).max()
