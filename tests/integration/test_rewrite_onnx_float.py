"""Rewrites of float ONNX graphs: shapes, hard sigmoids, pads, strides, and the scale of the input."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper
from onnx_rewriting import FLOAT, UINT8, OnnxNet, kinds, near, rewritten


def f32(*values: float, shape: tuple[int, ...] = ()) -> np.ndarray:
    return np.array(values if len(values) > 1 or shape else values[0], np.float32).reshape(
        shape or (-1,) * (len(values) > 1)
    )


def test_shapes_that_change_nothing_are_left_out() -> None:
    net = OnnxNet((6, 5, 5))
    net.add("GlobalAveragePool")
    net.add("Squeeze", np.array([2]))
    net.add("Reshape", np.array([-1, 6, 1, 1]))
    net.conv(4, 6, (1, 1))
    net.add("Reshape", np.array([-1, 4, 1, 1]))
    net.conv(3, 4, (1, 1))
    assert kinds(near(net, "onnx-plain-shapes", places=2)) == ["GlobalAveragePool", "Conv", "Conv"]


def test_shapes_that_change_something_stay() -> None:
    net = OnnxNet((6, 2, 3))
    net.add("Reshape", np.array([-1, 6, 3, 2]))
    net.add("Relu")
    net.add("Reshape", np.array([-1, 36]))
    assert rewritten(net.model(), "onnx-plain-shapes")[1] == 0


def test_the_output_keeps_its_name_and_its_reshape() -> None:
    net = OnnxNet((6,))
    net.add("Relu")
    net.add("Reshape", np.array([-1, 6]))
    assert rewritten(net.model(), "onnx-plain-shapes")[1] == 0


def branch(net: OnnxNet, value: str) -> None:
    """An If whose branches read a value from outside."""
    condition = net.add("Greater", net.add("ReduceSum", value, keepdims=0), np.float32(0))
    made = [helper.make_node(kind, [value], [f"in_{kind}"]) for kind in ("Relu", "Neg")]
    ends = [helper.make_tensor_value_info(node.output[0], FLOAT, None) for node in made]
    graphs = [helper.make_graph([node], node.op_type, [], [end]) for node, end in zip(made, ends, strict=True)]
    net.add("If", condition, then_branch=graphs[0], else_branch=graphs[1])


def test_graphs_inside_nodes_read_what_was_made_before() -> None:
    net = OnnxNet((6, 5, 5))
    net.add("Reshape", net.add("Relu"), np.array([-1, 6, 5, 5]))
    net.conv(4, 6, (1, 1))
    branch(net, net.now)
    assert kinds(near(net, "onnx-plain-shapes"))[:2] == ["Relu", "Conv"]


def test_what_graphs_inside_nodes_read_stays() -> None:
    net = OnnxNet((6, 5, 5))
    value = net.add("Reshape", net.add("Relu"), np.array([-1, 6, 5, 5]))
    branch(net, value)
    net.add("Add", net.now, value)
    assert rewritten(net.model(), "onnx-plain-shapes")[1] == 0


def add_hard_sigmoid(
    net: OnnxNet, *, shift=3.0, top=6.0, factor=1 / 6, divide=False, first=False, turned=False, shape=()
) -> None:
    shift = np.full(shape, shift, np.float32)
    net.add("Add", *([shift, net.now] if first else [shift]))
    net.add("Clip", np.float32(0), np.float32(top))
    constant = np.float32(6 if divide else factor)
    net.add("Div" if divide else "Mul", *([constant, net.now] if turned else [constant]))


@pytest.mark.parametrize("divide", [True, False])
@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("shape", [(), (1,), (1, 1, 1, 1)])
def test_three_steps_become_a_hard_sigmoid(divide: bool, first: bool, shape: tuple[int, ...]) -> None:
    net = OnnxNet((3, 4, 4))
    value = net.add("Neg", "input")
    add_hard_sigmoid(net, divide=divide, first=first, shape=shape)
    net.add("Mul", value, net.now)
    assert kinds(near(net, "onnx-hard-sigmoid")) == ["Neg", "HardSigmoid", "Mul"]


@pytest.mark.parametrize(
    "options",
    [{"shift": 2.5}, {"top": 5.0}, {"factor": 0.17}, {"divide": True, "turned": True}, {"shape": (1, 1, 1, 1, 1)}],
)
def test_other_steps_stay(options) -> None:
    net = OnnxNet((3, 4, 4))
    add_hard_sigmoid(net, **options)
    net.add("Neg")
    assert rewritten(net.model(), "onnx-hard-sigmoid")[1] == 0


@pytest.mark.parametrize("bias", [True, False])
@given(alpha=st.floats(-2, 2), beta=st.floats(-1, 1))
@settings(max_examples=10, deadline=None)
def test_hard_sigmoids_become_part_of_convolutions(bias: bool, alpha: float, beta: float) -> None:
    net = OnnxNet((3, 4, 4))
    net.conv(5, 3, (3, 3), bias=bias)
    net.add("HardSigmoid", alpha=alpha, beta=beta)
    net.conv(2, 5, (1, 1))
    assert kinds(near(net, "onnx-hard-gates", tolerance=1e-4)) == ["Conv", "Clip", "Conv"]


def test_hard_sigmoids_of_values_that_others_read_stay() -> None:
    net = OnnxNet((3, 4, 4))
    value = net.conv(5, 3, (3, 3))
    net.add("HardSigmoid", value)
    net.add("Mul", value, net.now)
    assert rewritten(net.model(), "onnx-hard-gates")[1] == 0


@pytest.mark.parametrize("more", [(0, 0, 0, 0), (1, 0, 2, 1)])
@pytest.mark.parametrize("stride", [1, 2])
def test_pads_become_the_convolutions_own(more, stride) -> None:
    net = OnnxNet((3, 7, 8))
    padded = net.add("Pad", np.array([0, 0, 1, 2, 0, 0, 0, 3]), np.float32(0))
    one = net.conv(4, 3, (3, 3), strides=[stride] * 2, pads=list(more))
    net.now = padded
    net.add("Add", one, net.conv(4, 3, (3, 3), strides=[stride] * 2, pads=list(more)))
    assert "Pad" not in kinds(near(net, "onnx-pads"))


@pytest.mark.parametrize(
    ("pads", "value", "reader"),
    [([0] * 7 + [-1], 0, "Conv"), ([0, 1, 0, 0, 0, 0, 0, 1], 0, "Conv"), ([0, 0, 1, 1] * 2, 1, "Conv"),
     ([0, 0, 1, 1] * 2, 0, "MaxPool")],
)  # fmt: skip
def test_other_pads_stay(pads, value, reader) -> None:
    net = OnnxNet((3, 6, 6))
    net.add("Pad", np.array(pads), np.float32(value))
    if reader == "Conv":
        net.conv(4, 5 if pads[1] else 3, (3, 3))
    else:
        net.add(reader, kernel_shape=[2, 2])
    assert rewritten(net.model(), "onnx-pads")[1] == 0


@pytest.mark.parametrize("kind", ["AveragePool", "MaxPool"])
@pytest.mark.parametrize("size", [(8, 8), (7, 9), (1, 4)])
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_pools_of_one_become_strides(kind, size, stride) -> None:
    net = OnnxNet((4, *size))
    net.add(kind, kernel_shape=[1, 1], strides=[2, stride])
    net.conv(3, 4, (1, 1), strides=[1, 2])
    assert kinds(near(net, "onnx-pool-strides")) == ["Conv"]


@pytest.mark.parametrize(
    "options",
    [
        {"kernel_shape": [2, 2]},
        {"kernel_shape": [1, 1], "pads": [0, 0, 1, 1]},
        {"kernel_shape": [1, 1], "ceil_mode": 1},
    ],
)
def test_other_pools_stay(options) -> None:
    net = OnnxNet((4, 7, 7))
    net.add("MaxPool", strides=[2, 2], **options)
    net.conv(3, 4, (1, 1))
    assert rewritten(net.model(), "onnx-pool-strides")[1] == 0


def pixels(steps, *, pad="", padding=1, seed=0) -> OnnxNet:
    """Normalization of an image, and a convolution."""
    net = OnnxNet((9, 8, 3), UINT8, seed=seed)
    net.add("Cast", to=FLOAT)
    for kind, value, first in steps:
        constant = np.array(value, np.float32).reshape((1, 1, 1, 3) if np.ndim(value) else ())
        net.add(kind, *([constant, net.now] if first else [constant]))
    if pad == "before":
        net.add("Pad", np.array([0, 1, 2, 0, 0, 0, 1, 0]), np.float32(0))
    net.add("Transpose", perm=[0, 3, 1, 2])
    if pad == "behind":
        net.add("Pad", np.array([0, 0, 1, 2, 0, 0, 0, 1]), np.float32(0))
    net.conv(4, 3, (3, 3), pads=[padding] * 4, strides=[2, 2])
    return net


channel = st.lists(st.floats(0.5, 100), min_size=3, max_size=3)
step = st.tuples(st.sampled_from(["Mul", "Div", "Add", "Sub"]), channel | st.floats(0.5, 100), st.booleans())


@given(steps=st.lists(step, min_size=1, max_size=4), pad=st.sampled_from(["", "before", "behind"]))
@settings(max_examples=10, deadline=None)
def test_the_scale_of_pixels_becomes_that_of_weights(steps, pad) -> None:
    steps = [(kind, value, first and kind != "Div") for kind, value, first in steps]
    found = kinds(near(pixels(steps, pad=pad), "onnx-input-scale", tolerance=1e-4))
    assert found[:2] == ["Transpose", "Cast"]
    assert found[-1] == "Conv"
    assert set(found[2:-1]) <= {"Add"}


@pytest.mark.parametrize("steps", [[], [("Div", 3.0, True)], [("Mul", [0.0, 1.0, 2.0], False)]])
def test_other_steps_of_pixels_stay(steps) -> None:
    assert rewritten(pixels(steps).model(), "onnx-input-scale")[1] == 0
