"""How each kind of TFLite operation is written in ONNX.

`spatial` has those of images, `shapes` those that move values, `indices` those of whole numbers, `spectra` those of
Fourier.

A function takes the graph in the making, the operation's inputs and its outputs. What is not known raises
`UnsupportedError`, and the whole graph is left to tf2onnx.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from edgepress.converters.to_onnx.emission import (
    IMAGE,
    MATRIX,
    Emission,
    Order,
    TensorIndices,
    UnsupportedError,
    Write,
    channels_first,
    common_order,
    plain,
    same_memory,
)
from edgepress.converters.to_onnx.shapes import SHAPES
from edgepress.converters.to_onnx.spatial import INDICES, SPATIAL, SPECTRA

_UNARY = {
    kind: kind.title()
    for kind in (
        "ABS",
        "CEIL",
        "COS",
        "ELU",
        "EXP",
        "FLOOR",
        "LOG",
        "NEG",
        "RELU",
        "ROUND",
        "SIGN",
        "SIN",
        "SQRT",
        "TANH",
    )
} | {"LOGISTIC": "Sigmoid", "LOGICAL_NOT": "Not"}
_LIMITS = {"RELU6": (0, 6), "RELU_N1_TO_1": (-1, 1), "RELU_0_TO_1": (0, 1)}
_OF_ONE = (*_UNARY, *_LIMITS, "GELU", "HARD_SWISH", "LEAKY_RELU", "RSQRT", "SQUARE")
_OF_TWO = {"ADD": "Add", "SUB": "Sub", "MUL": "Mul", "DIV": "Div", "POW": "Pow", "MAXIMUM": "Max", "MINIMUM": "Min"}
_COMPARED = {
    "EQUAL": "Equal",
    "GREATER": "Greater",
    "GREATER_EQUAL": "GreaterOrEqual",
    "LESS": "Less",
    "LESS_EQUAL": "LessOrEqual",
    "LOGICAL_AND": "And",
    "LOGICAL_OR": "Or",
    "SELECT": "Where",
    "SELECT_V2": "Where",
}
_REDUCED = {"REDUCE_MAX": "ReduceMax", "REDUCE_MIN": "ReduceMin", "REDUCE_PROD": "ReduceProd", "MEAN": "ReduceMean"}
LEAST_NORM = 1e-6
"""By which LiteRT divides at least in an L2 normalization (its `kernels/internal/reference/l2normalization.h`)."""


def of_one(e: Emission, kind: str, value: str, output: str) -> None:
    """A function of each value."""
    part = partial(_part, e, output)
    if kind in _UNARY:
        e.node(_UNARY[kind], [value], output)
    elif kind in _LIMITS:
        e.node("Clip", [value, *map(e.scalar, _LIMITS[kind])], output)
    elif kind == "HARD_SWISH":
        e.node("Mul", [value, part("HardSigmoid", [value], alpha=1 / 6, beta=0.5)], output)
    elif kind == "LEAKY_RELU":
        e.node("LeakyRelu", [value], output, alpha=float(e.option("alpha")))
    elif kind == "RSQRT":
        e.node("Reciprocal", [part("Sqrt", [value])], output)
    elif kind == "SQUARE":
        e.node("Mul", [value, value], output)
    elif kind == "GELU" and e.option("approximate"):
        cube = part("Mul", [part("Mul", [value, value]), value])
        inner = part("Add", [value, part("Mul", [cube, e.scalar(0.044715)])])
        tanh = part("Tanh", [part("Mul", [inner, e.scalar(np.sqrt(2 / np.pi))])])
        e.node("Mul", [part("Mul", [value, e.scalar(0.5)]), part("Add", [tanh, e.scalar(1)])], output)
    elif kind == "GELU":  # as ONNX Runtime fuses it (rewrites/onnx/gelu.py)
        erf = part("Erf", [part("Div", [value, e.scalar(np.sqrt(2))])])
        e.node("Mul", [part("Mul", [value, part("Add", [erf, e.scalar(1)])]), e.scalar(0.5)], output)
    else:
        raise UnsupportedError(kind)


def _part(e: Emission, output: str, kind: str, inputs: list[str], **attributes: Any) -> str:
    """A node on the way to a result."""
    return e.node(kind, inputs, e.fresh(f"{output}_{kind.lower()}"), **attributes)


def _unary(kind: str, e: Emission, inputs: TensorIndices, outputs: TensorIndices) -> None:
    (source,), (target,) = inputs, outputs
    order = e.order(source)
    value = e.in_order(source, order)
    e.make(target, order, lambda name: of_one(e, kind, value, name))


def _binary(kind: str, e: Emission, inputs: TensorIndices, outputs: TensorIndices) -> None:
    (target,) = outputs
    rank = len(e.shape(target))
    order = common_order(e, inputs, rank)
    values = [_operand(e, i, order, e.shape(target)) for i in inputs]
    if kind == "SQUARED_DIFFERENCE":
        difference = e.node("Sub", values, e.step(target, "difference"))
        e.make(target, order, lambda name: e.node("Mul", [difference, difference], name))
    elif kind == "NOT_EQUAL":
        equal = e.node("Equal", values, e.step(target, "equal"))
        e.make(target, order, lambda name: e.node("Not", [equal], name))
    else:
        e.make(target, order, lambda name: e.node((_OF_TWO | _COMPARED)[kind], values, name))


def _operand(e: Emission, index: int, order: Order, shape: tuple[int, ...]) -> str:
    """An operand that is broadcast to a shape, in an order."""
    value = e.constant(index)
    rank = len(order)
    if value is None:
        own = e.shape(index)
        if not own:  # one number of the whole batch, with which a free batch fails its trial
            return e.in_order(index)
        wide = (1,) * (rank - len(own)) + own
        if (whole := e.view_of(index, wide)) is not None:
            return e.in_order(whole, order)
        if own[:1] != (1,):  # which is the batch
            raise UnsupportedError("broadcasting of what is not a batch")
        return e.node(
            "Reshape", [e.in_order(index), e.sizes([wide[a] for a in order])], e.fresh(f"{e.name(index)}_wide")
        )
    if value.size == 1 and shape:
        return e.stored(index, value.reshape(()))
    if value.ndim == 1 and order == plain(rank):  # as it is
        return e.stored(index, value)
    return e.stored(index, value.reshape((1,) * (rank - value.ndim) + value.shape).transpose(order), order)


def _prelu(e: Emission, inputs: TensorIndices, outputs: TensorIndices) -> None:
    (source, slope), (target,) = inputs, outputs
    order = e.order(source)
    values = [e.in_order(source, order), _operand(e, slope, order, e.shape(target))]
    e.make(target, order, lambda name: e.node("PRelu", values, name))


def _softmax(kind: str, e: Emission, inputs: TensorIndices, outputs: TensorIndices) -> None:
    (source,), (target,) = inputs, outputs
    order = e.order(source)
    value = e.in_order(source, order)
    beta = e.option("beta", 1.0) if kind == "Softmax" else 1.0
    if beta != 1:
        value = e.node("Mul", [value, e.scalar(beta)], e.step(target, "scaled"))
    axis = order.index(len(order) - 1)
    e.make(target, order, lambda name: e.node(kind, [value], name, axis=-1 if axis == len(order) - 1 else axis))


def _l2_normalize(e: Emission, inputs: TensorIndices, outputs: TensorIndices) -> None:
    (source,), (target,) = inputs, outputs
    order = e.order(source)
    value = e.in_order(source, order)
    axis = order.index(len(order) - 1)
    norm = e.node("ReduceL2", [value], e.step(target, "norm"), axes=[axis], keepdims=1)
    divisor = e.node("Max", [norm, e.scalar(LEAST_NORM)], e.step(target, "divisor"))
    e.make(target, order, lambda name: e.node("Div", [value, divisor], name))


def _reduce(kind: str, e: Emission, inputs: TensorIndices, outputs: TensorIndices) -> None:
    (source, axes_tensor), (target,) = inputs, outputs
    rank = len(e.shape(source))
    keeps = bool(e.option("keepDims"))
    axes = sorted({int(a) % rank for a in e.known(axes_tensor).ravel()})
    order = e.order(source)
    if kind == "MEAN" and axes == [1, 2] and rank == IMAGE and order == channels_first(rank):
        value = e.in_order(source, order)
        if keeps:
            e.make(target, order, lambda name: e.node("GlobalAveragePool", [value], name))
            return
        pooled = e.node("GlobalAveragePool", [value], e.step(target, "pooled"))
        where = e.extra(np.array([2, 3], np.int64), e.step(target, "axes"))
        e.make(target, plain(MATRIX), lambda name: e.node("Squeeze", [pooled, where], name))
        return
    left = [axis for axis in order if axis not in axes]
    normalizes = axes == [rank - 1] and e.read_by(target, "SQUARED_DIFFERENCE", "SUB")
    if normalizes or (not keeps and left != sorted(left)):
        order = plain(rank)  # of layer normalization, ONNX Runtime knows the last axis only
    value = e.in_order(source, order)
    places = [order.index(axis) for axis in axes]
    stored = order if keeps else plain(rank - len(axes))
    if kind == "SUM":
        where = e.extra(np.array(places, np.int64), e.step(target, "axes"))
        e.make(target, stored, lambda name: e.node("ReduceSum", [value, where], name, keepdims=int(keeps)))
    else:
        e.make(target, stored, lambda name: e.node(_REDUCED[kind], [value], name, axes=places, keepdims=int(keeps)))


def _dense(e: Emission, inputs: TensorIndices, outputs: TensorIndices) -> None:
    (source, weights, *rest), (target,) = inputs, outputs
    matrix = e.known(weights)
    shape = e.shape(source)
    if matrix.ndim != MATRIX or e.option("weightsFormat"):
        raise UnsupportedError("weights of FULLY_CONNECTED")
    flat = len(shape) != MATRIX and not e.option("keepNumDims")
    order = e.order(source)
    value = e.in_order(source, order if flat and same_memory(order, plain(len(shape)), shape) else None)
    if flat:
        rows = e.sizes([-1, matrix.shape[1]])
        value = e.node("Reshape", [value, rows], e.step(target, "rows"))
    named = [value, e.stored(weights, matrix.T, (1, 0))]
    bias = e.known(rest[0]) if rest and rest[0] >= 0 else None
    own = plain(len(e.shape(target)))
    if bias is None or not bias.any():
        e.make(target, own, lambda name: e.node("MatMul", named, name))
        return
    product = e.node("MatMul", named, e.step(target, "product"))
    added = [product, e.stored(rest[0], bias)]
    e.make(target, own, lambda name: e.node("Add", added, name))


def _matmul(e: Emission, inputs: TensorIndices, outputs: TensorIndices) -> None:
    (target,) = outputs
    values = []
    for index, turned in zip(inputs, (e.option("adjX"), e.option("adjY")), strict=True):
        value = e.in_order(index)
        if turned:
            axes = list(range(len(e.shape(index))))
            perm = [*axes[:-2], axes[-1], axes[-2]]
            value = e.node("Transpose", [value], e.step(index, "turned"), perm=perm)
        values.append(value)
    e.make(target, plain(len(e.shape(target))), lambda name: e.node("MatMul", values, name))


TABLE: dict[str, Write] = (
    {kind: partial(_unary, kind) for kind in _OF_ONE}
    | {kind: partial(_binary, kind) for kind in (*_OF_TWO, *_COMPARED, "NOT_EQUAL", "SQUARED_DIFFERENCE")}
    | {kind: partial(_reduce, kind) for kind in (*_REDUCED, "SUM")}
    | {"SOFTMAX": partial(_softmax, "Softmax"), "LOG_SOFTMAX": partial(_softmax, "LogSoftmax")}
    | {"BATCH_MATMUL": _matmul, "FULLY_CONNECTED": _dense, "L2_NORMALIZATION": _l2_normalize, "PRELU": _prelu}
    | INDICES
    | SHAPES
    | SPATIAL
    | SPECTRA
)
"""Functions by the kind of operation."""
