"""Which operations of 8-bit ONNX files become others, and which only look like them."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx_rewriting import FLOAT, OnnxNet, answer, kinds, near, rewritten

STEP = 0.04
COARSE = 0.08
"""Of a value that a ReLU and others read, and of the ReLU's result."""


def restored(net: OnnxNet, stored: Any, scale: Any, *zero: Any, **attributes: Any) -> str:
    """A constant of integers, dequantized."""
    names = [net.constant(value) for value in (stored, np.array(scale, np.float32), *zero)]
    return net.add("DequantizeLinear", *names, **attributes)


def convolve(net: OnnxNet, bias: str = "one scale") -> None:
    """A convolution of 8 bits; its bias is stored in several ways."""
    value = net.now
    weights = restored(net, net.random.integers(-127, 128, (4, 3, 2, 1)).astype(np.int8), 0.01, np.int8(0))
    stored = np.array([1000, -2000, 30000, 5], np.int32)
    scales = np.full(4, 0.01 * COARSE)
    match bias:
        case "":
            more = []
        case "one scale":
            more = [restored(net, stored, scales[0])]
        case "zero":
            more = [restored(net, stored, scales[0], np.int32(0))]
        case "channels":
            more = [restored(net, stored, scales * [1, 2, 3, 4], np.zeros(4, np.int32), axis=0)]
        case "large":
            more = [restored(net, np.array([2**31 - 1, -(2**31 - 1), 2**30 + 5, 0], np.int32), scales[0])]
        case "float":
            more = [net.constant(net.random.normal(size=4).astype(np.float32))]
        case _:
            more = [net.add("DequantizeLinear", net.constant(stored), net.add("Abs", net.constant(np.float32(1e-3))))]
    net.add("Conv", value, weights, *more)


def shared(
    *,
    step: Any = STEP,
    zero: Any = 120,
    coarse: Any = COARSE,
    kind: type = np.uint8,
    no_zero: str = "",
    after: str = "quantized",
) -> tuple[OnnxNet, str]:
    """A value of 8 bits, and a ReLU of it."""
    net = OnnxNet((3, 6, 5))
    pair = [np.array(step, np.float32), np.array(zero, kind)]
    if no_zero == "before":
        net.add("QuantizeLinear", pair[0])
        value = net.add("DequantizeLinear", pair[0])
    else:
        value = net.quantized(step, zero, kind)
    net.add("Relu")
    if no_zero == "behind":
        net.add("QuantizeLinear", np.float32(coarse))
        net.add("DequantizeLinear", np.float32(coarse))
    elif after == "quantized":
        net.quantized(coarse, np.zeros(np.shape(coarse)))
    return net, value


def even(net: OnnxNet) -> Any:
    """Items of even numbers of steps, which both scales hold."""
    return (net.random.integers(-60, 60, (2, *net.shape)) * COARSE).astype(np.float32)


def check(net: OnnxNet, *, tolerance: float = 1e-5) -> onnx.ModelProto:
    """The only ReLU of a net becomes a Clip, and no answer changes."""
    model, items = net.model(), even(net)
    changed, made = rewritten(model, "onnx-relu-bytes")
    assert made == 1
    assert ("Relu" in kinds(changed), "Clip" in kinds(changed)) == (False, True)
    for optimized in (True, False):
        before, found = (answer(m, items, optimized=optimized) for m in (model, changed))
        assert np.abs(before - found).max() <= tolerance * np.abs(before).max()
    return changed


@pytest.mark.parametrize("bias", ["", "one scale", "zero", "channels", "large"])
@pytest.mark.parametrize("coarse", [STEP, COARSE])
def test_biases_get_the_scale_of_the_limited_bytes(bias: str, coarse: float) -> None:
    net, _ = shared(coarse=coarse)
    convolve(net, bias)
    if bias == "large" and coarse == COARSE:
        net.add("Clip", np.float32(-1e5), np.float32(1e5))  # twice as many steps are beyond 32 bits
        net.add("Sign")
    check(net, tolerance=1e-4)


