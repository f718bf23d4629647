"""Bring an ONNX model of an old opset to one that has QDQ: `onnx`'s version converter, and what it gets wrong.

Before opset 11, Upsample and Resize place pixels as "asymmetric" does; the converter leaves the new default,
half_pixel. Before 13, Hardmax takes all axes from its own on as one; the converter leaves it as it is. It refuses
BatchNormalization with statistics for each pixel, which opset 7 and 8 know. `sources.onnx` compares the upgraded model
with the original.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
from onnx import version_converter

from edgepress.converters.errors import ConversionError
from edgepress.converters.to_onnx.convert import OPSET
from edgepress.converters.to_onnx.graph import STANDARD, OnnxGraph, attribute, set_attributes
from edgepress.converters.to_tflite.constants import finite_values
from edgepress.runtime.errors import first_line

QDQ_OPSET = 13
"""Per-channel QDQ begins there."""


def opset_of(model: onnx.ModelProto) -> int:
    """Version of a model's standard operations."""
    return next((entry.version for entry in model.opset_import if entry.domain in STANDARD), 1)


def upgrade_model(model: onnx.ModelProto, path: Path) -> onnx.ModelProto:
    """The model in an opset that has QDQ; the same object if it is in one already.

    Raises:
        ConversionError: The version converter refuses it.
    """
    version = opset_of(model)
    if version >= QDQ_OPSET:
        return model
    try:
        newer = version_converter.convert_version(_without_pixel_statistics(model), OPSET)
    except Exception as e:
        raise ConversionError(
            f"{path} is of opset {version} and can't be converted to {OPSET}: {first_line(e)}.",
            f"Export it with opset {OPSET}.",
        ) from e
    kinds = {name: node.op_type for node in model.graph.node for name in node.output}
    graph = OnnxGraph(newer)
    if version < 11:
        _resize_as_before(graph)
    _take_axes_as_one(graph, kinds)
    graph.finish()
    return newer


