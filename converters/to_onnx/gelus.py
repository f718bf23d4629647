"""GELU in every form that exporters write, told by its values.

TensorFlow writes 0.5 * x * (1 - erf(-x * 0.7071)), PyTorch x * (1 + erf(x / 1.4142)) * 0.5 or, since its exporter is
built on torch.export, x * (0.5 * (1 + erf(x / 1.4142))), and for the approximation 0.5 * x * (1 + tanh(...)) with the
cube as a power or as products. ONNX Runtime knows one of them, and quantized step by step, a cube leaves nothing of
what is small.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from edgepress.converters.arrays import Array
from edgepress.converters.to_onnx.graph import STANDARD, OnnxGraph

_erf = np.vectorize(math.erf, otypes=[float])
STEPS: Mapping[str, Callable[..., Array]] = {
    "Add": np.add,
    "Sub": np.subtract,
    "Mul": np.multiply,
    "Div": np.divide,
    "Pow": np.power,
    "Neg": np.negative,
    "Erf": _erf,
    "Tanh": np.tanh,
}
"""Operations of which GELUs are made."""
MOST_STEPS = 16
"""Most operations in a GELU."""
POINTS = np.linspace(-6, 6, 49)
"""Where what operations compute is compared with GELU: beyond, it is 0 or its argument."""
CLOSE = 2e-5
"""Largest difference from GELU at those points; that of the two GELUs is 5e-4."""


class Gelu(NamedTuple):
    """A GELU: what it reads, what it makes, and whether it is the one with tanh."""

    value: str
    result: str
    is_approximate: bool


def find_gelus(graph: OnnxGraph) -> list[Gelu]:
    """All GELUs that are written out and between float32 values of one known shape."""
    gelus = (_gelu_around(graph, node) for node in graph.nodes("Erf", "Tanh"))
    return [gelu for gelu in gelus if gelu is not None]


def write_gelus(graph: OnnxGraph) -> int:
    """Write those of other forms, but for those with tanh, as x * (1 + erf(x / 1.4142)) * 0.5; returns how many."""
    changed = 0
    for value, result, is_approximate in find_gelus(graph):
        if is_approximate or _is_plain(graph, value, result):
            continue
        root, one, half = (graph.add_constant(np.array(v, np.float32)) for v in (math.sqrt(2), 1, 0.5))
        sum_ = graph.add("Add", [graph.add("Erf", [graph.add("Div", [value, root])]), one])
        graph.replace(result, "Mul", [graph.add("Mul", [value, sum_]), half])
        changed += 1
    return changed


def _is_plain(graph: OnnxGraph, value: str, result: str) -> bool:
    """Whether an exact GELU has the form that `write_gelus` writes, step by step."""
    scaled = _of_number(graph, result, "Mul", 0.5)
    product = graph.maker(scaled, "Mul") if scaled else None
    if product is None or value not in product.input:
        return False
    others = [name for name in product.input if name != value]
    erf = graph.maker(_of_number(graph, others[0], "Add", 1.0), "Erf") if others else None
    return erf is not None and _of_number(graph, erf.input[0], "Div", math.sqrt(2)) == value


def _of_number(graph: OnnxGraph, result: str, kind: str, number: float) -> str:
    """What an operation with a number makes a result of; "" if another one makes it, or with another number."""
    node = graph.maker(result, kind)
    places = (1,) if kind == "Div" else (0, 1)
    constants = {place: graph.constant(node.input[place]) for place in places} if node is not None else {}
    for place, constant in constants.items():
        if constant is not None and constant.size == 1 and np.isclose(constant.item(), number, rtol=1e-6):
            return str(node.input[1 - place])
    return ""


def _exact(values: Array) -> Array:
    answers: Array = values * (1 + _erf(values / math.sqrt(2))) / 2
    return answers


def _approximate(values: Array) -> Array:
    answers: Array = values * (1 + np.tanh(math.sqrt(2 / math.pi) * (values + 0.044715 * values**3))) / 2
    return answers


def _gelu_around(graph: OnnxGraph, inner: Any) -> Gelu | None:
    """The GELU that an Erf or Tanh belongs to; None if it belongs to none."""
    is_approximate = inner.op_type == "Tanh"
    expected = (_approximate if is_approximate else _exact)(POINTS)
    last = graph.only_reader(inner.output[0])
    for _ in range(MOST_STEPS):
        if not _is_step(last):
            return None
        (result,) = last.output
        values = _begin_of(graph, result)
        answers = _compute(graph, result, {values[0]: POINTS}) if len(values) == 1 else None
        if answers is not None and np.allclose(answers, expected, rtol=0, atol=CLOSE):
            shape = graph.shape(values[0])
            return Gelu(values[0], result, is_approximate) if shape and shape == graph.shape(result) else None
        last = graph.only_reader(result)
    return None


def _is_step(node: Any) -> bool:
    return node is not None and node.op_type in STEPS and node.domain in STANDARD


def _begin_of(graph: OnnxGraph, result: str) -> list[str]:
    """The values from which such steps compute a result; they begin at what other operations make or read."""
    names = [result]
    begin: list[str] = []
    for name in names:
        is_inner = name == result or graph.only_reader(name) is not None
        node = graph.maker(name)
        if is_inner and _is_step(node) and len(names) <= MOST_STEPS + 1:
            names += [each for each in node.input if each not in names and graph.constant(each) is None]
        else:
            begin.append(name)
    return begin


def _compute(graph: OnnxGraph, result: str, known: dict[str, Array | None]) -> Array | None:
    """A result from known values, to which it is added; None if constants on the way are not single numbers."""
    if result not in known:
        constant = graph.constant(result)
        known[result] = _compute_step(graph, result, known) if constant is None else _number(constant)
    return known[result]


def _compute_step(graph: OnnxGraph, result: str, known: dict[str, Array | None]) -> Array | None:
    node = graph.maker(result)
    inputs = [_compute(graph, name, known) for name in node.input]
    if any(each is None for each in inputs):
        return None
    with np.errstate(all="ignore"):
        answers: Array = STEPS[node.op_type](*inputs)
    return answers


def _number(constant: Array) -> Array | None:
    """A constant for each of the points; None if it is not a single number of the types that GELUs have."""
    is_number = constant.size == 1 and (constant.dtype == np.float32 or constant.dtype.kind == "i")
    return np.full_like(POINTS, constant.item()) if is_number else None
