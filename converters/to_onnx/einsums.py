"""Einsum of a tensor and constant weights as a matrix product: quantizers leave an Einsum in float, with its weights.

The axes of the two factors are of four kinds: those of both and of the result (batches, such as experts), those of the
tensor alone (rows), those of the weights alone (columns), and those of both that are summed. The tensor is turned to
batches, rows and sums, the weights to batches, sums and columns; MatMul multiplies; the result is divided and turned.
Products of two computed tensors stay: they have no weights, and eight bits would cost accuracy. Those of more factors
become products of two, from the left, as ONNX Runtime computes them.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from edgepress.converters.to_onnx.graph import OnnxGraph, attribute


class Axes(NamedTuple):
    """The letters of the axes of each kind."""

    batches: str
    rows: str
    columns: str
    sums: str


def write_einsums(graph: OnnxGraph) -> None:
    """Write each Einsum that is a product with a matrix of constants, or with one for each batch."""
    for node in graph.nodes("Einsum"):
        _divide(graph, node)
    for node in graph.nodes("Einsum"):
        _write(graph, node)


def _divide(graph: OnnxGraph, node: Any) -> None:
    """Write an Einsum of more than two factors as several, each of which keeps the axes that are needed later."""
    factors, arrow, result = attribute(node, "equation").decode().replace(" ", "").partition("->")
    terms = factors.split(",")
    if len(terms) < 3 or not arrow or not all(term.isalpha() for term in terms):
        return
    term, value = terms[0], node.input[0]
    for place in range(1, len(terms) - 1):
        later = {*result}.union(*terms[place + 1 :])
        kept = "".join(letter for letter in dict.fromkeys(term + terms[place]) if letter in later)
        value = graph.add("Einsum", [value, node.input[place]], equation=f"{term},{terms[place]}->{kept}")
        term = kept
    graph.replace(node.output[0], "Einsum", [value, node.input[-1]], equation=f"{term},{terms[-1]}->{result}")


def _write(graph: OnnxGraph, node: Any) -> None:
    terms, arrow, result = attribute(node, "equation").decode().replace(" ", "").partition("->")
    factors = sorted(zip(terms.split(","), node.input, strict=False), key=lambda f: graph.constant(f[1]) is not None)
    if not arrow or len(factors) != 2 or len(node.input) != 2:
        return
    (term, name), (weight_term, weights_name) = factors
    weights = graph.constant(weights_name)
    axes = _axes(term, weight_term, result)
    if weights is None or axes is None or graph.constant(name) is not None:
        return
    known = dict(zip(weight_term, weights.shape, strict=True))
    shape = graph.shape(name) or (-1,) * len(term)
    sizes = dict(zip(term, shape, strict=True)) | known
    # A size that is not known may differ where the weights have 1, and is theirs elsewhere.
    is_broadcast = any(
        size != sizes[letter] and (size != -1 or sizes[letter] == 1) for letter, size in zip(term, shape, strict=True)
    )
    rows = [sizes[letter] for letter in axes.rows]
    if is_broadcast or (axes.batches and rows.count(-1) > 1):
        return
    order = axes.batches + axes.rows + axes.sums
    value = graph.add("Transpose", [name], perm=[term.index(letter) for letter in order])
    summed, made = (math.prod(known[letter] for letter in letters) for letters in (axes.sums, axes.columns))
    batches = [0] * len(axes.batches)  # 0 keeps an axis
    kept = [-1] if axes.batches else [0] * len(rows)
    if len(axes.sums) > 1 or (axes.batches and len(rows) != 1):
        value = _reshape(graph, value, [*batches, *kept, summed])
    turned = weights.transpose([weight_term.index(letter) for letter in axes.batches + axes.sums + axes.columns])
    matrices = turned.reshape(*(known[letter] for letter in axes.batches), summed, made)
    value = graph.add("MatMul", [value, graph.add_constant(matrices)])
    if len(axes.columns) != 1 or (axes.batches and len(rows) != 1):
        divided = rows if axes.batches else kept
        value = _reshape(graph, value, [*batches, *divided, *(known[letter] for letter in axes.columns)])
    made_order = axes.batches + axes.rows + axes.columns
    graph.replace(node.output[0], "Transpose", [value], perm=[made_order.index(letter) for letter in result])


def _axes(term: str, weights: str, result: str) -> Axes | None:
    """The axes of a matrix product; None if the equation is none, such as a sum over an axis of one factor."""
    if not all(letters.isalpha() and len({*letters}) == len(letters) for letters in (term, weights, result)):
        return None
    axes = Axes(
        batches="".join(letter for letter in term if letter in weights and letter in result),
        rows="".join(letter for letter in term if letter not in weights),
        columns="".join(letter for letter in weights if letter not in term),
        sums="".join(letter for letter in term if letter in weights and letter not in result),
    )
    is_product = {*result} == {*axes.batches, *axes.rows, *axes.columns}
    return axes if is_product and axes.rows and axes.sums else None


def _reshape(graph: OnnxGraph, name: str, sizes: list[int]) -> str:
    return graph.add("Reshape", [name, graph.add_constant(np.array(sizes, np.int64))])
