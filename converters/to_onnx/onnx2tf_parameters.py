"""Operations with parameters that onnx2tf 2.6.9 leaves out or refuses, written as others that it converts.

* An Elu with another alpha than 1, which it leaves out, becomes one with 1, whose negative values a LeakyRelu scales.
* A PRelu with more slopes than one a channel, as Keras' own has for each pixel, becomes a product and a sum.
* A Split into a number of parts gets their sizes, of which the last may differ.
* Places of GatherElements count from the first, because TFLite's operation takes no negative ones.
* A reduction of no axes goes, if it is meant to change nothing.
* A ReduceLogSumExp subtracts the greatest value first: onnx2tf leaves that out, and exponentials of values far from 0
  are 0 or infinite.
* An LpPool becomes an AveragePool of powers, and an LpNormalization a quotient.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from edgepress.converters.to_onnx.graph import OnnxGraph, attribute

REDUCTIONS = ("ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd", "ReduceSum")
"""Those that change nothing if they reduce no axis."""
AXES_AS_INPUT = 18
"""Opset from which on ReduceMax takes its axes as an input."""
LEAST = np.array(1e-30, np.float32)
"""Added to norms, so that 0 divided by a norm of 0 is 0."""


def write_parameters(graph: OnnxGraph) -> None:
    """Write such nodes anew; shapes are known."""
    for node in graph.nodes("Elu"):
        _scale_negatives(graph, node)
    for node in graph.nodes("PRelu"):
        _multiply_negatives(graph, node)
    for node in graph.nodes("Split"):
        _give_sizes(graph, node)
    for node in graph.nodes("LpPool"):
        _average_powers(graph, node)
    for node in graph.nodes("LpNormalization"):
        _divide_by_norm(graph, node)
    for node in graph.nodes("GatherElements"):
        _count_from_first(graph, node)
    for node in graph.nodes("ReduceLogSumExp"):
        _subtract_greatest(graph, node)
    for node in graph.nodes(*REDUCTIONS):
        axes = graph.constant(node.input[1]) if len(node.input) > 1 and node.input[1] else np.array([])
        if attribute(node, "noop_with_empty_axes", 0) and axes is not None and not axes.size:
            graph.replace(node.output[0], "Identity", [node.input[0]])


def _scale_negatives(graph: OnnxGraph, node: Any) -> None:
    alpha = attribute(node, "alpha", 1.0)
    if alpha != 1:
        plain = graph.add("Elu", list(node.input))
        graph.replace(node.output[0], "LeakyRelu", [plain], alpha=alpha)


def _subtract_greatest(graph: OnnxGraph, node: Any) -> None:
    source, shape = node.input[0], graph.shape(node.input[0])
    given = graph.constant(node.input[1]) if len(node.input) > 1 and node.input[1] else attribute(node, "axes", [])
    if shape is None or given is None or (attribute(node, "noop_with_empty_axes", 0) and not len(given)):
        return
    axes = np.array(given if len(given) else range(len(shape)), np.int64)
    name = graph.add_constant(axes)
    if graph.opset < AXES_AS_INPUT:
        greatest = graph.add("ReduceMax", [source], axes=axes.tolist(), keepdims=1)
    else:
        greatest = graph.add("ReduceMax", [source, name], keepdims=1)
    powers = graph.add("Exp", [graph.add("Sub", [source, greatest])])
    logarithm = graph.add("Log", [graph.add("ReduceSum", [powers, name], keepdims=1)])
    if attribute(node, "keepdims", 1):
        graph.replace(node.output[0], "Add", [logarithm, greatest])
    else:
        graph.replace(node.output[0], "Squeeze", [graph.add("Add", [logarithm, greatest]), name])


def _multiply_negatives(graph: OnnxGraph, node: Any) -> None:
    source, slope = node.input
    shape, slopes = graph.shape(source), graph.shape(slope)
    if shape is None or slopes is None or len(shape) < 3:
        return
    whole = (1,) * (len(shape) - len(slopes)) + slopes
    if all(size == 1 for axis, size in enumerate(whole) if axis != 1):
        return
    positive = graph.add("Relu", [source])
    negative = graph.add("Mul", [graph.add("Sub", [source, positive]), slope])
    graph.replace(node.output[0], "Add", [positive, negative])


def _give_sizes(graph: OnnxGraph, node: Any) -> None:
    shape = graph.shape(node.input[0])
    number = next((a for a in node.attribute if a.name == "num_outputs"), None)
    if number is None or shape is None or (whole := shape[attribute(node, "axis", 0)]) < 1:
        return
    size = -(-whole // number.i)
    sizes = np.diff([*range(0, whole, size), whole])
    if len(sizes) == number.i:
        graph.feed(node, 1, graph.add_constant(sizes.astype(np.int64)))
        node.attribute.remove(number)


def _average_powers(graph: OnnxGraph, node: Any) -> None:
    power = attribute(node, "p", 2)
    window = {name: attribute(node, name) for name in ("kernel_shape", "strides", "pads", "auto_pad")}
    is_padded_by_name = window["auto_pad"] not in (None, b"NOTSET", b"VALID")
    if attribute(node, "ceil_mode", 0) or max(attribute(node, "dilations", [1])) > 1 or is_padded_by_name:
        return
    of_window = {name: value for name, value in window.items() if value is not None}
    size = np.prod(window["kernel_shape"])
    each, inverse, taps = (graph.add_constant(np.array([number], np.float32)) for number in (power, 1 / power, size))
    powers = graph.add("Pow", [graph.add("Abs", list(node.input)), each])
    mean = graph.add("AveragePool", [powers], count_include_pad=1, **of_window)
    graph.replace(node.output[0], "Pow", [graph.add("Mul", [mean, taps]), inverse])


def _divide_by_norm(graph: OnnxGraph, node: Any) -> None:
    (value,) = node.input
    axes = graph.add_constant(np.array([attribute(node, "axis", -1)], np.int64))
    is_square = attribute(node, "p", 2) == 2
    parts = graph.add("Mul", [value, value]) if is_square else graph.add("Abs", [value])
    norm = graph.add("ReduceSum", [parts, axes], keepdims=1)
    norm = graph.add("Sqrt", [norm]) if is_square else norm
    graph.replace(node.output[0], "Div", [value, graph.add("Add", [norm, graph.add_constant(LEAST)])])


def _count_from_first(graph: OnnxGraph, node: Any) -> None:
    shape, places = graph.shape(node.input[0]), graph.constant(node.input[1])
    size = -1 if shape is None else shape[attribute(node, "axis", 0)]
    if size > 0 and places is not None and (places < 0).any():
        graph.feed(node, 1, graph.add_constant(np.where(places < 0, places + size, places)))
