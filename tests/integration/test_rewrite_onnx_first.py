"""Which first convolutions of images take four columns at once, and which are left alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from onnx_rewriting import FLOAT, UINT8, OnnxNet, near, rewritten

from edgepress.converters.rewrites.onnx import convolutions
from edgepress.converters.to_onnx.graph import OnnxGraph


def image(height: int = 10, width: int = 16, channels: int = 3, *, add: Any = -3.0) -> OnnxNet:
    net = OnnxNet((height, width, channels), UINT8)
    net.add("Cast", to=FLOAT)
    net.add("Add", np.array(add, np.float32))
    net.add("Transpose", perm=[0, 3, 1, 2])
    return net


def columns(model: onnx.ModelProto) -> int:
    """Channels that the first convolution reads."""
    graph = OnnxGraph(model)
    first = next(node for node in model.graph.node if node.op_type == "Conv")
    return graph.constant(first.input[1]).shape[1]


@pytest.mark.parametrize(
    ("kernel", "options"),
    [
        ((1, 1), {}),
        ((2, 1), {}),
        ((4, 4), {"strides": [3, 4]}),
        ((2, 5), {"pads": [1, 2, 0, 2]}),
        ((5, 2), {"pads": [0, 1, 3, 0], "strides": [2, 1]}),
        ((1, 7), {"pads": [0, 3, 0, 3], "strides": [1, 2], "dilations": [1, 1], "group": 1, "auto_pad": "NOTSET"}),
        ((3, 9), {"pads": [2, 6, 1, 2]}),
        ((3, 2), {"strides": [1, 2]}),
    ],
)
@pytest.mark.parametrize("end", ["Relu", "Clip", "Sigmoid", "two"])
def test_windows_of_any_height_and_width_are_widened(kernel: tuple[int, int], options: Any, end: str) -> None:
    net = image()
    value = net.conv(5, 3, kernel, **options)
    if end == "Clip":
        net.add("Clip", np.float32(-9), np.float32(90))
    elif end == "two":
        net.add("Sub", net.add("Sigmoid", value), value)
    else:
        net.add(end)
    net.conv(2, 5, (1, 1))
    assert columns(near(net, "onnx-first-convolution")) == 12


@pytest.mark.parametrize(
    ("channels", "outputs", "kernel", "options", "places"),
    [
        (3, 64, 3, {"pads": [1] * 4}, 1),  # small, at any growth
        (3, 65, 3, {"pads": [1] * 4}, 0),
        (3, 65, 4, {"pads": [1] * 4, "strides": [2, 2]}, 1),  # three times as many products
        (3, 65, 7, {"pads": [3] * 4, "strides": [2, 2]}, 1),
        (2, 5, 3, {"pads": [1] * 4}, 1),
        (4, 5, 7, {"pads": [3] * 4, "strides": [2, 2]}, 0),  # a multiple of four without more columns
        (5, 5, 7, {"pads": [3] * 4, "strides": [2, 2]}, 1),
        (5, 5, 3, {"pads": [1] * 4}, 0),
        (8, 5, 7, {"pads": [3] * 4, "strides": [2, 2]}, 0),
        (3, 5, 7, {"auto_pad": "SAME_UPPER", "strides": [2, 2]}, 0),
        (3, 5, 3, {"pads": [2] * 4, "dilations": [2, 2]}, 0),
        (3, 5, 1, {"strides": [2, 3]}, 0),
        (3, 5, 9, {"pads": [4] * 4, "strides": [1, 8]}, 0),
        (3, 5, 3, {}, 0),  # fewer columns than are read
        (1, 6, 3, {"pads": [1] * 4, "group": 3}, 0),
    ],
)
def test_only_windows_that_gain_are_widened(
    channels: int, outputs: int, kernel: int, options: Any, places: int
) -> None:
    net = image(channels=channels * options.get("group", 1))
    net.conv(outputs, channels, (kernel, kernel), **options)
    net.conv(2, outputs, (1, 1))
    if places:
        near(net, "onnx-first-convolution")
    else:
        assert rewritten(net.model(), "onnx-first-convolution")[1] == 0


@pytest.mark.parametrize(("width", "places"), [(8, 1), (10, 0), (12, 1), (4, 1)])
def test_the_width_is_a_multiple_of_four(width: int, places: int) -> None:
    net = image(width=width)
    net.conv(5, 3, (3, 3), strides=[2, 2], pads=[0, 0, 1, 1])
    net.conv(2, 5, (1, 1))
    assert rewritten(net.model(), "onnx-first-convolution")[1] == places


@pytest.mark.parametrize(
    ("add", "places"),
    [([5.0], 1), ([[[[5.0]]]], 1), ([[[[[5.0]]]]], 0), ([1.0, 2.0, 3.0], 0), ([[[[1.0]], [[2.0]]]], 0)],
)
def test_one_number_is_added_without_more_axes(add: Any, places: int) -> None:
    """A sum of five axes, with a Reshape to four behind it, or of two different rows, has other columns."""
    net = OnnxNet((2, 16, 1), UINT8)
    net.add("Cast", to=FLOAT)
    net.add("Add", np.array(add, np.float32))
    if np.shape(add)[-1] == 3:
        net.add("Transpose", perm=[0, 3, 1, 2])
        net.conv(5, 3, (1, 1))
    else:
        net.add("Reshape", np.array([-1, 1, 2, 16]))
        net.conv(5, 1, (1, 1))
    net.conv(2, 5, (1, 1))
    if places:
        near(net, "onnx-first-convolution")
    else:
        assert rewritten(net.model(), "onnx-first-convolution")[1] == 0


@pytest.mark.parametrize(
    "steps",
    [
        [],  # channels first in the file
        ["Transpose"],
        ["Cast", "Add itself", "Turn"],
        ["Cast", "Mul", "Turn"],
        ["Cast", "Turn", "Turn"],
        ["Cast", "Transpose", "Relu"],
        ["Cast", "Turn", "Relu"],
    ],
)
def test_other_steps_before_the_first_convolution_stay(steps: list[str]) -> None:
    net = OnnxNet((3, 8, 3) if steps else (3, 8, 8), UINT8)
    for kind in [*steps, *([] if "Cast" in steps else ["Cast"])]:
        match kind:
            case "Cast":
                net.add(kind, to=FLOAT)
            case "Transpose":
                net.add(kind, perm=[0, 3, 2, 1])
            case "Turn":
                net.add("Transpose", perm=[0, 3, 1, 2])
            case "Mul":
                net.add(kind, np.float32(2))
            case "Add itself":
                net.add("Add", net.now, net.now)
            case _:
                net.add(kind)
    net.conv(5, 8 if steps.count("Turn") == 2 else 3, (1, 1))
    net.conv(2, 5, (1, 1))
    assert rewritten(net.model(), "onnx-first-convolution")[1] == 0


def test_images_of_three_colors_that_are_read_as_grey_ones_stay() -> None:
    net = OnnxNet((12, 16, 3), UINT8)
    net.add("Cast", to=FLOAT)
    net.add("Reshape", np.array([-1, 1, 12, 16]))
    net.conv(5, 1, (1, 1))
    net.conv(2, 5, (1, 1))
    assert rewritten(net.model(), "onnx-first-convolution")[1] == 0


def test_images_whose_shape_is_computed_stay() -> None:
    net = OnnxNet((12, 16, 1), UINT8)
    value = net.add("Cast", to=FLOAT)
    net.add("Reshape", value, net.add("Abs", net.constant(np.array([-1, 1, 12, 16]))))
    net.conv(5, 1, (1, 1))
    net.conv(2, 5, (1, 1))
    assert rewritten(net.model(), "onnx-first-convolution")[1] == 0


def changed(kind: str) -> onnx.ModelProto:
    """A model with another input, or other types."""
    net = image(height=12, width=16)
    net.conv(5, 3, (3, 3), pads=[1] * 4)
    net.conv(2, 5, (1, 1))
    model = net.model()
    source = model.graph.input[0]
    match kind:
        case "two inputs":
            model.graph.input.append(helper.make_tensor_value_info("more", FLOAT, [1]))
        case "float" | "int8":
            source.type.tensor_type.elem_type = FLOAT if kind == "float" else TensorProto.INT8
        case "no rank":
            source.type.tensor_type.ClearField("shape")
        case "channels" | "height" | "width":
            axis = 1 + ("height", "width", "channels").index(kind)
            source.type.tensor_type.shape.dim[axis].Clear()
        case "double":
            model.graph.node[0].attribute[0].i = TensorProto.DOUBLE
            for tensor in model.graph.initializer:
                tensor.CopyFrom(
                    onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(tensor).astype(float), tensor.name)
                )
            model.graph.output[0].type.tensor_type.elem_type = TensorProto.DOUBLE
    del model.graph.value_info[:]
    return onnx.shape_inference.infer_shapes(model)


@pytest.mark.parametrize(
    ("kind", "places"),
    [
        ("", 1),
        *((kind, 0) for kind in ("two inputs", "float", "int8", "no rank", "channels", "height", "width", "double")),
    ],
)
def test_one_input_of_bytes_of_known_size_is_widened(kind: str, places: int) -> None:
    assert rewritten(changed(kind), "onnx-first-convolution")[1] == places


def test_images_without_an_axis_for_channels_stay() -> None:
    net = OnnxNet((12, 16), UINT8)
    net.add("Cast", to=FLOAT)
    net.add("Reshape", np.array([-1, 1, 12, 16]))
    net.conv(5, 1, (1, 1))
    net.conv(2, 5, (1, 1))
    assert rewritten(net.model(), "onnx-first-convolution")[1] == 0


@pytest.mark.parametrize("end", ["Relu", ""])
def test_a_first_convolution_that_is_the_output_stays(end: str) -> None:
    net = image()
    net.conv(5, 3, (3, 3), pads=[1] * 4)
    if end:
        net.add(end)
    assert rewritten(net.model(), "onnx-first-convolution")[1] == 0


@pytest.mark.parametrize(
    "wide",
    [
        (4, 12, 3, 3),
        (15, 12, 3, 3),
        (10, 12, 3, 9),
        (10, 12, 2, 3),
        (10, 8, 3, 3),
        (10, 3, 3, 3),
        (40, 12, 3, 3),
        (5, 3, 3, 5),
    ],
)
def test_weights_of_another_size_are_no_widened_ones(wide: tuple[int, ...]) -> None:
    assert convolutions.narrow_weights(np.ones(wide, np.float32), (5, 3, 3, 5)) == []