@pytest.mark.parametrize("kind", ["Add", "Mul", "Concat", "MatMul"])
@pytest.mark.parametrize("first", [True, False])
def test_what_reads_limited_bytes_with_another_value_is_kept(kind: str, first: bool) -> None:
    net, value = shared()
    limited, attributes = net.now, {"axis": 1} if kind == "Concat" else {}
    if kind == "MatMul":
        value = net.add("Transpose", value, perm=[0, 1, 3, 2])
    net.add(kind, *((limited, value) if first else (value, limited)), **attributes)
    check(net)


@pytest.mark.parametrize("kind", ["GlobalAveragePool", "two", "two restored"])
def test_all_that_reads_limited_bytes_is_kept(kind: str) -> None:
    net, value = shared()
    limited = net.now
    if kind == "GlobalAveragePool":
        net.add(kind)
    elif kind == "two":
        convolve(net)
        sums = net.add("GlobalAveragePool")
        net.add("Add", net.add("GlobalAveragePool", limited), net.add("ReduceMax", sums, axes=[1], keepdims=1))
    else:
        again = net.add("DequantizeLinear", "QuantizeLinear_3", np.float32(COARSE), np.uint8(0))
        net.add("Add", net.add("Mul", limited, value), again)
    check(net)


@pytest.mark.parametrize("zeros", ["none", "zero", "empty"])
def test_zeros_around_limited_bytes_are_bytes(zeros: str) -> None:
    net, _ = shared()
    more = {"none": [], "zero": [np.float32(0)], "empty": [""]}[zeros]
    net.add("Pad", net.now, np.array([0, 0, 1, 2, 0, 0, 0, 3]), *more)
    net.quantized(COARSE, 0)
    convolve(net)
    changed = check(net)
    graph = [node for node in changed.graph.node if node.op_type == "Pad"]
    assert [node.input[0] for node in graph] == [
        node.output[0] for node in changed.graph.node if node.op_type == "Clip"
    ]


def left(net: OnnxNet, what: Any = "onnx-relu-bytes") -> bool:
    return rewritten(net.model(), what)[1] == 0


@pytest.mark.parametrize(
    "options",
    [
        {"kind": np.int8, "zero": 20},
        {"no_zero": "before"},
        {"no_zero": "behind"},
        {"step": [STEP] * 3, "zero": [120] * 3},
        {"coarse": [COARSE] * 3},
        {"after": ""},
    ],
)
def test_relus_of_other_bytes_stay(options: Any) -> None:
    net, _ = shared(**options)
    convolve(net)
    assert left(net)


@pytest.mark.parametrize("bias", ["float", "computed"])
def test_relus_before_biases_that_cannot_get_another_scale_stay(bias: str) -> None:
    net, _ = shared()
    convolve(net, bias)
    assert left(net)


@pytest.mark.parametrize("kind", ["MaxPool", "Neg", "output", "bytes", "weights"])
def test_relus_that_others_read_stay(kind: str) -> None:
    net, value = shared()
    limited = net.now
    match kind:
        case "MaxPool":
            net.add(kind, kernel_shape=[1, 1])
        case "Neg":
            net.add("Add", net.add("GlobalAveragePool"), net.add("Neg", limited))
        case "bytes":
            net.add("Cast", "QuantizeLinear_3", to=FLOAT)
        case "weights":
            net.add("Conv", value, limited)
    assert left(net)


@pytest.mark.parametrize(
    ("options", "more"),
    [
        ({"mode": "reflect"}, []),
        ({}, [np.float32(1)]),
        ({}, ["computed"]),
        ({"behind": "Relu"}, []),
        ({"behind": "MaxPool"}, []),
    ],
)
def test_relus_before_other_pads_stay(options: Any, more: Any) -> None:
    net, _ = shared()
    value, behind = net.now, options.pop("behind", "")
    if more == ["computed"]:
        more = [net.add("Abs", net.constant(np.float32(0)))]
    net.add("Pad", value, np.array([0, 0, 1, 2, 0, 0, 0, 3]), *more, **options)
    if behind == "Relu":
        net.add(behind)
    else:
        net.quantized(COARSE, 0)
        if behind:
            net.add(behind, kernel_shape=[1, 1])
        else:
            convolve(net)
    assert left(net)


