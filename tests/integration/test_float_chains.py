"""What stretches the range of values and narrows it again stays float in quantized files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rewriting import Net

from edgepress.converters.calibration import tflite_statistics
from edgepress.converters.ptq.score import runner
from edgepress.converters.schemes import SCHEMES
from edgepress.converters.to_tflite.convert import with_scheme
from edgepress.converters.to_tflite.float_layers import float_chain_names
from edgepress.converters.to_tflite.graph import Graph
from edgepress.runtime import load
from edgepress.toolkit.conversion.convert import convert

BOOL = 6
"""Of the schema's `TensorType`."""
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


def power_mean(net: Net, exponent: float = 3) -> None:
    """The cube root of the mean of cubes, of each channel."""
    positive = net.add("MAXIMUM", [net.now, np.array(1e-3, np.float32)], net.shape)
    powers = net.add("POW", [positive, np.array(exponent, np.float32)], net.shape)
    net.add("MEAN", [powers, np.array([1, 2], np.int32)], (1, 1, 1, net.shape[3]), keepDims=True)
    net.add("POW", [net.now, np.array(1 / exponent, np.float32)], net.shape)


def root_mean_square(net: Net) -> None:
    """x / sqrt(mean(x x)), of each channel."""
    source, shape = net.now, net.shape
    mean = net.add("MEAN", [net.add("MUL", [source, source], shape), np.array([1, 2], np.int32)], (1, 1, 1, shape[3]),
                   keepDims=True)  # fmt: skip
    total = net.add("ADD", [mean, np.array(1e-3, np.float32)], net.shape)
    net.add("MUL", [source, net.add("RSQRT", [total], net.shape)], shape)


def quotient_by_root(net: Net) -> None:
    """x / (sqrt(mean(x x)) + 0.001), of all channels."""
    source, shape = net.now, net.shape
    one = (*shape[:3], 1)
    mean = net.add("MEAN", [net.add("SQUARE", [source], shape), LAST], one, keepDims=True)
    root = net.add("ADD", [net.add("SQRT", [mean], one), np.array(1e-3, np.float32)], one)
    net.add("DIV", [source, root], shape)


def quotient(net: Net) -> None:
    """x / (1 + |x|)."""
    source, shape = net.now, net.shape
    net.add("DIV", [source, net.add("ADD", [net.add("ABS", [source], shape), ONE], shape)], shape)


def softmax_of(net: Net, masked: int) -> None:
    net.add("SOFTMAX", [masked], net.graph.shape(masked), beta=1.0)


def added_mask(net: Net, size: float = 1e9) -> None:
    """softmax(x + mask), with the first channel masked."""
    softmax_of(
        net, net.add("ADD", [net.now, np.where(np.arange(net.shape[3]) == 0, -size, 0).astype(np.float32)], net.shape)
    )


def selected_mask(net: Net) -> None:
    """softmax(where(mask, x, -1e9)), reshaped in between."""
    mask = net.graph.add_constant(np.arange(net.shape[3], dtype=np.int8) % 3)
    net.graph.table.tensors[mask].type = BOOL
    net.add("SELECT_V2", [mask, net.now, np.array(-1e9, np.float32)], net.shape)
    net.add("RESHAPE", [net.now, np.array(net.shape, np.int32)], net.shape)
    softmax_of(net, net.now)


def shifted_mask(net: Net) -> None:
    """softmax(where(mask, x, x - 1e9)), as Keras' Attention writes it."""
    source, shape = net.now, net.shape
    mask = net.graph.add_constant(np.arange(shape[3], dtype=np.int8) % 3)
    net.graph.table.tensors[mask].type = BOOL
    shifted = net.add("SUB", [source, np.array(1e9, np.float32)], shape)
    softmax_of(net, net.add("SELECT_V2", [mask, source, shifted], shape))


