"""Names that TensorFlow's converter joins are shortened, and stay different; those of added constants."""

from __future__ import annotations

import numpy as np
from rewriting import Net, answer

from edgepress.converters.to_tflite.graph import Graph
from edgepress.converters.to_tflite.passes import with_short_names


def test_a_layer_with_weights_names_what_it_makes_and_no_two_names_are_equal() -> None:
    net = Net((4, 4), 3)
    net.conv(4, act=1)
    first = net.now
    net.conv(4)
    second = net.now
    net.add("ADD", [first, net.now], net.shape)
    total = net.now
    net.add("RELU", [total], net.shape)
    graph, weights = net.graph, int(net.graph.operators[0].inputs[1])
    names = {
        first: "net/relu/Relu;net/bn/add_1;net/conv_1/convolution;net/bn/sub",
        second: "net/relu/Relu;net/conv_2/BiasAdd;net/conv_2/Squeeze",
        total: "net/add/add;net/other",
        weights: "net/add/add;net/conv_1/convolution",
    }
    for index, name in names.items():
        graph.table.tensors[index].name = name.encode()
    before = net.model()
    after = with_short_names(before)
    made = Graph(after)
    found = {made.kind(op): made.name(int(op.outputs[0])) for op in made.operators}
    assert [made.name(int(op.outputs[0])) for op in made.operators[:3]] == [
        "conv_1/convolution",
        "conv_2/BiasAdd",
        "add/add_1",  # its weights come first
    ]
    assert found["RELU"] == graph.name(net.now)
    every = [made.name(i) for i in range(len(made.table.tensors))]
    assert len(set(every)) == len(every)
    assert not any(";" in name for name in every)
    np.testing.assert_array_equal(answer(before), answer(after))


def test_a_constant_that_is_added_is_named_after_its_values() -> None:
    """Files of one graph, which different steps have changed, are compared by names of constants."""
    base = Net((4, 4), 3)
    base.conv(4)
    one, other = Graph(base.model()), Graph(base.model())
    zeros, ones = np.zeros(4, np.float32), np.ones((1, 2, 2, 4), np.float32)
    bias, kernel, pads = one.add_constant(zeros), other.add_constant(ones), other.add_constant(np.zeros(4, np.int32))
    again, twice = other.add_constant(zeros), other.add_constant(zeros)
    assert one.name(bias) == other.name(again)
    names = [other.name(i) for i in (kernel, pads, again, twice)]
    assert len(set(names)) == 4
    assert other.name(other.add_constant(ones.reshape(-1))) not in names
    assert one.name(one.add_constant(zeros, "given")) == "given"
    assert one.name(one.add_constant(zeros, "given")) == "given_2"
    np.testing.assert_array_equal(other.constant(kernel), ones)
