"""Forms of ONNX operations that other exporters use, `ai.onnx.ml` among them, written as quantizers read them rightly.

* A Pad gets the amounts of all axes: ONNX Runtime moves a Transpose through a Pad of some axes as if it had all.
* An AveragePool that counts its pads and has more places at the end gets them from a Pad: ONNX Runtime's of 8 bits
  divides by other numbers than its float one.
* GroupNormalization becomes InstanceNormalization of groups, which quantizers know.
* A cubic Resize that shrinks becomes products with matrices: between integer convolutions, ONNX Runtime moves a
  Transpose through it, and then refuses it (`to_onnx.products`).
* A ConvTranspose in groups gets its bias from an Add: ONNX Runtime's quantizer takes the scales of one group for it.
* Einsum of a tensor and constant weights becomes MatMul: quantizers leave it in float (`to_onnx.products`).
* A scatter that adds at constant places becomes a product (`to_onnx.products`).
* Infinite masks become finite (`to_tflite.constants`).

Operations of classical machine learning (`ai.onnx.ml`) that are layers of a network, written as such.

scikit-learn's networks and linear models arrive with them: a Scaler in front, a LinearClassifier, and a Normalizer that
makes shares of its outputs. Others choose features, or tell which are above a threshold. Trees, support vectors and
neighbours are no networks, and stay.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx

from edgepress.converters.to_onnx.convert import OPSET
from edgepress.converters.to_onnx.graph import STANDARD, OnnxGraph, attribute, set_attributes
from edgepress.converters.to_onnx.products import SCATTERS, is_sum, write_einsums, write_shrinking, write_sums
from edgepress.converters.to_tflite.constants import finite_values

MASKING = ("Add", "Sub", "Where", "Pad")
"""Operations whose constants may be masks; a bound of a Clip is none."""
OTHERS = ("GroupNormalization", "Einsum")


def with_plain_forms(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy of a model with these forms written out; the same object if it has none.

    Operations stay where shapes are not known.

    Raises:
        Exception: An operation is not valid, in one of many ways.
    """
    graph = OnnxGraph(model)
    kinds = (*MASKING, *OTHERS, "AveragePool", "ConvTranspose", "Resize", *SCATTERS)
    if not any(_has_other_form(graph, node) for node in graph.nodes(*kinds)):
        return model
    plain = copy.deepcopy(model)
    graph = OnnxGraph(plain)
    _make_finite(graph)
    for node in graph.nodes("Pad"):
        _pad_all_axes(graph, node)
    for node in graph.nodes("AveragePool"):
        _pad_before(graph, node)
    for node in graph.nodes("GroupNormalization"):
        _normalize_by_instance(graph, node)
    for node in graph.nodes("ConvTranspose"):
        _add_bias(graph, node)
    for node in graph.nodes("Resize"):
        write_shrinking(graph, node)
    write_einsums(graph)
    write_sums(graph)
    graph.finish()
    return plain


def _has_other_form(graph: OnnxGraph, node: onnx.NodeProto) -> bool:
    """Whether a node may have one of these forms."""
    if node.op_type in MASKING:
        constants = [values for name in node.input if (values := graph.constant(name)) is not None]
        if any(finite_values(values) is not None for values in constants):
            return True
    if node.op_type == "AveragePool":
        return bool(attribute(node, "ceil_mode", 0))
    if node.op_type == "ConvTranspose":
        return _has_bias_of_groups(node)
    if node.op_type == "Resize":
        return bool(attribute(node, "mode") == b"cubic")
    return node.op_type in OTHERS or is_sum(node) or (node.op_type == "Pad" and len(node.input) > 3)


def _make_finite(graph: OnnxGraph) -> None:
    """Make infinite values of what is added, chosen or padded finite."""
    new: dict[str, str] = {}
    for node in graph.nodes(*MASKING):
        for place, name in enumerate(node.input):
            values = graph.constant(name)
            finite = None if values is None else finite_values(values)
            if finite is not None:
                new[name] = new.get(name) or graph.add_constant(finite)
                graph.feed(node, place, new[name])


