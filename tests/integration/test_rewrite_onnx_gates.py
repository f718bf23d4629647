"""Which hard sigmoids, pads, pools and shapes of float ONNX graphs are joined or left out, and which stay."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx_rewriting import FLOAT, OnnxNet, answer, kinds, near, rewritten

SIXTH = np.float32(1 / 6)


def steps(net: OnnxNet, change: str = "") -> None:
    """max(0, min(6, x + 3)) / 6 of a value, or with one change."""
    other, value = net.add("Sigmoid"), net.add("Neg")
    three = np.full((3, 1, 1), 3, np.float32) if change == "vector" else np.float32(3)
    match change:
        case "convolution":
            shifted = net.conv(3, 3, (1, 1))
        case "Neg":
            shifted = net.add("Neg")
        case "Sub":
            shifted = net.add("Sub", three)
        case "sum of two":
            shifted = net.add("Add", value, other)
        case _:
            shifted = net.add("Add", three)
    match change:
        case "one limit":
            net.add("Clip", np.float32(0))
        case "no limit":
            net.add("Clip")
        case "no lower limit":
            net.add("Clip", shifted, "", net.constant(np.float32(6)))
        case "other limit":
            net.add("Clip", np.float32(-1), np.float32(6))
        case _:
            net.add("Clip", np.float32(0), np.float32(6))
    clipped = net.now
    match change:
        case "Add":
            net.add("Add", SIXTH)
        case "product of two":
            net.add("Mul", net.now, other)
        case "vector factor":
            net.add("Mul", np.full((3, 1, 1), SIXTH))
        case _:
            net.add("Mul", SIXTH)
    if change == "read":
        net.add("Add", net.now, shifted)
    elif change == "read limits":
        net.add("Add", net.now, clipped)
    net.add("Neg")


@pytest.mark.parametrize(
    "change",
    ["Neg", "Sub", "sum of two", "vector", "one limit", "no limit", "no lower limit", "other limit", "Add",
     "product of two", "vector factor", "read", "read limits"],
)  # fmt: skip
def test_a_hard_sigmoid_behind_what_is_none_is_found(change: str) -> None:
    net = OnnxNet((3, 4, 5))
    steps(net, change)
    steps(net)
    steps(net, "convolution")
    near(net, "onnx-hard-sigmoid", places=2)


def test_a_convolution_that_others_read_is_no_hard_sigmoid() -> None:
    net = OnnxNet((3, 4, 5))
    value = net.conv(3, 3, (1, 1))
    net.add("Clip", np.float32(0), np.float32(6))
    net.add("Add", net.add("Mul", SIXTH), value)
    assert rewritten(net.model(), "onnx-hard-sigmoid")[1] == 0


def converted(net: OnnxNet, dtype: str, *, rank: bool = True) -> onnx.ModelProto:
    """The net in another type, or for input of unknown rank."""
    model = net.model()
    element = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.elem_type = element
        if not rank:
            value.type.tensor_type.ClearField("shape")
    for tensor in model.graph.initializer:
        if tensor.data_type == FLOAT:
            array = onnx.numpy_helper.to_array(tensor).astype(dtype)
            tensor.CopyFrom(onnx.numpy_helper.from_array(array, tensor.name))
    del model.graph.value_info[:]
    return onnx.shape_inference.infer_shapes(model)


@pytest.mark.parametrize("kind", ["", "convolution"])
@pytest.mark.parametrize(
    ("dtype", "rank", "places"), [("float32", True, 1), ("float64", True, 0), ("float32", False, 0)]
)
def test_hard_sigmoids_of_other_types_or_unknown_rank_stay(kind: str, dtype: str, rank: bool, places: int) -> None:
    net = OnnxNet((3, 4, 5))
    steps(net, kind)
    assert rewritten(converted(net, dtype, rank=rank), "onnx-hard-sigmoid")[1] == places


@pytest.mark.parametrize("kind", ["Neg", "read", "computed weights", "computed bias"])
def test_a_gate_behind_one_that_stays_becomes_part_of_its_convolution(kind: str) -> None:
    net = OnnxNet((3, 4, 5))
    if kind.startswith("computed"):
        value = net.now
        constants = [net.random.normal(size=shape).astype(np.float32) for shape in ((3, 3, 1, 1), (3,))]
        names = [net.constant(constant) for constant in constants]
        place = int(kind == "computed bias")
        names[place] = net.add("Neg", names[place])
        net.add("Conv", value, *names)
    else:
        net.conv(3, 3, (1, 1))
    value = net.now
    if kind == "Neg":
        net.add("Neg")
    net.add("HardSigmoid", alpha=0.3, beta=0.4)
    if kind == "read":
        net.add("Mul", value, net.now)
    net.conv(2, 3, (1, 2), bias=False)
    net.add("HardSigmoid")
    near(net, "onnx-hard-gates", tolerance=1e-4)


@pytest.mark.parametrize(("dtype", "places"), [("float32", 1), ("float64", 0)])
def test_gates_of_doubles_stay(dtype: str, places: int) -> None:
    net = OnnxNet((3, 4, 5))
    net.conv(3, 3, (1, 1))
    net.add("HardSigmoid")
    assert rewritten(converted(net, dtype), "onnx-hard-gates")[1] == places


# Pads.

AROUND = np.array([0, 0, 1, 2, 0, 0, 0, 3])


@pytest.mark.parametrize(
    "kind",
    ["automatic", "computed weights", "computed pads", "output", "other", "reflect", "MaxPool", "one"],
)
def test_a_pad_behind_one_that_stays_becomes_a_convolutions_own(kind: str) -> None:
    net = OnnxNet((3, 6, 7))
    value = net.now
    pads = net.constant(AROUND)
    if kind == "computed pads":
        pads = net.add("Identity", pads)
    mode = {"mode": "reflect"} if kind == "reflect" else {}
    padded = net.add("Pad", value, pads, np.float32(1 if kind == "one" else 0), **mode)
    weights = net.constant(net.random.normal(size=(4, 3, 3, 3)).astype(np.float32))
    if kind == "computed weights":
        net.add("Conv", padded, net.add("Neg", weights))
    elif kind == "MaxPool":
        net.add("MaxPool", kernel_shape=[3, 3])
        net.conv(4, 3, (1, 1))
    elif kind == "other":
        net.add("Add", net.conv(3, 3, (3, 3), pads=[1] * 4), padded)
        net.conv(4, 3, (1, 1))
    else:
        net.add("Conv", padded, weights, **({"auto_pad": "SAME_UPPER"} if kind == "automatic" else {}))
    net.add("Pad", AROUND)
    net.conv(2, 4, (2, 3), strides=[2, 1])
    model = net.model()
    if kind == "output":
        model.graph.output.append(onnx.helper.make_tensor_value_info(padded, FLOAT, ["batch", 3, 7, 12]))
    changed, made = rewritten(model, "onnx-pads")
    assert made == 1
    assert kinds(changed).count("Pad") == 1
    np.testing.assert_allclose(answer(changed, items := net.items()), answer(model, items), rtol=1e-4, atol=1e-3)


def test_a_pad_of_weights_stays() -> None:
    net = OnnxNet((3, 6, 7))
    value = net.now
    weights = net.add("Neg", net.constant(net.random.normal(size=(4, 3, 2, 2)).astype(np.float32)))
    net.add("Conv", value, net.add("Pad", weights, AROUND))
    assert rewritten(net.model(), "onnx-pads")[1] == 0


def test_a_pad_that_nothing_reads_is_not_counted() -> None:
    net = OnnxNet((3, 6, 7))
    value = net.now
    net.add("Pad", AROUND)
    net.add("Relu", value)
    assert rewritten(net.model(), "onnx-pads")[1] == 0


# Pools.


@pytest.mark.parametrize(
    ("pool", "conv", "places"),
    [
        ({}, {}, 1),
        ({"auto_pad": "VALID"}, {"auto_pad": "VALID"}, 1),
        ({"auto_pad": "NOTSET", "pads": [0] * 4}, {"pads": [0] * 4}, 1),
        ({"strides": [3, 1]}, {"strides": [1, 2]}, 1),
        ({"auto_pad": "SAME_UPPER"}, {}, 0),
        ({}, {"auto_pad": "SAME_LOWER"}, 0),
        ({}, {"pads": [0, 0, 0, 1]}, 0),
        ({}, {"kernel": (1, 2)}, 0),
        ({}, {"kernel": (2, 1)}, 0),
        ({"kernel_shape": [1, 2]}, {}, 0),
        ({"ceil_mode": 1}, {}, 0),
        ({"indices": True}, {}, 0),
    ],
)
def test_pools_of_one_value_become_strides(pool: Any, conv: Any, places: int) -> None:
    net = OnnxNet((4, 7, 9))
    pool, conv = dict(pool), dict(conv)
    indices = pool.pop("indices", False)
    net.add("MaxPool", **{"kernel_shape": [1, 1], **pool})
    if indices:
        net._nodes[-1].output.append("indices")
    net.conv(3, 4, conv.pop("kernel", (1, 1)), **conv)
    net.add("AveragePool", kernel_shape=[1, 1], strides=[2, 1])
    net.conv(2, 3, (1, 1))
    near(net, "onnx-pool-strides", places=places + 1)


@pytest.mark.parametrize("kind", ["weights", "computed weights", "line"])
def test_pools_before_other_convolutions_stay(kind: str) -> None:
    net = OnnxNet((4, 7) if kind == "line" else (4, 7, 9))
    value = net.now
    weights = net.constant(net.random.normal(size=(3, 4, 1) if kind == "line" else (3, 4, 1, 1)).astype(np.float32))
    if kind == "weights":
        net.add("Conv", value, net.add("MaxPool", net.add("Neg", weights), kernel_shape=[1, 1]))
    else:
        pooled = net.add("MaxPool", kernel_shape=[1] if kind == "line" else [1, 1])
        net.add("Conv", pooled, net.add("Neg", weights) if kind == "computed weights" else weights)
    assert rewritten(net.model(), "onnx-pool-strides")[1] == 0


# Shapes.


@pytest.mark.parametrize(
    ("shape", "chain", "places"),
    [
        ((3, 4, 5), [[-1, 3, 4, 5]], 1),
        ((3, 4, 5), [[-1, 60], [-1, 3, 20], [-1, 3, 4, 5]], 1),
        ((3, 4, 5), [[-1, 60], "Relu", [-1, 3, 4, 5]], 0),
        ((3, 4, 5), [[-1, 4, 3, 5]], 0),
        ((3, 4, 5), [[-1, 3, 4, 5], "Relu", [-1, 60], "Relu", [-1, 60]], 2),
        ((3, None, 5), [[0, 3, -1, 5]], 0),
        ((3, 4, None), [[0, 3, 4, -1]], 0),
        ((None, 4), [[0, -1, 4]], 0),
        ((6,), [[-1, 6]], 1),
        ((6,), [[-1]], 0),
    ],
)
def test_chains_of_shapes_that_end_as_they_began_are_left_out(shape: Any, chain: Any, places: int) -> None:
    net = OnnxNet(shape)
    net.add("Relu")
    for step in chain:
        if isinstance(step, str):
            net.add(step)
        else:
            net.add("Reshape", np.array(step))
    net.add("Neg")
    changed, made = rewritten(net.model(), "onnx-plain-shapes")
    assert made == places
    assert kinds(changed).count("Reshape") <= sum(not isinstance(step, str) for step in chain) - places