def computed_mask(net: Net) -> None:
    """softmax(x + -1e9 * m), where m is 0 or 1 for each channel of each item."""
    source, shape = net.now, net.shape
    one_or_zero = net.add("SIGN", [net.add("RELU", [net.add("SUB", [source, ONE], shape)], shape)], shape)
    mask = net.add("MUL", [one_or_zero, np.array(-1e9, np.float32)], shape)
    softmax_of(net, net.add("ADD", [source, mask], shape))


def cube(net: Net) -> None:
    """x x x, of which nothing takes a root."""
    net.add("MUL", [net.add("MUL", [net.now, net.now], net.shape), net.graph.operators[-1].inputs[0]], net.shape)


def root_of_cubes(net: Net) -> None:
    """The cube root of the mean of x x x."""
    net.add("RELU", [net.now], net.shape)
    cube(net)
    net.add("MEAN", [net.now, np.array([1, 2], np.int32)], (1, 1, 1, net.shape[3]), keepDims=True)
    net.add("MAXIMUM", [net.now, np.array(1e-3, np.float32)], net.shape)
    net.add("POW", [net.now, np.array(1 / 3, np.float32)], net.shape)


def selu(net: Net) -> None:
    """As TensorFlow writes it, with the exponential of all values."""
    source, shape = net.now, net.shape
    is_positive = net.add("GREATER", [source, np.array(0, np.float32)], shape)
    net.graph.table.tensors[is_positive].type = BOOL
    exp = net.add("SUB", [net.add("EXP", [source], shape), ONE], shape)
    small = net.add("MUL", [exp, np.array(1.76, np.float32)], shape)
    large = net.add("MUL", [source, np.array(1.05, np.float32)], shape)
    net.add("SELECT_V2", [is_positive, large, small], shape)


def log_of_shares(net: Net) -> None:
    """The logarithm of what each channel has of the sum of squares."""
    net.add("ADD", [net.add("LOGISTIC", [net.now], net.shape), ONE], net.shape)
    squares = net.add("MUL", [net.now, net.now], net.shape)
    total = net.add("SUM", [squares, LAST], (*net.shape[:-1], 1))
    net.give_options("Reducer", keepDims=True)
    net.add("DIV", [squares, total], (*net.shape[:-1], net.graph.shape(squares)[-1]))
    net.add("LOG", [net.add("MAXIMUM", [net.now, np.array(1e-3, np.float32)], net.shape)], net.shape)


def shares_of_sigmoids(net: Net) -> None:
    """What each channel has of the sum of sigmoids, as of one-vs-rest classifiers: all may be almost 0."""
    low = net.add("SUB", [net.now, np.array(30, np.float32)], net.shape)
    shares = net.add("LOGISTIC", [low], net.shape)
    total = net.add("SUM", [shares, LAST], (*net.shape[:-1], 1))
    net.give_options("Reducer", keepDims=True)
    net.add("DIV", [shares, total], (*net.shape[:-1], net.graph.shape(shares)[-1]))


FORMS: dict[Any, list[str]] = {
    softplus: ["EXP", "ADD", "LOG"],
    sigmoid: ["EXP", "ADD", "DIV"],
    softmax: ["EXP", "SUM", "DIV"],
    power_mean: ["POW", "MEAN", "POW"],
    root_mean_square: ["MUL", "MEAN", "ADD", "RSQRT"],
    quotient_by_root: ["SQUARE", "MEAN", "SQRT", "ADD", "DIV"],
    quotient: ["MUL", "ABS", "ADD", "DIV"],
    added_mask: ["ADD", "SOFTMAX"],
    selected_mask: ["SELECT_V2", "RESHAPE", "SOFTMAX"],
    shifted_mask: ["SUB", "SELECT_V2", "SOFTMAX"],
    root_of_cubes: ["MUL", "MUL", "MEAN", "MAXIMUM", "POW"],
    selu: ["EXP", "SUB", "MUL", "SELECT_V2"],
    log_of_shares: ["MUL", "SUM", "DIV", "LOG", "MAXIMUM"],
    shares_of_sigmoids: ["LOGISTIC", "SUM", "DIV"],
    elu: [],
    cube: [],
}
"""What stays float of each."""


