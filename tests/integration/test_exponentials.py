"""What lies between an exponential and a logarithm or a quotient stays float in quantized files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx_rewriting import OnnxNet
from rewriting import Net

from edgepress.converters.calibration import tflite_statistics
from edgepress.converters.ptq.score import runner
from edgepress.converters.schemes import SCHEMES
from edgepress.converters.to_onnx.exponentials import exponential_nodes
from edgepress.converters.to_onnx.graph import OnnxGraph
from edgepress.converters.to_tflite.convert import with_scheme
from edgepress.converters.to_tflite.exponentials import exponential_names
from edgepress.converters.to_tflite.graph import Graph
from edgepress.toolkit.conversion import convert

ONE = np.array(1, np.float32)
LAST = np.array([3], np.int32)


def softplus(net: Net) -> None:
    """log(1 + exp(x))."""
    net.add("LOG", [net.add("ADD", [net.add("EXP", [net.now], net.shape), ONE], net.shape)], net.shape)


def sigmoid(net: Net) -> None:
    """1 / (1 + exp(-x))."""
    negated = net.add("NEG", [net.now], net.shape)
    net.add("DIV", [ONE, net.add("ADD", [net.add("EXP", [negated], net.shape), ONE], net.shape)], net.shape)


def softmax(net: Net) -> None:
    """exp(x) / sum(exp(x))."""
    exp = net.add("EXP", [net.now], net.shape)
    total = net.add("SUM", [exp, LAST], (*net.shape[:-1], 1))
    net.give_options("Reducer", keepDims=True)
    net.add("DIV", [exp, total], (*net.shape[:-1], net.graph.shape(exp)[-1]))


def elu(net: Net) -> None:
    """exp(x) - 1 of what is below zero, which is as small as x."""
    small = net.add("MINIMUM", [net.now, np.array(0, np.float32)], net.shape)
    net.add("SUB", [net.add("EXP", [small], net.shape), ONE], net.shape)


FORMS: dict[Any, list[str]] = {
    softplus: ["EXP", "ADD", "LOG"],
    sigmoid: ["EXP", "ADD", "DIV"],
    softmax: ["EXP", "SUM", "DIV"],
    elu: [],
}
"""What stays float of each."""


def net_of(form: Any) -> bytes:
    """A convolution of values up to about 10, the form, and a convolution of it."""
    net = Net((5, 4), 3)
    net.conv(6)
    net.add("MUL", [net.now, np.array(4, np.float32)], net.shape)
    form(net)
    net.conv(4)
    return net.model()


@pytest.mark.parametrize("form", FORMS)
def test_they_are_found(form: Any) -> None:
    graph = Graph(net_of(form))
    names = exponential_names(graph)
    assert sorted(graph.kind(op) for op in graph.operators if graph.name(int(op.outputs[0])) in names) == sorted(
        FORMS[form]
    )


def test_each_way_to_an_end_is_found_once() -> None:
    """Two exponentials that one sum reads, which a logarithm and a convolution read."""
    net = Net((5, 4), 3)
    source, shape = net.now, net.shape
    exps = [net.add("EXP", [net.add("MUL", [source, np.array(by, np.float32)], shape)], shape) for by in (1, 2)]
    both = net.add("ADD", exps, shape)
    log = net.add("LOG", [both], shape)
    net.now = both
    net.conv(3)
    net.add("ADD", [net.now, log], shape)
    graph = Graph(net.model())
    assert sorted(exponential_names(graph)) == sorted(graph.name(i) for i in (*exps, both, log))


@pytest.mark.parametrize("scheme", ["tflite-int8", "tflite-int16x8"])
@pytest.mark.parametrize("form", FORMS)
def test_integer_files_keep_their_values(form: Any, scheme: str) -> None:
    model = net_of(form)
    items = np.random.default_rng(0).normal(size=(64, 5, 4, 3)).astype(np.float32)
    ranges = tflite_statistics(model, lambda: [items], None).ranges()
    file = with_scheme(model, SCHEMES[scheme], ranges, uint8=False)
    exact, answers = (np.stack([runner(each)(item) for item in items[:16]]) for each in (model, file))
    noise = np.square(answers - exact).mean()
    assert 10 * np.log10(np.square(exact - exact.mean()).mean() / noise) > 30


@pytest.mark.parametrize("end", ["Log", "Div", "Reciprocal", "Tanh", ""])
def test_nodes_of_onnx_are_found(end: str) -> None:
    net = OnnxNet((3, 8, 8))
    net.add("Exp")
    net.add("Add", ONE)
    net.add("ReduceSum", np.array([1]), keepdims=1)
    if end:
        net.add(end, *([ONE, net.now] if end == "Div" else []))
    model = net.model()
    for number, node in enumerate(model.graph.node):
        node.name = str(number)
    names = exponential_nodes(OnnxGraph(model))
    assert names == (["0", "1", "2", "3"] if end in ("Log", "Div", "Reciprocal") else [])


@pytest.mark.slow
@pytest.mark.parametrize("activation", ["softplus", "mish", "log_sigmoid"])
def test_activations_of_keras_keep_their_accuracy(activation: str, tmp_path: Path) -> None:
    """Inputs of the activation up to about 10; exp(10) is 22,000."""
    import keras
    from keras import layers

    keras.utils.set_random_seed(2)
    inputs = keras.Input((8, 8, 1))
    x = layers.Rescaling(1 / 16)(inputs)
    for stride in (1, 2):
        x = layers.Activation(activation)(layers.Conv2D(8, 3, stride, padding="same")(x))
    keras.Model(inputs, layers.Dense(4)(layers.GlobalAveragePooling2D()(x))).save(tmp_path / "net.keras")
    rng = np.random.default_rng(3)
    items = (rng.uniform(0, 256, (2, 80, 1, 1, 1)) * rng.uniform(0.2, 1, (2, 80, 8, 8, 1))).astype(np.uint8)
    labels = np.arange(80) % 4
    np.savez(tmp_path / "data.npz", x_train=items[0], x_test=items[1], y_train=labels, y_test=labels)
    schemes = "tflite-int8,tflite-int16x8,onnx-int8"
    for variant in convert(tmp_path / "net.keras", schemes, out=tmp_path / "files", data=tmp_path / "data.npz"):
        assert variant.status == "ok", variant.error
        assert variant.verification is not None
        assert variant.verification.sqnr_db > 25
        assert not any("ADD" in note.upper() for note in variant.notes)
