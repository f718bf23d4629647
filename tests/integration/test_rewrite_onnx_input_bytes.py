"""Which operations on the bytes of an input give way to the bytes, and which only look like them."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto
from onnx_rewriting import FLOAT, UINT8, OnnxNet, answer, kinds, near, rewritten


def pixels(*views: str) -> OnnxNet:
    """The input as float, behind views of it."""
    net = OnnxNet((4, 5, 3), UINT8)
    net.add("Cast", to=FLOAT)
    for view in views:
        if view == "Reshape":
            net.add(view, np.array([-1, 2, 6, 5]))
        else:
            net.add(view, **({"perm": [0, 3, 1, 2]} if view == "Transpose" else {}))
    return net


def number(net: OnnxNet, stored: Any = 255, scale: Any = 0.5 / 255, *zero: Any) -> str:
    names = [net.constant(value) for value in (np.array(stored, np.uint8), np.array(scale, np.float32), *zero)]
    return net.add("DequantizeLinear", *names)


@pytest.mark.parametrize("views", [["Transpose", "Reshape"], ["Reshape", "Transpose"], ["Reshape"] * 3, []])
def test_bytes_are_read_through_several_views(views: list[str]) -> None:
    net = pixels(*views)
    net.quantized(1.0, 0)
    net.add("GlobalAveragePool")
    changed = near(net, "onnx-input-bytes", tolerance=0)
    assert kinds(changed) == [*views, "DequantizeLinear", "GlobalAveragePool"]


@pytest.mark.parametrize(
    "kind",
    ["two read", "Relu", "int8 zero", "no zero", "channels", "output", "bytes made inside", "int8", "int32", "scale"],
)
def test_other_bytes_stay(kind: str) -> None:
    net = OnnxNet((4, 5, 3), {"int8": TensorProto.INT8, "int32": TensorProto.INT32}.get(kind, UINT8))
    if kind == "bytes made inside":
        net.add("Cast", net.add("Sigmoid", net.add("Cast", to=FLOAT)), to=UINT8)
    net.add("Cast", to=FLOAT)
    value = net.add("Relu") if kind == "Relu" else net.add("Transpose", perm=[0, 3, 1, 2])
    if kind == "no zero":
        net.add("QuantizeLinear", np.float32(1))
        net.add("DequantizeLinear", np.float32(1))
    elif kind == "channels":
        net.quantized([1.0] * 3, [0] * 3)
    else:
        net.quantized(0.999 if kind == "scale" else 1.0, 0, np.int8 if kind == "int8 zero" else np.uint8)
    if kind == "two read":
        net.add("Add", net.now, value)
    model = net.model()
    if kind == "output":
        model.graph.node.pop()
        model.graph.output[0].name = model.graph.node[-1].output[0]
        model.graph.output[0].type.tensor_type.elem_type = UINT8
    assert rewritten(model, "onnx-input-bytes")[1] == 0


def test_bytes_that_are_the_output_stay_and_those_behind_them_are_read() -> None:
    net = pixels()
    value = net.now
    net.quantized(0.5, 0)
    other = net.add("GlobalAveragePool")
    bytes_ = net.add("QuantizeLinear", value, np.float32(1), np.uint8(0))
    net.add("Add", net.add("DequantizeLinear", bytes_, np.float32(1), np.uint8(0)), other)
    again = net.add("QuantizeLinear", value, np.float32(1), np.uint8(0))
    net.add("Add", net.add("DequantizeLinear", again, np.float32(1), np.uint8(0)), other)
    model = net.model()
    model.graph.output.append(onnx.helper.make_tensor_value_info(bytes_, UINT8, None))
    assert rewritten(model, "onnx-input-bytes")[1] == 1


def test_float_input_stays() -> None:
    net = OnnxNet((4, 5, 3))
    net.quantized(1.0, 0)
    net.add("Relu")
    net.quantized(1.0, 0)
    assert rewritten(net.model(), "onnx-input-bytes")[1] == 0


def stepped(
    kind: str, result: float, zero: int, *, first: bool = False, constant: Any = (), start: float = 1.0
) -> tuple[onnx.ModelProto, onnx.ModelProto, int, Any]:
    """A step of bytes with a number, whose result has a scale and a zero point; before and after the rewrite."""
    net = OnnxNet((1, 16, 16), UINT8)
    net.add("DequantizeLinear", np.float32(start), np.uint8(7))
    value = net.now
    term = number(net, *constant)
    net.add(kind, *((term, value) if first else (value, term)))
    net.quantized(result, zero)
    model = net.model()
    return model, *rewritten(model, "onnx-input-bytes"), net.items()


@pytest.mark.parametrize(
    ("kind", "result", "zero", "constant", "places"),
    [
        ("Mul", 0.125, 7, (255, 0.5 / 255), 1),  # without a zero point
        ("Mul", 0.125, 7, (255, 0.5 / 255, np.uint8(0)), 1),
        ("Mul", 0.125, 7, ([255], 0.5 / 255, np.array([0], np.uint8)), 1),
        ("Mul", 0.125, 7, (105, 0.5 / 100, np.uint8(5)), 1),
        ("Mul", 0.125, 8, (255, 0.5 / 255), 0),
        ("Mul", 0.125, 6, (255, 0.5 / 255), 0),
        ("Mul", 0.126, 7, (255, 0.5 / 255), 0),
        ("Mul", 0.124, 7, (255, 0.5 / 255), 0),
        ("Mul", 0.125, 7, (0, 0.5, np.uint8(1)), 0),  # by -0.5
        ("Mul", 0.125, 7, ([255, 254] * 8, 0.5 / 255), 0),
        ("Add", 0.25, 5, (1, 0.5), 1),
        ("Add", 0.25, 9, (0, 0.5, np.uint8(1)), 1),
        ("Add", 0.25, 9, (1, 0.5), 0),
        ("Add", 0.25, 5, (105, 0.005, np.uint8(5)), 1),
        ("Sub", 0.25, 9, (1, 0.5), 0),
        ("Div", 0.5, 7, (255, 0.5 / 255), 0),
        ("Max", 0.25, 5, (1, 0.5), 0),
    ],
)
def test_steps_of_bytes_of_any_scale(kind: str, result: float, zero: int, constant: Any, places: int) -> None:
    model, changed, made, items = stepped(kind, result, zero, constant=constant, start=0.25)
    assert made == places
    if places:
        assert kind not in kinds(changed)
        np.testing.assert_allclose(answer(model, items), answer(changed, items), rtol=1e-5, atol=1e-6)


def test_a_number_before_the_bytes_stays() -> None:
    assert stepped("Mul", 0.125, 7, first=True, start=0.25)[2] == 0


@pytest.mark.parametrize("kind", ["value", "no zero", "int8", "result", "result no zero", "scale", "zero"])
def test_steps_of_other_bytes_stay(kind: str) -> None:
    net = OnnxNet((1, 16, 16), UINT8)
    if kind == "int8":
        net.add("Cast", to=TensorProto.INT8)
        net.add("DequantizeLinear", np.float32(0.25), np.int8(7))
    elif kind == "no zero":
        net.add("DequantizeLinear", np.float32(0.25))
    else:
        net.add("DequantizeLinear", np.float32(0.25), np.uint8(7))
    value = net.now
    match kind:
        case "value":
            term = net.quantized(0.25, 7)
        case "scale" | "zero":
            stored, scale, zero = (net.constant(v) for v in (np.uint8(255), np.float32(0.5 / 255), np.uint8(0)))
            computed = net.add("Identity", scale if kind == "scale" else zero)
            names = (stored, computed, zero) if kind == "scale" else (stored, scale, computed)
            term = net.add("DequantizeLinear", *names)
        case _:
            term = number(net)
    net.add("Mul", value, term)
    if kind == "result no zero":
        net.add("QuantizeLinear", np.float32(0.125))
        net.add("DequantizeLinear", np.float32(0.125))
    else:
        zero = 0 if kind == "no zero" else 7
        net.quantized([0.125] if kind != "result" else [0.125] * 16, [zero] if kind != "result" else [zero] * 16)
    assert rewritten(net.model(), "onnx-input-bytes")[1] == 0