def test_a_relu_behind_one_that_stays_is_limited() -> None:
    net, _ = shared(kind=np.int8, zero=20)
    net.add("Add", np.float32(-1))
    net.quantized(STEP, 120)
    net.add("Relu")
    net.quantized(COARSE, 0)
    net.add("MaxPool", kernel_shape=[1, 1])
    value = net.quantized(STEP, 120)
    net.add("Relu")
    net.quantized(COARSE, 0)
    net.add("Add", value, net.now)
    assert rewritten(net.model(), "onnx-relu-bytes")[1] == 1


# Hard sigmoid and swish.


@pytest.mark.parametrize("dtype", [np.uint8, np.int8])
@pytest.mark.parametrize("attributes", [{}, {"alpha": 0.3}, {"beta": 0.4}])
def test_hard_sigmoids_of_either_sign_become_additions(dtype: type, attributes: Any) -> None:
    net = OnnxNet((3, 6, 5))
    net.quantized(0.04, 20, dtype)
    net.add("HardSigmoid", **attributes)
    net.quantized(1.0009 / 255, np.iinfo(dtype).min, dtype)
    changed = near(net, "onnx-quantized-hard-sigmoid", tolerance=1.01 / 255)
    assert "HardSigmoid" not in kinds(changed)


@pytest.mark.parametrize(
    ("kind", "places"),
    [("", 2), ("high", 1), ("float", 1), ("float behind", 1), ("no zero", 1), ("shared", 1), ("int8 zero", 1)],
)
def test_hard_sigmoids_behind_others_are_found(kind: str, places: int) -> None:
    net = OnnxNet((3, 6, 5))
    if kind == "float":
        net.add("Neg")
    else:
        net.quantized(0.04, 20)
    value = net.add("HardSigmoid")
    if kind == "no zero":
        net.add("QuantizeLinear", np.float32(1 / 255))
        net.add("DequantizeLinear", np.float32(1 / 255))
    elif kind == "int8 zero":
        net.quantized(1 / 255, 0, np.int8)
    elif kind != "float behind":
        net.quantized((1.0011 if kind == "high" else 1) / 255, 0)
    if kind == "shared":
        net.add("Add", value, net.now)
        net.quantized(0.01, 0)
    if kind == "float behind":
        net.add("Neg")
        net.quantized(0.01, 0)
    net.add("HardSigmoid")
    net.quantized(1 / 255, 0)
    assert rewritten(net.model(), "onnx-quantized-hard-sigmoid")[1] == places


@pytest.mark.parametrize(
    ("kind", "places"),
    [("", 2), ("float", 1), ("float gate", 1), ("float behind", 1), ("shared gate", 1), ("square", 1), ("Add", 1)],
)
def test_swishes_behind_others_are_found(kind: str, places: int) -> None:
    net = OnnxNet((3, 6, 5))
    value = net.add("Neg") if kind == "float" else net.quantized(0.04, 120)
    sigmoid = net.add("Sigmoid")
    gate = sigmoid if kind == "float gate" else net.quantized(1 / 255, 0)
    net.add("Add" if kind == "Add" else "Mul", gate if kind == "square" else value, gate)
    if kind == "float behind":
        net.add("Neg")
    net.quantized(0.04, 20)
    if kind == "shared gate":
        net.add("Add", net.now, gate)
    value = net.quantized(0.04, 20)
    net.add("Sigmoid")
    net.add("Mul", net.quantized(1 / 255, 0), value)
    net.quantized(0.04, 20)
    changed, made = rewritten(net.model(), "onnx-swish")
    assert made == places
    assert kinds(changed).count("QuickGelu") == places
