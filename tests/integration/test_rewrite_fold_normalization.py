"""Scaling of the input, in the weights of the first convolution; and one mean for all channels in integer files."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rewriting import Net, answer, kinds, rewrite

from edgepress.converters.to_tflite.graph import Graph

MEANS, STDS = np.array([123.7, 116.3, 103.5], np.float32), np.array([58.4, 57.1, 57.4], np.float32)


def change(model: bytes, *passes) -> tuple[bytes, list[int]]:
    graph = Graph(model)
    made = [rewrite(p, graph) for p in passes]
    return graph.to_bytes(), made


def pixels(model: bytes) -> np.ndarray:
    return answer(model, low=0, high=255)


def near(a: np.ndarray, b: np.ndarray) -> bool:
    return bool(np.abs(a - b).max() <= 2e-5 * max(1.0, np.abs(a).max()))


step = st.one_of(
    st.tuples(st.sampled_from(["MUL", "DIV"]), st.floats(0.25, 4), st.booleans()),
    st.tuples(st.sampled_from(["ADD", "SUB", "RSUB"]), st.floats(-3, 3), st.booleans()),
    st.tuples(st.just("GATHER"), st.just(0.0), st.booleans()),
)


@settings(max_examples=10)
@given(
    steps=st.lists(step, min_size=1, max_size=4),
    same=st.booleans(),
    stride=st.sampled_from([1, 2]),
    pad=st.booleans(),
    depthwise=st.booleans(),
)
def test_answers_stay(steps, same, stride, pad, depthwise):
    net = Net((8, 7), 3)
    for kind, value, each in steps:
        constant = np.full((1, 1, 1, 3), value, np.float32) + (np.arange(3, dtype=np.float32) / 7 if each else 0)
        constant = constant if each else constant.reshape(-1)[:1].reshape(())
        if kind == "GATHER":
            net.add("GATHER", [net.now, np.array([2, 0, 1], np.int32)], net.shape, axis=3)
        elif kind == "RSUB":
            net.add("SUB", [constant, net.now], net.shape)
        else:
            net.add(kind, [net.now, constant], net.shape)
    if pad:
        net.pad(((0, 1), (1, 2)))
    if depthwise:
        net.depthwise((3, 3), multiplier=2, stride=stride, same=same)
    else:
        net.conv(4, (3, 3), stride=stride, same=same)
    model = net.model()
    changed, (count,) = change(model, "fold-normalization")
    assert near(answer(model), answer(changed))
    if count:
        assert [k for k in kinds(changed) if k in ("MUL", "ADD", "DIV", "GATHER")] == []
        assert kinds(changed).count("SUB") <= 1


def normalized(*, same: bool, order: str = "SM", stride: int = 2, size: int = 8) -> Net:
    net = Net((size, size), 3)
    for kind in order:
        constant = {"S": MEANS, "M": 1 / STDS, "R": np.array(1 / 127.5, np.float32), "O": np.array(1, np.float32)}
        net.add("MUL" if kind in "MR" else "SUB", [net.now, constant[kind]], net.shape)
    net.conv(4, (3, 3), stride=stride, same=same)
    return net


@pytest.mark.parametrize(
    ("same", "order", "left"), [(True, "SM", 1), (False, "SM", 1), (True, "RO", 1), (True, "M", 0), (False, "R", 0)]
)
def test_what_is_left_of_usual_normalizations(same, order, left):
    model = normalized(same=same, order=order).model()
    changed, (count,) = change(model, "fold-normalization")
    assert count == len(order)
    assert kinds(changed) == ["SUB"] * left + ["CONV_2D"]
    assert near(pixels(model), pixels(changed))


@pytest.mark.parametrize(("same", "limit"), [(False, 1e-4), (True, 0.25)])
def test_one_mean_is_whole_and_exact_inside(same, limit):
    model = normalized(same=same, stride=1, size=96).model()
    changed, counts = change(model, "fold-normalization", "single-mean")
    assert counts == [2, 1]
    graph = Graph(changed)
    mean = graph.constant(int(graph.operators[0].inputs[1]))
    assert mean.size == 1
    assert mean == np.rint(MEANS.mean())
    before, after = pixels(model), pixels(changed)
    inside = slice(1, -1) if same else slice(None)
    assert near(before[:, inside, inside], after[:, inside, inside])
    assert np.abs(before - after).max() <= limit * np.abs(before).max()


@pytest.mark.parametrize("pad", [False, True])
def test_means_stay_where_many_taps_meet_the_borders(pad):
    net = Net((8, 8), 3)
    net.add("SUB", [net.now, MEANS], net.shape)
    if pad:
        net.pad([(1, 1), (1, 1)])
    net.conv(4, (3, 3), same=not pad)
    assert change(net.model(), "single-mean")[1] == [0]


def test_means_that_differ_much_stay():
    net = Net((8, 8), 3)
    net.add("SUB", [net.now, np.array([10, 100, 200], np.float32)], net.shape)
    net.conv(4, (3, 3))
    assert change(net.model(), "single-mean")[1] == [0]


@pytest.mark.parametrize("kind", ["activation", "turned", "other reader", "addition"])
def test_means_stay_that_are_taken_off_otherwise(kind):
    net = Net((8, 8), 3)
    pixels, constant = net.now, np.array([90, 100, 110], np.float32)
    inputs = [constant, pixels] if kind == "turned" else [pixels, constant]
    act = int(kind == "activation")
    net.add("ADD" if kind == "addition" else "SUB", inputs, net.shape, fusedActivationFunction=act)
    net.conv(4, (3, 3), same=False)
    if kind == "other reader":
        net.slice(pixels, net.shape)
    assert change(net.model(), "single-mean")[1] == [0]


def test_other_readers_and_activations_stop_it():
    net = Net((8, 8), 3)
    scaled = net.add("MUL", [net.now, np.array(2, np.float32)], net.shape)
    net.conv(3, (3, 3))
    net.slice(scaled, net.shape)
    assert change(net.model(), "fold-normalization")[1] == [0]
    net = Net((8, 8), 3)
    net.add("MUL", [net.now, np.array(2, np.float32)], net.shape, fusedActivationFunction=1)
    net.conv(3, (3, 3))
    assert change(net.model(), "fold-normalization")[1] == [0]


def test_a_channel_that_is_multiplied_by_nothing_stays():
    net = Net((8, 8), 3)
    net.add("MUL", [net.now, np.array([0, 1, 1], np.float32)], net.shape)
    net.conv(3, (3, 3))
    assert change(net.model(), "fold-normalization")[1] == [0]


@pytest.mark.parametrize(
    ("steps", "count"),
    [
        ((("SUB", [100] * 3), ("MUL", [0.6] * 3)), 2),
        ((("SUB", [100] * 3), ("MUL", [0.7] * 3)), 0),
        ((("MUL", [1, 1, 7]),), 1),
        ((("MUL", [1, 1, 9]),), 0),
    ],
)
def test_shifts_and_factors_that_would_cost_digits_stay(steps, count):
    net = Net((8, 8), 3)
    for kind, constant in steps:
        net.add(kind, [net.now, np.array(constant, np.float32)], net.shape)
    net.conv(4, (3, 3))
    assert change(net.model(), "fold-normalization")[1] == [count]


@pytest.mark.parametrize(
    ("means", "same", "size", "made"),
    [
        ([8.8, 9, 9.2], False, 8, 1),
        ([6.8, 7, 7.2], False, 8, 0),
        ([90, 100, 110], False, 8, 1),
        ([85, 100, 115], False, 8, 0),
        ([90, 100, 110], True, 96, 1),
        ([90, 100, 110], True, 64, 0),
    ],
)
def test_one_mean_is_near_the_others_and_most_taps_are_inside(means, same, size, made):
    net = Net((size, size), 3)
    net.add("SUB", [net.now, np.array(means, np.float32)], net.shape)
    net.conv(4, (3, 3), same=same)
    assert change(net.model(), "single-mean")[1] == [made]
