"""Resizes and slices in forms that onnx2tf takes: they answer the same."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx_rewriting import OnnxNet, answer, kinds

from edgepress.converters.to_onnx.graph import attribute
from edgepress.converters.to_onnx.onnx2tf_forms import with_onnx2tf_forms

SHAPE = (3, 8, 6)
WAYS = ("half_pixel", "align_corners", "asymmetric", "pytorch_half_pixel", "half_pixel_symmetric")
ROUNDINGS = ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil")


def written(net: OnnxNet, opset: int = 17, tolerance: float = 0.0) -> onnx.ModelProto:
    """The net of one item in the forms for onnx2tf, which answers as before."""
    model = net.model(opset=opset)
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    model = onnx.shape_inference.infer_shapes(model)
    items = net.items(1)
    before = answer(model, items, optimized=False)
    changed = with_onnx2tf_forms(model)
    np.testing.assert_allclose(answer(changed, items, optimized=False), before, rtol=tolerance, atol=tolerance)
    return changed


@pytest.mark.parametrize("scale", [2.0, 3.0, 0.5, 0.75])
@pytest.mark.parametrize("rounding", ROUNDINGS)
@pytest.mark.parametrize("way", WAYS)
def test_the_nearest_pixels_are_the_same(way: str, rounding: str, scale: float) -> None:
    """onnx2tf read others in 9 of 27 cases that were tried, and made custom operations of 9."""
    net = OnnxNet(SHAPE)
    net.add("Neg")
    scales = [np.array([], np.float32), np.array([1, 1, scale, scale], np.float32)]
    options = {"coordinate_transformation_mode": way, "nearest_mode": rounding}
    net.add("Resize", *scales, mode="nearest", **options)
    opset = 19 if way == "half_pixel_symmetric" else 17
    found = [node for node in written(net, opset).graph.node if node.op_type not in ("Neg", "Identity")]
    assert {node.op_type for node in found} in ({"Resize"}, {"Gather"})
    for node in found:
        if node.op_type == "Resize":
            assert (attribute(node, "nearest_mode"), node.input[0]) == (b"floor", "Neg_0")
            assert attribute(node, "coordinate_transformation_mode") == b"asymmetric"


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, "Gather"),
        ({"mode": "linear"}, "Resize"),
        ({"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}, "Resize"),
    ],
)
def test_other_ways_stay(change: dict[str, Any], expected: str) -> None:
    """ONNX's own default is not TFLite's."""
    net = OnnxNet(SHAPE)
    empty = np.array([], np.float32)
    net.add("Resize", empty, empty, np.array([1, 3, 5, 4]), **change)
    assert expected in kinds(written(net))


@pytest.mark.parametrize("sizes", [False, True])
def test_sizes_of_some_axes_stay(sizes: bool) -> None:
    """They have no entries for the others."""
    net = OnnxNet(SHAPE)
    empty = np.array([], np.float32)
    given = [empty, np.array([5, 4])] if sizes else [np.array([0.7, 0.5], np.float32)]
    net.add("Resize", empty, *given, axes=[2, 3])
    assert "Resize" in kinds(written(net, 18))


@pytest.mark.parametrize("sizes", [[1, 6, 5, 4], [2, 3, 5, 4]])
def test_new_items_or_channels_stay(sizes: list[int]) -> None:
    net = OnnxNet(SHAPE)
    empty = np.array([], np.float32)
    net.add("Resize", empty, empty, np.array(sizes))
    assert kinds(written(net)) == ["Resize"]


def test_images_of_unknown_size_stay() -> None:
    net = OnnxNet(SHAPE)
    empty = np.array([], np.float32)
    net.add("Resize", empty, np.array([1, 1, 0.75, 0.75], np.float32))
    model = net.model()
    model.graph.input[0].type.tensor_type.shape.dim[2].Clear()
    model.graph.output[0].type.tensor_type.shape.dim[2].Clear()
    del model.graph.value_info[:]
    assert kinds(with_onnx2tf_forms(model)) == ["Resize"]


@pytest.mark.parametrize("region", [[0, 0, 0, 0, 1, 1, 1, 1], [0, 0, -0.2, 0, 1, 1, 1.2, 1]])
def test_regions_that_may_leave_the_image_stay(region: list[float]) -> None:
    """Pixels beyond it have a value of their own, which was taken for the number of a row."""
    net = OnnxNet(SHAPE)
    mode = {"coordinate_transformation_mode": "tf_crop_and_resize", "extrapolation_value": 0.0}
    net.add("Resize", np.array(region, np.float32), np.array([], np.float32), np.array([1, 3, 5, 4]), **mode)
    assert kinds(written(net)) == ["Resize"]


@pytest.mark.parametrize(
    ("slices", "gathers"),
    [
        ([(-1, -99, 3, -1)], 1),
        ([(5, 1, -1, -2), (7, -99, -2, -3)], 2),
        ([(1, 3, 1, 1), (-2, 0, 3, -1)], 2),
        ([(0, 99, 2, 1), (-1, np.iinfo(np.int64).min, 3, -1)], 1),
        ([(-100, -200, 2, -1)], 1),
        ([(-9, -200, 2, -3), (99, 0, 3, -2)], 2),
        ([(1, 7, 2, 2)], 0),
    ],
)
def test_slices_backwards_are_gathered(slices: list[tuple[int, ...]], gathers: int) -> None:
    net = OnnxNet(SHAPE)
    net.add("Slice", *(np.array(column, np.int64) for column in zip(*slices, strict=True)))
    found = kinds(written(net))
    assert found.count("Gather") == gathers
    assert ("Slice" in found) == (not gathers)


def test_slices_backwards_without_axes_are_along_the_first_ones() -> None:
    net = OnnxNet(SHAPE)
    net.add("Slice", np.array([0, 2, -1]), np.array([1, -99, 2]), np.array([0, 1, 2]), np.array([1, -1, -2]))
    model = net.model()
    items = net.items(1)
    expected = answer(model, items, optimized=False)
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    next(node for node in model.graph.node if node.op_type == "Slice").input[3] = ""
    changed = with_onnx2tf_forms(model)
    assert kinds(changed).count("Gather") == 2
    np.testing.assert_array_equal(answer(changed, items, optimized=False), expected)


@pytest.mark.parametrize("way", ["half_pixel", "asymmetric", "pytorch_half_pixel", "align_corners"])
@pytest.mark.parametrize("mode", ["linear", "cubic"])
@pytest.mark.parametrize(
    ("scales", "options", "is_uneven"),
    [
        ((1.5, 2.5), {}, False),
        ((0.5, 0.5), {}, False),
        ((1.3, 2.0), {}, True),
        ((2.0, 1.6), {}, True),
        ((0.7, 0.5), {}, True),
        ((0.5, 0.5), {"antialias": 1}, False),
        ((0.7, 0.5), {"antialias": 1}, False),
    ],
)
def test_resizes_that_tflite_lacks_become_products(
    way: str, mode: str, scales: tuple[float, float], options: dict[str, int], is_uneven: bool
) -> None:
    """TFLite counts places with the ratio of the sizes, ONNX with the scale, which rounding may make another one."""
    net = OnnxNet(SHAPE)
    factors = np.array([1, 1, *scales], np.float32)
    net.add("Resize", np.array([], np.float32), factors, mode=mode, coordinate_transformation_mode=way, **options)
    found = kinds(written(net, 18, 1e-5))
    if options or is_uneven:
        assert found.count("MatMul") == 2
        assert "Resize" not in found
    else:
        assert "MatMul" not in found


@pytest.mark.parametrize("sizes", [(12, 15), (5, 4)])
def test_resizes_to_sizes_stay(sizes: tuple[int, int]) -> None:
    net = OnnxNet(SHAPE)
    empty = np.array([], np.float32)
    net.add("Resize", empty, empty, np.array([1, 3, *sizes]), mode="linear")
    assert "MatMul" not in kinds(written(net))
