"""Which steps between the bytes of an image and its first convolution become part of the convolution."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from onnx_rewriting import FLOAT, UINT8, OnnxNet, kinds, near, rewritten

NUMBERS = [5.0, 0.25, 40.0]


def image(
    steps: Any, *, channels: int = 3, taken: int = 3, first: bool = False, outputs: int = 4, **options: Any
) -> OnnxNet:
    """Steps of constants of any shape, and a convolution; the constants are the first inputs, or the second."""
    net = OnnxNet((5, 6, channels), UINT8)
    net.add("Cast", to=FLOAT)
    for kind, value in steps:
        constant = np.array(value, np.float32)
        net.add(kind, *([constant, net.now] if first else [constant]))
    net.add("Transpose", perm=[0, 3, 1, 2])
    net.conv(outputs, taken // options.get("group", 1), (2, 3), **options)
    return net


@pytest.mark.parametrize("first", ["Add", "Sub", "Mul", "Div"])
@pytest.mark.parametrize("second", ["Add", "Sub", "Mul", "Div"])
@pytest.mark.parametrize("shape", [(), (1, 1, 1, 1), (3,), (1, 1, 3), (1, 1, 1, 3)])
def test_two_steps_of_pixels_become_those_of_weights(first: str, second: str, shape: tuple[int, ...]) -> None:
    size = int(np.prod(shape))
    one, two = (np.reshape(numbers[:size], shape) for numbers in (NUMBERS, [3.0, 7.0, 0.5]))
    found = kinds(near(image([(first, one), (second, two)]), "onnx-input-scale", tolerance=1e-5))
    adds = ["Add"] if {first, second} & {"Add", "Sub"} else []
    assert found == ["Transpose", "Cast", *adds, "Conv"]


@pytest.mark.parametrize("first", ["Transpose", "Cast", "Div"])
@pytest.mark.parametrize("shape", [(), (1, 3, 1, 1), (3, 1, 1)])
@pytest.mark.parametrize("pads", [False, True])
def test_pixels_may_be_turned_before_they_are_scaled(first: str, shape: tuple[int, ...], *, pads: bool) -> None:
    """As exports of PyTorch do: a division by 255, mean and deviation of each channel, and then the padding."""
    net = OnnxNet((5, 6, 3), UINT8)
    mean, deviation = (np.reshape(numbers[: int(np.prod(shape))], shape) for numbers in (NUMBERS, [3.0, 7.0, 0.5]))
    order = {"Transpose": "TCD", "Cast": "CTD", "Div": "CDT"}[first]
    for step in order:
        if step == "T":
            net.add("Transpose", perm=[0, 3, 1, 2])
        elif step == "C":
            net.add("Cast", to=TensorProto.INT32)
            net.add("Cast", to=FLOAT)
        else:
            net.add("Div", np.array(255, np.float32))
    net.add("Sub", mean.astype(np.float32))
    net.add("Div", deviation.astype(np.float32))
    if pads:
        net.add("Pad", np.array([0, 0, 1, 0, 0, 0, 0, 2]))
    net.conv(4, 3, (2, 3))
    assert kinds(near(net, "onnx-input-scale", tolerance=1e-5)) == ["Transpose", "Cast", "Add", "Conv"]


@pytest.mark.parametrize(
    "between",
    [
        [("Transpose", {"perm": [0, 3, 2, 1]})],
        [("Transpose", {"perm": [0, 3, 1, 2]}), ("Transpose", {"perm": [0, 1, 3, 2]})],
        [("Cast", {"to": TensorProto.BOOL}), ("Transpose", {"perm": [0, 3, 1, 2]})],
        [("Cast", {"to": TensorProto.INT8}), ("Transpose", {"perm": [0, 3, 1, 2]})],
        [("Transpose", {"perm": [0, 3, 1, 2]}), ("Relu", {})],
    ],
)
def test_other_turns_and_casts_of_pixels_stay(between: list[tuple[str, dict[str, Any]]]) -> None:
    net = OnnxNet((4, 4, 4), UINT8)
    for kind, options in between[:-1] if between[-1][0] == "Relu" else between:
        net.add(kind, **options)
    net.add("Cast", to=FLOAT)
    if between[-1][0] == "Relu":
        net.add("Relu")
    net.add("Mul", np.array([1, 2, 3, 4], np.float32).reshape(1, 4, 1, 1))
    net.conv(4, 4, (2, 2))
    assert rewritten(net.model(), "onnx-input-scale")[1] == 0


@pytest.mark.parametrize("what", ["Cast", "Pad"])
def test_steps_in_an_order_that_changes_more_stay(what: str) -> None:
    """A Cast that rounds what was scaled; an offset that is added to padding."""
    net = OnnxNet((4, 4, 3), UINT8)
    net.add("Cast", to=FLOAT)
    if what == "Cast":
        net.add("Mul", np.array(0.3, np.float32))
        net.add("Cast", to=TensorProto.INT32)
        net.add("Cast", to=FLOAT)
    net.add("Transpose", perm=[0, 3, 1, 2])
    if what == "Pad":
        net.add("Pad", np.array([0, 0, 1, 1, 0, 0, 1, 1]))
    net.add("Add", np.array(2, np.float32))
    net.conv(4, 3, (2, 2))
    assert rewritten(net.model(), "onnx-input-scale")[1] == 0


@pytest.mark.parametrize("shape", [(3,), (1, 1, 1, 3), (1, 1, 3, 1)])
def test_numbers_along_another_axis_than_the_turned_channels_stay(shape: tuple[int, ...]) -> None:
    net = OnnxNet((3, 3, 3), UINT8)
    net.add("Cast", to=FLOAT)
    net.add("Transpose", perm=[0, 3, 1, 2])
    net.add("Mul", np.array(NUMBERS, np.float32).reshape(shape))
    net.conv(4, 3, (2, 2))
    assert rewritten(net.model(), "onnx-input-scale")[1] == 0


@pytest.mark.parametrize("steps", [["Sub"], ["Mul", "Sub"], ["Sub", "Sub"], ["Sub", "Add"]])
def test_pixels_may_be_taken_from_numbers(steps: list[str]) -> None:
    net = image([(kind, np.array(NUMBERS) + i) for i, kind in enumerate(steps)], first=True)
    assert kinds(near(net, "onnx-input-scale", tolerance=1e-5)) == ["Transpose", "Cast", "Add", "Conv"]


@pytest.mark.parametrize(
    ("steps", "options"),
    [
        ([("Div", [5.0, 0.0, 1.0])], {}),
        ([("Mul", [5.0, 0.0, 1.0])], {}),
        ([("Mul", [5.0, np.inf, 1.0])], {}),
        ([("Add", [5.0, np.inf, 1.0])], {}),
        ([("Add", np.full((5, 1, 1), 2.0))], {}),  # one number a row
        ([("Add", np.ones((6, 3)))], {}),
        ([("Add", np.ones((6, 1)))], {}),
        ([("Mul", NUMBERS)], {"channels": 1}),  # one channel becomes three
        ([("Add", NUMBERS)], {"group": 3, "outputs": 6}),
        ([("Add", NUMBERS)], {"auto_pad": "SAME_UPPER"}),
        ([], {}),
    ],
)
def test_other_steps_of_pixels_stay(steps: Any, options: Any) -> None:
    assert rewritten(image(steps, **options).model(), "onnx-input-scale")[1] == 0


def test_sums_of_pixels_with_themselves_stay() -> None:
    net = OnnxNet((5, 6, 3), UINT8)
    net.add("Cast", to=FLOAT)
    net.add("Add", net.now, net.now)
    net.add("Transpose", perm=[0, 3, 1, 2])
    net.conv(4, 3, (2, 3))
    assert rewritten(net.model(), "onnx-input-scale")[1] == 0


@pytest.mark.parametrize("size", [3, 5])
def test_numbers_along_another_axis_as_long_as_the_channels_stay(size: int) -> None:
    net = OnnxNet((size, 3, 3), UINT8)
    net.add("Cast", to=FLOAT)
    net.add("Mul", np.array(NUMBERS, np.float32).reshape(3, 1))
    net.add("Transpose", perm=[0, 3, 1, 2])
    net.conv(4, 3, (2, 2))
    assert rewritten(net.model(), "onnx-input-scale")[1] == 0


@pytest.mark.parametrize(
    ("pads", "value", "behind", "places"),
    [
        ([0, 1, 2, 0, 0, 3, 1, 0], 0, False, 1),
        ([0, 0, 1, 2, 0, 0, 3, 1], 0, True, 1),
        ([0, 1, 2, 0, 0, 3, 1, 0], 1, False, 0),
        ([0, 0, 1, 2, 0, 0, 3, 1], 1, True, 0),
        ([0, 1, 0, 1, 0, 1, 0, 0], 0, False, 0),
        ([0, 1, 1, 0, 0, 0, 0, 0], 0, True, 0),
        ([1, 1, 1, 0, 0, 0, 0, 0], 0, False, 0),
    ],
)
@pytest.mark.parametrize("own", [{}, {"pads": [2, 0, 1, 3]}])
def test_zeros_around_pixels_become_padding(pads: Any, value: float, behind: bool, places: int, own: Any) -> None:
    net = OnnxNet((5, 6, 3), UINT8)
    net.add("Cast", to=FLOAT)
    net.add("Sub", np.array(NUMBERS, np.float32))
    if not behind:
        net.add("Pad", np.array(pads), np.float32(value))
    net.add("Transpose", perm=[0, 3, 1, 2])
    if behind:
        net.add("Pad", np.array(pads), np.float32(value))
    net.conv(4, 3 + (pads[1] if behind else pads[3]), (2, 3), **own)
    model = net.model()
    changed, made = rewritten(model, "onnx-input-scale")
    assert made == places
    if places:
        convolution = changed.graph.node[-1]
        found = next(a.ints for a in convolution.attribute if a.name == "pads")
        around = np.array(pads).reshape(2, 4)[:, 2:] if behind else np.array(pads).reshape(2, 4)[:, 1:3]
        np.testing.assert_array_equal(found, around.ravel() + own.get("pads", [0] * 4))


@pytest.mark.parametrize("behind", [True, False])
def test_both_paddings_of_pixels_are_added(behind: bool) -> None:
    net = OnnxNet((5, 6, 3), UINT8)
    net.add("Cast", to=FLOAT)
    net.add("Mul", np.array(NUMBERS, np.float32))
    net.add("Pad", np.array([0, 1, 2, 0, 0, 3, 1, 0]), np.float32(0))
    net.add("Transpose", perm=[0, 3, 1, 2])
    net.add("Pad", np.array([0, 0, 2, 1, 0, 0, 1, 0]), np.float32(0))
    net.conv(4, 3, (2, 3), **({"pads": [2, 0, 1, 3]} if behind else {}))
    assert "Pad" not in kinds(near(net, "onnx-input-scale", tolerance=1e-5))


def model_of(kind: str) -> onnx.ModelProto:
    """A model with another input, other types or other names."""
    model = image([("Sub", [5.0, 9.0, 20.0]), ("Mul", 2.0)]).model()
    source = model.graph.input[0]
    match kind:
        case "two inputs":
            model.graph.input.append(helper.make_tensor_value_info("more", FLOAT, [1]))
        case "int8":
            source.type.tensor_type.elem_type = TensorProto.INT8
        case "no rank":
            source.type.tensor_type.ClearField("shape")
        case "free channels":
            source.type.tensor_type.shape.dim[3].Clear()
        case "exact cast":
            model.graph.node[0].name = "edgepress_exact_0_cast"
        case "exact sub":
            model.graph.node[1].name = "edgepress_again_exact_0_sub"
        case "perm":
            model.graph.node[3].attribute[0].ints[:] = [0, 3, 2, 1]
        case "bias is computed":
            name = model.graph.node[4].input[2]
            model.graph.node[4].input[2] = "computed"
            model.graph.node.insert(0, helper.make_node("Identity", [name], ["computed"], "identity"))
        case "double" | "half":
            kind = "float16" if kind == "half" else "float64"
            model.graph.node[0].attribute[0].i = helper.np_dtype_to_tensor_dtype(np.dtype(kind))
            for tensor in model.graph.initializer:
                value = onnx.numpy_helper.to_array(tensor).astype(kind)
                tensor.CopyFrom(onnx.numpy_helper.from_array(value, tensor.name))
            model.graph.output[0].type.tensor_type.elem_type = model.graph.node[0].attribute[0].i
    del model.graph.value_info[:]
    return onnx.shape_inference.infer_shapes(model)


STAY = ["two inputs", "int8", "no rank", "free channels", "exact cast", "exact sub", "perm", "double", "half"]


@pytest.mark.parametrize("what", ["onnx-input-scale", "onnx-input-zero"])
@pytest.mark.parametrize(("kind", "places"), [("", 1), *((kind, 0) for kind in STAY)])
def test_bytes_that_become_float_are_scaled(kind: str, places: int, what: Any) -> None:
    assert rewritten(model_of(kind), what)[1] == places


@pytest.mark.parametrize(("what", "places"), [("onnx-input-scale", 1), ("onnx-input-zero", 0)])
def test_a_computed_bias_takes_no_offset(what: Any, places: int) -> None:
    assert rewritten(model_of("bias is computed"), what)[1] == places


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(
    ("offsets", "places"),
    [
        ([0.0, 0.0, 0.0], 1),
        ([100.0, 100.0, 148.0], 0),
        ([104.0, 136.0, 120.0], 1),  # both 16 off
        ([103.0, 137.0, 120.0], 0),
        ([120.0, 104.0, 136.5], 0),
        ([-0.4, 0.0, 0.0], 1),
        ([-0.6, -0.5, -0.7], 0),
        ([255.4, 255.0, 255.0], 1),
        ([255.6, 255.5, 255.7], 0),
    ],
)
def test_the_zero_of_pixels_is_near_a_whole_number(offsets: list[float], places: int, bias: bool) -> None:
    scale = [0.5, 2.0, 3.0]
    net = image([("Sub", offsets), ("Mul", scale)], bias=bias)
    if places:
        changed = near(net, "onnx-input-zero", tolerance=1e-4)
        whole = round(float(np.mean(offsets)))
        assert kinds(changed) == ["Transpose", "Cast", *(["Add"] if whole else []), "Conv"]
        constants = [onnx.numpy_helper.to_array(t) for t in changed.graph.initializer]
        assert not whole or any(c.ndim == 0 and c == -whole for c in constants)
    else:
        assert rewritten(net.model(), "onnx-input-zero")[1] == 0