def _pad_all_axes(graph: OnnxGraph, node: onnx.NodeProto) -> None:
    """Write the amounts of a Pad of some axes for all."""
    shape = graph.shape(node.input[0])
    axes = graph.constant(node.input[3]) if len(node.input) > 3 else None
    amounts = graph.constant(node.input[1])
    if shape is None or axes is None or amounts is None or amounts.size != 2 * axes.size:
        return
    pads = np.zeros((2, len(shape)), np.int64)
    pads[:, axes] = amounts.reshape(2, -1)
    graph.feed(node, 1, graph.add_constant(pads.ravel()))
    del node.input[3:]


def _pad_before(graph: OnnxGraph, node: onnx.NodeProto) -> None:
    """Let an AveragePool read counted pads, if it has more places at the end.

    It stays where its last place would begin behind the values, at which the standard leaves it out.
    """
    shape = graph.shape(node.input[0])
    is_counted = attribute(node, "ceil_mode", 0) and attribute(node, "count_include_pad", 0)
    if not is_counted or shape is None or attribute(node, "auto_pad", b"NOTSET") != b"NOTSET":
        return
    kernel = attribute(node, "kernel_shape")
    pads = np.reshape(attribute(node, "pads", [0] * 2 * len(kernel)), (2, -1))
    strides = attribute(node, "strides", [1] * len(kernel))
    for size, taps, stride, before, after in zip(shape[2:], kernel, strides, *pads.tolist(), strict=True):
        last = -(-(size + before + after - taps) // stride) * stride
        if size < 0 or last >= size + before:
            return
    if pads.any():
        whole = np.pad(pads, [(0, 0), (2, 0)]).ravel()
        graph.feed(node, 0, graph.add("Pad", [node.input[0], graph.add_constant(whole.astype(np.int64))]))
        set_attributes(node, pads=[0] * pads.size)
    set_attributes(node, count_include_pad=0)


def _normalize_by_instance(graph: OnnxGraph, node: onnx.NodeProto) -> None:
    """Write a GroupNormalization of float32 items of a known shape as InstanceNormalization."""
    source, scale, bias = node.input
    shape = graph.shape(source)
    scales, biases = graph.constant(scale), graph.constant(bias)
    if shape is None or min(shape[1:]) < 0 or scales is None or biases is None:
        return
    if scales.dtype != np.float32 or scales.shape != (shape[1],):  # before opset 21, they are of groups
        return
    count = attribute(node, "num_groups")
    by_channel = [graph.add_constant(each.reshape(-1, *(1 for _ in shape[2:]))) for each in (scales, biases)]
    grouped = graph.add("Reshape", [source, graph.add_constant(np.array([0, count, -1]))])
    one, zero = (graph.add_constant(np.full(count, value, np.float32)) for value in (1, 0))
    normal = graph.add("InstanceNormalization", [grouped, one, zero], epsilon=attribute(node, "epsilon", 1e-5))
    whole = graph.add("Reshape", [normal, graph.add_constant(np.array([0, *shape[1:]]))])
    graph.replace(node.output[0], "Add", [graph.add("Mul", [whole, by_channel[0]]), by_channel[1]])


def _has_bias_of_groups(node: onnx.NodeProto) -> bool:
    return attribute(node, "group", 1) > 1 and len(node.input) > 2


def _add_bias(graph: OnnxGraph, node: onnx.NodeProto) -> None:
    """Write the bias of a ConvTranspose in groups as an Add."""
    bias = graph.constant(node.input[2]) if _has_bias_of_groups(node) else None
    shape = graph.shape(node.input[0])
    if bias is None or shape is None:
        return
    output = node.output[0]
    del node.input[2]
    by_channel = graph.add_constant(bias.reshape(-1, *(1 for _ in shape[2:])))
    graph.add("Add", [graph.rename(node, output), by_channel], output)


DOMAIN = "ai.onnx.ml"
ENDS = {b"NONE": "Identity", b"SOFTMAX": "Softmax", b"LOGISTIC": "Sigmoid"}
"""What a LinearClassifier does at its end."""
NORMS = {b"L1": "ReduceL1", b"L2": "ReduceL2"}
"""What a Normalizer divides by."""


AXES_AS_INPUT = 18
"""Opset from which on ReduceL1 and ReduceL2 take their axes as an input."""


def with_layers(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy of a model with these operations as layers; the same object if it has none.

    Raises:
        Exception: An operation is not valid, in one of many ways.
    """
    if all(node.domain != DOMAIN for node in model.graph.node):
        return model
    plain = copy.deepcopy(model)
    if not any(entry.domain in STANDARD for entry in plain.opset_import):
        plain.opset_import.append(onnx.helper.make_opsetid("", OPSET))
    graph = OnnxGraph(plain)
    write: dict[str, Callable[[OnnxGraph, Any], None]] = {
        "Scaler": _scale,
        "LinearClassifier": _classify,
        "Normalizer": _normalize,
        "ArrayFeatureExtractor": _choose,
        "Binarizer": _compare,
    }
    for node in list(plain.graph.node):
        if node.domain == DOMAIN and node.op_type in write:
            write[node.op_type](graph, node)
    graph.finish()
    return plain


def _scale(graph: OnnxGraph, node: Any) -> None:
    """Subtract an offset and multiply by a scale, of each feature."""
    if len(graph.shape(node.input[0]) or ()) != 2:
        return
    offset, scale = (
        graph.add_constant(np.array(attribute(node, name), np.float32).reshape(1, -1)) for name in ("offset", "scale")
    )
    graph.replace(node.output[0], "Mul", [graph.add("Sub", [_floats(graph, node), offset]), scale])


def _classify(graph: OnnxGraph, node: Any) -> None:
    """Scores of a dense layer; the label, which nothing may read, is left out."""
    end = ENDS.get(attribute(node, "post_transform", b"NONE"))
    if end is None or graph.readers(node.output[0]):
        return
    intercepts = np.array(attribute(node, "intercepts"), np.float32)
    weights = np.array(attribute(node, "coefficients"), np.float32).reshape(len(intercepts), -1)
    if len(attribute(node, "classlabels_ints") or attribute(node, "classlabels_strings")) != len(intercepts):
        return  # one score for two classes
    product = graph.add("MatMul", [_floats(graph, node), graph.add_constant(np.ascontiguousarray(weights.T))])
    total = graph.add("Add", [product, graph.add_constant(intercepts)])
    attributes = {"axis": 1} if end == "Softmax" else {}
    graph.replace(node.output[1], end, [total], domain="", **attributes)


def _normalize(graph: OnnxGraph, node: Any) -> None:
    """Divide by the norm of an item; zeros stay zeros."""
    norm = NORMS.get(attribute(node, "norm", b"MAX"))
    if norm is None:
        return
    source = _floats(graph, node)
    if graph.opset < AXES_AS_INPUT:
        size = graph.add(norm, [source], axes=[1], keepdims=1)
    else:
        size = graph.add(norm, [source, graph.add_constant(np.array([1]))], keepdims=1)
    zero, one = (graph.add_constant(np.array(number, np.float32)) for number in (0, 1))
    divisor = graph.add("Where", [graph.add("Equal", [size, zero]), one, size])
    graph.replace(node.output[0], "Div", [source, divisor])


def _choose(graph: OnnxGraph, node: Any) -> None:
    """Choose features of given numbers."""
    numbers = graph.constant(node.input[1])
    if numbers is not None and len(graph.shape(node.input[0]) or ()) > 1:
        chosen = graph.add_constant(numbers.ravel().astype(np.int64))
        graph.replace(node.output[0], "Gather", [node.input[0], chosen], domain="", axis=-1)


def _compare(graph: OnnxGraph, node: Any) -> None:
    """Tell by 1 and 0 which features are above a threshold."""
    threshold = graph.add_constant(np.array(attribute(node, "threshold", 0.0), np.float32))
    above = graph.add("Greater", [_floats(graph, node), threshold])
    graph.replace(node.output[0], "Cast", [above], domain="", to=onnx.TensorProto.FLOAT)


def _floats(graph: OnnxGraph, node: Any) -> str:
    """What a node reads, which may be of any numbers, as float32."""
    if graph.is_float(node.input[0]):
        return str(node.input[0])
    return graph.add("Cast", [node.input[0]], to=onnx.TensorProto.FLOAT)
