"""What is a layer normalization and what only looks like one; which operation behind it takes its shift."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from normalizing import normalize
from rewriting import Net, answer, kinds, rewrite

from edgepress.converters.to_tflite import flatbuffer as flat
from edgepress.converters.to_tflite.flatbuffer import TYPES
from edgepress.converters.to_tflite.graph import Graph

OTHER = {
    "MEAN": "SUM",
    "NEG": "ABS",
    "SQUARED_DIFFERENCE": "SUB",
    "ADD": "SUB",
    "SUB": "ADD",
    "RSQRT": "SQRT",
    "MUL": "ADD",
}
"""A kind that takes as many tensors."""
PLACES = {"mean": "SQUARED_DIFFERENCE", "beta of Keras 2": "SUB", "gamma": "MUL", "epsilon": "ADD", "epsilons": "ADD"}
FORMS = [(gamma, beta) for gamma in (True, False) for beta in ("", "add", "sub")]


def made(gamma: bool = True, beta: str = "add") -> Net:
    net = Net((5, 4), 16)
    normalize(net, gamma=gamma, beta=beta)
    return net


def check(net: Net, count: int) -> Graph:
    """So many normalizations are written anew, and the answers stay."""
    graph = Graph(model := net.model())
    assert rewrite("layer-norm", graph) == count
    before, after = (answer(m, builtin=True) for m in (model, graph.to_bytes()))
    np.testing.assert_allclose(after, before, rtol=1e-4, atol=1e-4)
    return graph


@pytest.mark.parametrize(("gamma", "beta"), FORMS)
def test_every_part_counts(gamma, beta):
    for place in range(len(made(gamma, beta).graph.operators)):
        net = made(gamma, beta)
        graph, op = net.graph, net.graph.operators[place]
        new = graph.operator(OTHER[graph.kind(op)], op.inputs, op.outputs[0])
        graph.replace(op, new)
        assert rewrite("layer-norm", Graph(net.model())) == 0, "another kind"

        net = made(gamma, beta)
        if hasattr(net.graph.operators[place].builtinOptions, "fusedActivationFunction"):
            net.graph.operators[place].builtinOptions.fusedActivationFunction = 1
            assert rewrite("layer-norm", Graph(net.model())) == 0, "an activation"

        if place < len(net.graph.operators) - 1:
            for also in (True, False):
                net = made(gamma, beta)
                tensor = int(net.graph.operators[place].outputs[0])
                if also:
                    net.add("ADD", [net.now, tensor], net.shape)
                else:
                    net.now = tensor
                assert rewrite("layer-norm", Graph(net.model())) == 0, "what another reads, or the answer"


@pytest.mark.parametrize(("gamma", "beta"), FORMS)
def test_inputs_in_another_order(gamma, beta):
    for place, op in enumerate(made(gamma, beta).graph.operators):
        net = made(gamma, beta)
        kind, turned = net.graph.kind(op), net.graph.operators[place]
        if len(op.inputs) == 2 and kind != "MEAN":
            turned.inputs = turned.inputs[::-1]
            check(net, int(kind != "SUB"))


@pytest.mark.parametrize("size", [(), (5,), (3, 4)])
@pytest.mark.parametrize("axis", [-1, [-1], "rank - 1"])
def test_several_of_other_ranks(size, axis):
    net = Net(size, 6, batch=2)
    for beta in ("add", "sub"):
        normalize(net, beta=beta, axis=[len(size) + 1] if axis == "rank - 1" else axis)
    check(net, 2)


@pytest.mark.parametrize("place", [0, 3])
@pytest.mark.parametrize("case", ["axis", "rows", "two axes", "computed", "dims", "no options"])
def test_means_over_something_else(case, place):
    net = made()
    op = net.graph.operators[place]
    assert net.graph.kind(op) == "MEAN"
    axes = {"axis": [2], "rows": [1], "two axes": [2, 3]}
    if case in axes:
        op.inputs = [op.inputs[0], net.graph.add_constant(np.array(axes[case], np.int32))]
    elif case == "computed":
        op.inputs = [op.inputs[0], net.graph.add_tensor((1,), "axes", like=op.inputs[1])]
    elif case == "dims":
        op.builtinOptions.keepDims = False
    else:
        op.builtinOptions = None
    assert rewrite("layer-norm", Graph(net.model())) == 0


@pytest.mark.parametrize("case", ["epsilons", "epsilon", "gamma", "beta", "beta of Keras 2", "mean", "integers"])
def test_other_tensors_in_its_place(case):
    net = Net((5, 4), 16)
    other = net.conv(16)
    net.conv(16)
    normalize(net, beta="sub" if case == "beta of Keras 2" else "add")
    graph = net.graph
    op = next(op for op in graph.operators if graph.kind(op) == PLACES.get(case, "MEAN"))
    if case == "integers":
        for entry in graph.table.tensors:
            if graph.root.buffers[entry.buffer].data is None:
                entry.type = TYPES[np.dtype(np.int8)]
    elif case == "beta":
        op = graph.operators[-3]
        op.inputs = [op.inputs[0], other]
    elif case.startswith("epsilon"):
        values = graph.add_constant(np.ones(16, np.float32)) if case == "epsilons" else graph.add_tensor((), "epsilon")
        op.inputs = [op.inputs[0], values]
    elif case == "gamma":
        op.inputs = [op.inputs[0], other]
    else:
        op.inputs = [other, op.inputs[1]]
    assert rewrite("layer-norm", Graph(net.model())) == 0


@pytest.mark.parametrize(("value", "products"), [(1, 2), (0, 3), (2, 3)])
def test_factors_of_one_are_left_out(value, products):
    net = made()
    op = next(op for op in net.graph.operators if net.graph.kind(op) == "MUL")
    op.inputs = [op.inputs[0], net.graph.add_constant(np.full(16, value, np.float32))]
    assert kinds(check(net, 1).to_bytes()).count("MUL") == products


@pytest.mark.parametrize(
    ("behind", "taken"),
    [
        *(("conv", True), ("row", False), ("column", False), ("groups", False), ("two", False), ("pool", False)),
        *(("dense", True), ("flat", False), ("no bias", False), ("-1", False), ("computed bias", False)),
        *(("computed weights", False), ("integers", False)),
    ],
)
def test_what_takes_the_shift(behind, taken):
    net = made()
    normal, weights, bias = net.now, np.ones((7, 16), np.float32), np.ones(7, np.float32)
    weights[:] = net.random.normal(size=weights.shape)
    given: list[Any] = [weights, bias]
    if behind in ("conv", "row", "column", "groups"):
        kernel = {"row": (1, 2), "column": (2, 1)}.get(behind, (1, 1))
        net.conv(6, kernel, groups=2 if behind == "groups" else 1)
    elif behind == "two":
        net.add("ADD", [net.conv(16), normal], net.shape)
    elif behind == "pool":
        net.add("LOGISTIC", [normal], net.shape)
    else:
        if behind == "flat":
            given[0] = net.random.normal(size=(7, 320)).astype(np.float32)
        elif behind in ("no bias", "-1"):
            given[1:] = [-1] if behind == "-1" else []
        elif behind == "integers":
            given[0] = net.graph.add_constant(np.ones((7, 16), np.int8))
            net.graph.table.tensors[given[0]].quantization = flat.quantization([0.1], [0])
        elif behind.startswith("computed"):
            place = int(behind == "computed bias")
            half = net.graph.add_constant(given[place].astype(np.float16))
            given[place] = net.add("DEQUANTIZE", [half], given[place].shape)
        shape = (1, 7) if behind == "flat" else (1, 5, 4, 7)
        net.add("FULLY_CONNECTED", [normal, *given], shape, keepNumDims=behind != "flat")
    found = kinds(check(net, 1).to_bytes())
    after = found[found.index("RSQRT") :]
    assert ("ADD" in after[:4]) != taken
