"""Products of matrices: Gemm (13), MatMul (13), Einsum (12)."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from edgepress.converters.importers.node import Node, Operation
from edgepress.converters.importers.values import Value, first, in_order, own_order, plain


def gemm(node: Node, left: Value, right: Value, added: Value | None = None) -> Value:
    """Gemm (13)."""
    alpha = node.get("alpha", 1.0)
    beta = node.get("beta", 1.0)
    factors = [_flat(node, left), _flat(node, right)]
    if alpha != 1 and right.is_constant:
        factors[1] = factors[1] * np.asarray(alpha, right.dtype)
        alpha = 1
    product = tf.matmul(*factors, transpose_a=bool(node.get("transA", 0)), transpose_b=bool(node.get("transB", 0)))
    product = product if alpha == 1 else product * alpha
    if added is None or beta == 0:
        return plain(product)
    if added.is_constant:
        return plain(product + added.stored * np.asarray(beta, added.dtype))
    return plain(product + (first(added) if beta == 1 else first(added) * beta))


def _flat(node: Node, value: Value) -> Any:
    """A matrix; before opset 7, other values were flattened."""
    if value.rank != 2 and node.opset >= 7:
        raise node.refused(f"it multiplies {value.rank} axes instead of matrices")
    whole = in_order(value, own_order(value.rank))
    return whole if value.rank == 2 else tf.reshape(whole, [value.shape[0], -1])


def matmul(node: Node, left: Value, right: Value) -> Value:
    """MatMul (13); the order of a factor's last two axes does not matter to it."""
    if left.is_constant and left.rank == 2 and right.rank >= 2 and not right.is_constant:
        return _multiply_from_left(left, right)
    factors = [left, right]
    x = first(left)
    x = x[tf.newaxis] if left.rank == 1 else x
    turned = (*own_order(right.rank)[:-2], right.rank - 1, right.rank - 2)
    is_turned = right.rank > 1 and not right.is_constant and right.order == turned
    y = right.stored if is_turned else in_order(right, own_order(right.rank))
    y = tf.convert_to_tensor(y)[:, tf.newaxis] if right.rank == 1 else y
    product = tf.matmul(x, y, transpose_b=is_turned)
    for axis, factor in zip((-2, -1), factors, strict=True):
        if factor.rank == 1:
            place = axis if axis == -2 and right.rank > 1 else -1
            product = tf.squeeze(product, place)
    return plain(product)


def _multiply_from_left(left: Value, right: Value) -> Value:
    """C X, of a constant matrix C, as the transpose of X' C': TFLite's integer products take no constant first one."""
    rank = right.rank
    turned = (*own_order(rank)[:-2], rank - 1, rank - 2)
    product = tf.matmul(tf.convert_to_tensor(in_order(right, turned)), np.ascontiguousarray(left.stored.T))
    return Value(product, turned)


def einsum(node: Node, *values: Value) -> Value:
    """Einsum (12), of more than two factors from the left, as ONNX Runtime computes it."""
    factors, arrow, result = node.get("equation").replace(" ", "").partition("->")
    terms = factors.split(",")
    if not arrow:
        letters = sorted({letter for letter in factors if letter.isalpha()})
        result = ("..." if "..." in factors else "") + "".join(c for c in letters if factors.count(c) == 1)
    term, whole = terms[0], first(values[0])
    for place in range(1, len(terms)):
        later = result if place + 1 == len(terms) else result + "".join(terms[place + 1 :])
        kept = "".join(c for c in dict.fromkeys(term + terms[place]) if c in later and c.isalpha())
        kept = result if place + 1 == len(terms) else ("..." if "..." in term + terms[place] else "") + kept
        whole = tf.einsum(f"{term},{terms[place]}->{kept}", whole, first(values[place]))
        term = kept
    return plain(tf.einsum(f"{term}->{result}", whole) if len(terms) == 1 else whole)


PRODUCTS: dict[str, Operation] = {"Einsum": einsum, "Gemm": gemm, "MatMul": matmul}
