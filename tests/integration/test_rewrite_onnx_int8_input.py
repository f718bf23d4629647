"""Rewrites of what 8-bit ONNX files do with their input."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from onnx_rewriting import EVERY_BYTE, FLOAT, UINT8, OnnxNet, answer, kinds, near, rewritten
from pairwise import pairwise
from rewriting import rewrite

from edgepress.converters.rewrites.onnx import convolutions
from edgepress.converters.to_onnx.graph import OnnxGraph
from edgepress.converters.to_onnx.quantize import ranges_of_pixels


def image(*, height: int = 8, width: int = 8, channels: int = 3, mean: Any = 0.0, scale: Any = 1.0) -> OnnxNet:
    net = OnnxNet((height, width, channels), UINT8)
    net.add("Cast", to=FLOAT)
    for kind, value in (("Sub", mean), ("Mul", scale)):
        if np.any(value):
            net.add(kind, np.array(value, np.float32))
    net.add("Transpose", perm=[0, 3, 1, 2])
    return net


@pytest.mark.parametrize("view", ["Reshape", "Transpose"])
@pytest.mark.parametrize(("scale", "places"), [(1.0, 1), (0.5, 0)])
def test_bytes_are_read_through_a_view_of_the_input(view: str, scale: float, places: int) -> None:
    net = OnnxNet((8, 8, 1), UINT8)
    cast = net.add("Cast", to=FLOAT)
    if view == "Reshape":
        net.add(view, np.array([-1, 1, 8, 8], np.int64))
    else:
        net.add(view, perm=[0, 3, 1, 2])
    assert ranges_of_pixels(net.model(), (0.0, 255.0)) == {cast: (0.0, 255.0), net.now: (0.0, 255.0)}
    net.quantized(scale, 0)
    net.conv(4, 1, (3, 3))
    changed, made = rewritten(net.model(), "onnx-input-bytes")
    assert made == places
    if places:
        assert kinds(changed) == [view, "DequantizeLinear", "Conv"]
        near(net, "onnx-input-bytes", tolerance=0)


@pytest.mark.parametrize("mean", [0.0, 127.5, [123.68, 116.28, 103.53]])
def test_the_offset_of_pixels_becomes_one_whole_number(mean: Any) -> None:
    net = image(mean=mean, scale=[0.017, 0.018, 0.02])
    net.conv(4, 3, (3, 3))
    changed = near(net, "onnx-input-zero", tolerance=1e-4)
    whole = round(float(np.mean(mean)))
    assert kinds(changed) == ["Transpose", "Cast", *(["Add"] if whole else []), "Conv"]
    pixels = (0.0, 255.0)
    expected = {pixels, (-whole, 255.0 - whole)}
    assert set(ranges_of_pixels(changed, pixels).values()) == expected


@pytest.mark.parametrize(("scale", "ranges"), [(0.5, {(0.0, 255.0), (0.0, 127.5)}), (-0.5, {(0.0, 255.0)})])
def test_ranges_of_pixels_are_known_as_long_as_their_order_stays(
    scale: float, ranges: set[tuple[float, float]]
) -> None:
    assert set(ranges_of_pixels(image(scale=scale).model(), (0.0, 255.0)).values()) == ranges


def test_padded_pixels_are_off_by_a_few_grey_levels() -> None:
    net = image(mean=[120.0, 110.0, 100.0])
    net.conv(1, 3, (3, 3), pads=[1] * 4, bias=False)
    model = net.model()
    changed, _ = rewritten(model, "onnx-input-zero")
    off = np.abs(answer(model, items := net.items()) - answer(changed, items))[:, 0]
    weights = np.abs(numpy_helper.to_array(model.graph.initializer[-1])).sum()
    assert off[:, 1:-1, 1:-1].max() < 1e-2
    assert 1 < off.max() <= 10 * weights


@pytest.mark.parametrize(
    ("mean", "places"),
    [([101.0, 117.0, 133.0], 1), ([100.0, 117.0, 134.0], 0), (255.0, 1), (256.0, 0), (-1.0, 0)],
)
def test_offsets_that_are_far_apart_or_no_bytes_stay(mean: Any, places: int) -> None:
    net = image(mean=mean)
    net.conv(4, 3, (3, 3))
    assert rewritten(net.model(), "onnx-input-zero")[1] == places


@pytest.mark.parametrize("zero", [0, 114])
def test_bytes_are_read_as_they_are(zero: int) -> None:
    net = OnnxNet((4, 4, 3), UINT8)
    net.add("Transpose", perm=[0, 3, 1, 2])
    net.add("Cast", to=FLOAT)
    now = net.quantized(1.0, 0)
    if zero:
        net.add(
            "Add", now, net.add("DequantizeLinear", net.constant(np.uint8(0)), np.float32(zero / 255), np.uint8(255))
        )
        net.quantized(1.0, zero)
    changed = near(net, "onnx-input-bytes", places=2 if zero else 1, tolerance=0)
    assert kinds(changed) == ["Transpose", "DequantizeLinear"]


@pytest.mark.parametrize(("scale", "zero"), [(0.5, 0), (1.0, 3)])
def test_bytes_of_another_scale_stay(scale: float, zero: int) -> None:
    net = OnnxNet((4, 4, 3), UINT8)
    net.add("Cast", to=FLOAT)
    net.quantized(scale, zero)
    assert rewritten(net.model(), "onnx-input-bytes")[1] == 0


@pairwise(
    window=[(1, 1, [0, 0, 0, 0]), (2, 1, [0, 0, 1, 1]), (3, 1, [1, 1, 1, 1]), (3, 2, [0, 0, 1, 1]),
            (3, 2, [1, 1, 1, 1]), (3, 2, [1, 1, 0, 0]), (7, 2, [3, 3, 3, 3]), (7, 2, [2, 2, 3, 3]),
            (5, 2, [1, 1, 2, 2]), (4, 4, [0, 0, 0, 0]), (2, 2, [0, 0, 0, 0])],
    end=["Relu", "", "swish"],
    bias=[True, False],
)  # fmt: skip
def test_the_first_convolution_takes_four_columns(window, end, bias) -> None:
    size, stride, pads = window
    net = image(height=12, width=16, mean=100.0)
    value = net.conv(5, 3, (size, size), strides=[stride] * 2, pads=pads, bias=bias)
    if end == "Relu":
        net.add("Relu")
    elif end:
        net.add("Mul", value, net.add("Sigmoid", value))
    net.conv(2, 5, (1, 1))
    onnx_input_zero_model = net.model()
    rewrite("onnx-input-zero", onnx_input_zero_model)
    changed, made = rewritten(onnx_input_zero_model, "onnx-first-convolution")
    assert made == 1
    before, after = answer(onnx_input_zero_model, items := net.items()), answer(changed, items)
    assert before.shape == after.shape
    assert np.abs(before - after).max() <= 1e-5 * np.abs(before).max()
    plain, wide = first_weights(onnx_input_zero_model), first_weights(changed)
    again = [copies for copies in convolutions.narrow_weights(wide, plain.shape) if (copies == plain).all()]
    assert [copies.shape for copies in again] == [(4 // stride, *plain.shape)]


def first_weights(model: onnx.ModelProto) -> np.ndarray:
    graph = OnnxGraph(model)
    weights = graph.constant(next(node for node in model.graph.node if node.op_type == "Conv").input[1])
    assert weights is not None
    return weights


@pytest.mark.parametrize(
    "options",
    [{"strides": [1, 1], "pads": [1] * 4}, {"strides": [3, 3]}, {"strides": [2, 2], "pads": [0, 0, 0, 0]},
     {"strides": [2, 2], "pads": [0, 0, 1, 1], "dilations": [2, 2]}],
)  # fmt: skip
def test_other_first_convolutions_stay(options: dict[str, list[int]]) -> None:
    outputs = 65 if options.get("strides") == [1, 1] else 5
    net = image(height=12, width=16)
    net.conv(outputs, 3, (3, 3), **options)
    net.conv(2, outputs, (1, 1))
    model = net.model()
    rewrite("onnx-input-zero", model)
    assert rewritten(model, "onnx-first-convolution")[1] == 0


@pytest.mark.parametrize("kind", ["", "no convolution", "other reader", "unknown height", "unknown width"])
def test_images_that_no_first_convolution_reads_stay(kind: str) -> None:
    net = image(height=12, width=12)
    turned = net.now
    if kind != "no convolution":
        net.conv(8, 3, (3, 3), strides=[2, 2], pads=[0, 0, 1, 1])
    pooled = net.add("GlobalAveragePool")
    if kind == "other reader":
        net.add("Mul", pooled, net.add("ReduceMean", turned, axes=[1, 2, 3]))
    model = net.model()
    if kind.startswith("unknown"):
        axis = 1 if kind == "unknown height" else 2
        model.graph.input[0].type.tensor_type.shape.dim[axis].Clear()
        del model.graph.value_info[:]
        model = onnx.shape_inference.infer_shapes(model)
    rewrite("onnx-input-zero", model)
    assert rewritten(model, "onnx-first-convolution")[1] == (not kind)


@pytest.mark.parametrize(("channels", "count"), [(3, 1), (6, 0), (31, 0)])
def test_images_of_many_channels_are_widened_only_if_few_products_are_added(channels: int, count: int) -> None:
    net = image(height=12, width=16, channels=channels)
    net.conv(5, channels, (3, 3), pads=[1] * 4)
    net.conv(2, 5, (1, 1))
    model = net.model()
    rewrite("onnx-input-zero", model)
    assert rewritten(model, "onnx-first-convolution")[1] == count


@pytest.mark.parametrize(
    ("order", "size", "stride", "pads"),
    [
        ("Cast, Reshape", 5, 1, [2] * 4),
        ("Reshape, Cast", 7, 1, [3] * 4),
        ("Cast, Transpose", 3, 1, [1] * 4),
        ("Cast, Transpose", 3, 2, [0, 0, 1, 1]),
        ("Reshape, Cast, Add", 5, 1, [2] * 4),
        ("Reshape, Cast, Add", 3, 2, [0, 0, 1, 1]),
    ],
)
def test_grey_images_are_read_by_four_columns(order: str, size: int, stride: int, pads: list[int]) -> None:
    """Putting one channel first moves nothing, so that their files have a Reshape where others have a Transpose."""
    net = OnnxNet((12, 16, 1), UINT8)
    for kind in order.split(", "):
        if kind == "Cast":
            net.add("Cast", to=FLOAT)
        elif kind == "Add":
            net.add("Add", np.array(-100, np.float32))
        elif kind == "Reshape":
            net.add("Reshape", np.array([-1, 1, 12, 16], np.int64))
        else:
            net.add("Transpose", perm=[0, 3, 1, 2])
    net.conv(5, 1, (size, size), strides=[stride] * 2, pads=pads)
    net.conv(2, 5, (1, 1))
    changed = near(net, "onnx-first-convolution", tolerance=1e-5)
    first = next(node for node in changed.graph.node if node.op_type == "Conv")
    assert OnnxGraph(changed).shape(first.input[0])[1] == 4


@pytest.mark.parametrize("shape", [[-1, 1, 16, 12], [-1, 3, 12, 16], [-1, 12, 16, 1]])
def test_other_reshapes_of_the_input_stay(shape: list[int]) -> None:
    net = OnnxNet((12, 16, shape[1] if shape[1] == 3 else 1), UINT8)
    net.add("Cast", to=FLOAT)
    net.add("Reshape", np.array(shape, np.int64))
    net.conv(5, shape[1], (5, 5), pads=[2] * 4)
    net.conv(2, 5, (1, 1))
    assert rewritten(net.model(), "onnx-first-convolution")[1] == 0


@pytest.mark.parametrize(
    ("kind", "number", "zero", "off", "same"),
    [
        *(("Mul", 1 / 255, 0, off, same) for off, same in ((0, True), (9e-4, True), (2e-3, False), (0.1, False))),
        *(("Add", -37.0, 37, off, same) for off, same in ((0, True), (9e-4, True), (2e-3, False), (0.1, False))),
        *(("Add", number, 37, 0, True) for number in (-37.4, -36.6)),
        *(("Add", number, 37, 0, False) for number in (-37.6, -36.4)),
    ],
)  # fmt: skip
def test_a_factor_or_a_shift_of_bytes_is_a_change_of_scale(
    kind: str, number: float, zero: int, off: float, same: bool
) -> None:
    net = OnnxNet((1, 16, 16), UINT8)
    net.add("Cast", to=FLOAT)
    net.quantized(1.0, 0)
    bytes_ = net.now
    constant = np.array(255 if number > 0 else 0, np.uint8)
    step, middle = np.array(abs(number) / (255 if number > 0 else 1), np.float32), np.array(number < 0, np.uint8)
    restored = net.add("DequantizeLinear", *(net.constant(value) for value in (constant, step, middle)))
    net.add(kind, bytes_, restored)
    net.quantized((number if kind == "Mul" else 1.0) * (1 + off), zero)
    changed, made = rewritten(model := net.model(), "onnx-input-bytes")
    assert made == 1 + same
    before, after = (answer(m, EVERY_BYTE) for m in (model, changed))
    np.testing.assert_allclose(before, after, rtol=1e-5, atol=1e-6)
    assert (kind in kinds(changed)) != same, "another scale or zero point is left alone"