def net_of(form: Any, *, first: bool = False) -> bytes:
    """A convolution of values up to about 10, unless the form comes first, the form, and a convolution of it."""
    net = Net((5, 4), 3)
    if not first:
        net.conv(6)
    net.add("MUL", [net.now, np.array(4, np.float32)], net.shape)
    form(net)
    net.conv(4)
    return net.model()


@pytest.mark.parametrize("form", FORMS)
def test_they_are_found(form: Any) -> None:
    graph = Graph(net_of(form))
    names = float_chain_names(graph)
    assert sorted(graph.kind(op) for op in graph.operators if graph.name(int(op.outputs[0])) in names) == sorted(
        FORMS[form]
    )


@pytest.mark.parametrize(("size", "found"), [(87.0, 0), (88.0, 2), (np.inf, 2), (np.nan, 2)])
def test_a_mask_is_larger_than_scores(size: float, found: int) -> None:
    net = Net((5, 4), 3)
    added_mask(net, size)
    assert len(float_chain_names(Graph(net.model()))) == found


def test_the_mean_of_pixels_is_no_mask() -> None:
    net = Net((5, 4), 3)
    net.add("MUL", [net.now, np.array(255, np.float32)], net.shape)
    net.add("SUB", [net.now, np.array([123.7, 116.8, 103.9], np.float32)], net.shape)
    softmax_of(net, net.now)
    assert float_chain_names(Graph(net.model())) == []


def test_masks_may_be_computed() -> None:
    net = Net((5, 4), 3)
    computed_mask(net)
    graph = Graph(net.model())
    names = float_chain_names(graph)
    assert [graph.kind(op) for op in graph.operators if graph.name(int(op.outputs[0])) in names] == [
        "MUL",
        "ADD",
        "SOFTMAX",
    ]


def test_each_way_to_an_end_is_found_once() -> None:
    """Two exponentials that one sum reads, which a logarithm and a convolution read."""
    net = Net((5, 4), 3)
    source, shape = net.conv(3), net.shape
    exps = [net.add("EXP", [net.add("MUL", [source, np.array(by, np.float32)], shape)], shape) for by in (1, 2)]
    both = net.add("ADD", exps, shape)
    log = net.add("LOG", [both], shape)
    net.now = both
    net.conv(3)
    net.add("ADD", [net.now, log], shape)
    graph = Graph(net.model())
    assert float_chain_names(graph) == [graph.name(i) for i in (*exps, both, log)]


def test_a_sum_with_another_tensor_ends_a_chain() -> None:
    """Squares of activations that are added to what a net passes on, of which a later layer takes a root."""
    net = Net((5, 4), 3)
    source, shape = net.conv(3), net.shape
    squares = net.add("SQUARE", [source], shape)
    net.add("SQRT", [net.add("ADD", [squares, source], shape)], shape)
    assert float_chain_names(Graph(net.model())) == []


def test_a_mean_may_be_a_sum_over_a_constant() -> None:
    net = Net((5, 4), 3)
    shape = net.shape
    total = net.add("SUM", [net.add("SQUARE", [net.now], shape), LAST], (*shape[:3], 1))
    net.give_options("Reducer", keepDims=True)
    net.add("SQRT", [net.add("DIV", [total, np.array(3, np.float32)], (*shape[:3], 1))], (*shape[:3], 1))
    assert len(float_chain_names(Graph(net.model()))) == 4


def test_many_ways_through_a_graph_take_no_time() -> None:
    """Each value is the sum of two ways from the one before: 2^500 ways from the exponential to the logarithm."""
    net = Net((5, 4), 3)
    shape = net.shape
    now = net.add("EXP", [net.now], shape)
    for _ in range(500):
        now = net.add("ADD", [net.add("NEG", [now], shape), net.add("ABS", [now], shape)], shape)
    net.add("LOG", [now], shape)
    assert len(float_chain_names(Graph(net.model()))) == 1502