def _without_pixel_statistics(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with each BatchNormalization that has statistics for each pixel as a product and a sum."""
    nodes = [n for n in model.graph.node if n.op_type == "BatchNormalization" and not attribute(n, "spatial", 1)]
    if not nodes:
        return model
    plain = copy.deepcopy(model)
    graph = OnnxGraph(plain)
    for node in graph.nodes("BatchNormalization"):
        constants = [graph.constant(name) for name in node.input[1:5]]
        if attribute(node, "spatial", 1) or any(value is None for value in constants):
            continue
        scale, bias, mean, variance = (np.asarray(value, np.float64) for value in constants)
        factor = scale / np.sqrt(variance + attribute(node, "epsilon", 1e-5))
        product = graph.add("Mul", [node.input[0], graph.add_constant(factor.astype(np.float32))])
        shift = graph.add_constant((bias - mean * factor).astype(np.float32))
        graph.replace(node.output[0], "Add", [product, shift])
    graph.finish()
    return plain


def _resize_as_before(graph: OnnxGraph) -> None:
    """Place pixels as Upsample and Resize did before opset 11; ONNX Runtime takes the next one where it shrinks."""
    for node in graph.nodes("Resize"):
        scales = graph.constant(node.input[2]) if len(node.input) > 2 else None
        shrinks = scales is not None and scales.size > 0 and float(scales.min()) < 1
        set_attributes(node, coordinate_transformation_mode="asymmetric", nearest_mode="ceil" if shrinks else "floor")


def _take_axes_as_one(graph: OnnxGraph, kinds: Mapping[str, str]) -> None:
    """Let each Hardmax of the old model (`kinds` of operations by output) take its axes from its own on as one."""
    for node in graph.nodes("Hardmax"):
        source = node.input[0]
        output = node.output[0]
        if kinds.get(output) != "Hardmax":
            continue
        flat = graph.add("Flatten", [source], axis=attribute(node, "axis", 1))
        chosen = graph.add("Hardmax", [flat], axis=1)
        graph.replace(output, "Reshape", [chosen, graph.add("Shape", [source])])


def write_out(model: onnx.ModelProto) -> None:
    """Change a model, in place, into one that quantizers read rightly.

    Each Pad gets the amounts of all axes, because ONNX Runtime moves a Transpose through a Pad of some axes as if it
    had all. So do windows that are padded by "SAME_LOWER", which onnx2tf refuses. GroupNormalization becomes
    InstanceNormalization of groups, because onnx2tf computes shapes of the former when the model runs, which XNNPACK
    refuses. Infinite constants become finite (`to_tflite.constants`).
    """
    graph = OnnxGraph(model)
    for node in graph.nodes("Pad"):
        _pad_all_axes(graph, node)
    for node in graph.nodes("Conv", "MaxPool", "AveragePool"):
        _pad_below(graph, node)
    groups = [_normalize_by_instance(graph, node) for node in graph.nodes("GroupNormalization")]
    if any(groups):
        graph.finish()
    tensors = [*model.graph.initializer, *(a.t for node in graph.nodes("Constant") for a in node.attribute)]
    for tensor in tensors:
        if tensor.data_type == onnx.TensorProto.FLOAT:
            finite = finite_values(onnx.numpy_helper.to_array(tensor))
            if finite is not None:
                tensor.CopyFrom(onnx.numpy_helper.from_array(finite, tensor.name))


def _pad_all_axes(graph: OnnxGraph, node: onnx.NodeProto) -> None:
    """Write the amounts of a Pad of some axes for all."""
    shape = graph.shape(node.input[0])
    axes = graph.constant(node.input[3]) if len(node.input) > 3 else None
    amounts = graph.constant(node.input[1])
    if shape is None or axes is None or amounts is None:
        return
    pads = np.zeros((2, len(shape)), np.int64)
    pads[:, axes] = amounts.reshape(2, -1)
    graph.feed(node, 1, graph.add_constant(pads.ravel()))
    del node.input[3:]


def _pad_below(graph: OnnxGraph, node: onnx.NodeProto) -> None:
    """Write the pads of a window of "SAME_LOWER", of which the larger half lies before the values.

    Windows with dilations stay: ONNX Runtime refuses or computes them otherwise.
    """
    shape = graph.shape(node.input[0])
    kernel = attribute(node, "kernel_shape") or (graph.shape(node.input[1]) or ())[2:]
    if attribute(node, "auto_pad", b"NOTSET") != b"SAME_LOWER" or shape is None or min(shape[2:]) < 0 or not kernel:
        return
    ones = [1] * len(kernel)
    if max(attribute(node, "dilations", ones)) > 1:
        return
    windows = zip(shape[2:], kernel, attribute(node, "strides", ones), strict=True)
    pads = [max(0, (-(-size // stride) - 1) * stride + taps - size) for size, taps, stride in windows]
    set_attributes(node, auto_pad="NOTSET", pads=[*(pad - pad // 2 for pad in pads), *(pad // 2 for pad in pads)])


def _normalize_by_instance(graph: OnnxGraph, node: onnx.NodeProto) -> bool:
    """Write a GroupNormalization of items of a known shape as InstanceNormalization; whether it was."""
    source, scale, bias = node.input
    shape = graph.shape(source)
    scale_shape, bias_shape = (graph.shape(name) for name in (scale, bias))
    if graph.opset < 21 or shape is None or min(shape[1:]) < 0 or not (scale_shape == bias_shape == (shape[1],)):
        return False
    count = attribute(node, "num_groups")
    grouped = graph.add("Reshape", [source, graph.add_constant(np.array([0, count, -1]))])
    one, zero = (graph.add_constant(np.full(count, value, np.float32)) for value in (1, 0))
    normal = graph.add("InstanceNormalization", [grouped, one, zero], epsilon=attribute(node, "epsilon", 1e-5))
    whole = graph.add("Reshape", [normal, graph.add_constant(np.array([0, *shape[1:]]))])
    channels = graph.add_constant(np.array([-1, *(1 for _ in shape[2:])]))
    by_channel = [graph.add("Reshape", [name, channels]) for name in (scale, bias)]
    graph.replace(node.output[0], "Add", [graph.add("Mul", [whole, by_channel[0]]), by_channel[1]])
    return True
