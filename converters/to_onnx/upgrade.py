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
from edgepress.runtime.errors import first_line

QDQ_OPSET = 13
"""Per-channel QDQ begins there."""
NORM_STEPS = frozenset({"ReduceMean", "Sub", "Sqrt", "Mul"})
"""Operations in layer normalization that is written out."""


def opset_of(model: onnx.ModelProto) -> int:
    """Version of a model's standard operations."""
    return next((entry.version for entry in model.opset_import if entry.domain in STANDARD), 1)


def upgrade_model(model: onnx.ModelProto, path: Path) -> onnx.ModelProto:
    """The model in an opset that has QDQ and, if it may need that, LayerNormalization; the same object if it is in one.

    Raises:
        ConversionError: The version converter refuses a model that has no QDQ.
    """
    version = opset_of(model)
    needs_norms = version < OPSET and NORM_STEPS.issubset(node.op_type for node in model.graph.node)
    if version >= QDQ_OPSET and not needs_norms:
        return model
    try:
        newer = version_converter.convert_version(_without_pixel_statistics(model), OPSET)
    except Exception as e:
        if version >= QDQ_OPSET:
            return model
        raise ConversionError(
            f"{path} is of opset {version} and can't be converted to {OPSET}: {first_line(e)}.",
            f"Export it with opset {OPSET}.",
        ) from e
    kinds = {name: node.op_type for node in model.graph.node for name in node.output}
    graph = OnnxGraph(newer)
    if version < 11:
        _resize_as_before(graph)
    if version < QDQ_OPSET:
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
        axis = attribute(node, "axis", 1)
        if axis == -1:
            continue
        if axis > 0:  # the axes before it stay, so that the batch does not become one with others
            joined = graph.add("Reshape", [source, graph.add_constant(np.array([0] * axis + [-1], np.int64))])
        else:
            joined = graph.add("Flatten", [source], axis=axis)
        chosen = graph.add("Hardmax", [joined], axis=-1)
        graph.replace(output, "Reshape", [chosen, graph.add("Shape", [source])])