@pytest.mark.parametrize("scheme", ["tflite-int8", "tflite-int16x8"])
@pytest.mark.parametrize("form", [form for form, kinds in FORMS.items() if kinds])
@pytest.mark.parametrize("first", [False, True])
def test_integer_files_keep_their_values(first: bool, form: Any, scheme: str) -> None:
    """Also where the input itself is stretched."""
    model = net_of(form, first=first)
    items = np.random.default_rng(0).normal(size=(64, 5, 4, 3)).astype(np.float32)
    ranges = tflite_statistics(model, lambda: [items], None).ranges()
    file = with_scheme(model, SCHEMES[scheme], ranges, {"float-chains"}, uint8=False)
    exact, answers = (np.stack([runner(each)(item) for item in items[:16]]) for each in (model, file))
    noise = np.square(answers - exact).mean()
    assert 10 * np.log10(np.square(exact - exact.mean()).mean() / noise) > 29


@pytest.mark.parametrize("least", [1e-12, 1e-6, 1e-5, 1e-3, None])
@pytest.mark.parametrize("kind", ["ADD", "MAXIMUM"])
@pytest.mark.parametrize("view", [False, True])
def test_a_product_with_an_inverse_root_of_almost_0_is_a_quotient(
    kind: str, least: float | None, *, view: bool
) -> None:
    """Of a vector and its length, as capsules have, but not that of a normalization of a layer."""
    net = Net((5, 4), 3)
    source, shape = net.conv(6), net.shape
    total = net.add("SUM", [net.add("SQUARE", [source], shape), LAST], (1, 5, 4, 1))
    net.give_options("Reducer", keepDims=True)
    if least is not None:
        total = net.add(kind, [total, np.array(least, np.float32)], (1, 5, 4, 1))
    root = net.add("RSQRT", [total], (1, 5, 4, 1))
    if view:
        root = net.add("RESHAPE", [root, np.array([1, 5, 4, 1], np.int32)], (1, 5, 4, 1))
    net.add("MUL", [source, root], shape)
    net.conv(4)
    kinds = {"SQUARE", "SUM", "RSQRT"} | ({kind} if least is not None else set())
    is_quotient = least is None or least < 1e-5
    kinds |= {"MUL"} | ({"RESHAPE"} if view else set()) if is_quotient else set()
    graph = Graph(net.model())
    names = float_chain_names(graph)
    assert {graph.kind(op) for op in graph.operators if graph.name(int(op.outputs[0])) in names} == kinds


@pytest.mark.slow
@pytest.mark.parametrize("activation", ["softplus", "mish", "log_sigmoid", "selu"])
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


@pytest.mark.parametrize("activation", ["softplus", "mish", "log_sigmoid"])
def test_activations_of_pixels_are_finite(activation: str, tmp_path: Path) -> None:
    """exp of 89 and more is infinite in float32, log(1 + exp) is not; TFLite's converter writes the latter so."""
    import keras
    from keras import layers

    keras.utils.set_random_seed(2)
    inputs = keras.Input((6, 5, 1))
    x = layers.Activation(activation)(layers.Conv2D(4, 3, padding="same")(inputs))
    outputs = layers.Dense(3, activation="softmax")(layers.GlobalAveragePooling2D()(layers.Rescaling(0.02)(x)))
    net = keras.Model(inputs, outputs)
    net.save(tmp_path / "net.keras")
    rng = np.random.default_rng(3)
    items = rng.integers(0, 256, (60, 6, 5, 1)).astype(np.uint8)
    expected = net.predict(items.astype(np.float32), verbose=0)
    np.savez(tmp_path / "data.npz", x=items, y=np.arange(60) % 3)
    for variant in convert(
        tmp_path / "net.keras", "tflite-float32,onnx-float32,tflite-int8", data=tmp_path / "data.npz"
    ):
        assert variant.path is not None, variant.error
        assert np.abs(load(variant.path).scores(items) - expected).max() < (0.06 if "int8" in variant.scheme else 1e-4)
