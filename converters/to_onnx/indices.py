"""How TFLite's operations that make or read whole numbers are written in ONNX: ranks, places, classes and counts."""

from __future__ import annotations

from functools import partial

import numpy as np
from onnx import TensorProto, helper

from edgepress.converters.to_onnx.emission import Emission, Ends, UnsupportedError, Write, plain


def _top_k(e: Emission, inputs: Ends, outputs: Ends) -> None:
    (source, count_tensor), (values, places) = inputs, outputs
    order = plain(len(e.shape(source)))
    count = e.extra(e.known(count_tensor).astype(np.int64).reshape(1), e.step(values, "count"))
    ranked = e.step(places, "ranked")
    e.nodes_of("TopK", [e.in_order(source), count], [e.reserve(values, order), ranked])
    _cast_to_own(e, ranked, places)


def _arg(kind: str, e: Emission, inputs: Ends, outputs: Ends) -> None:
    (source, axis_tensor), (target,) = inputs, outputs
    axis = int(e.known(axis_tensor).ravel()[0]) % len(e.shape(source))
    place = e.node(kind, [e.in_order(source)], e.step(target, "place"), axis=axis, keepdims=0)
    _cast_to_own(e, place, target)


def _cast_to_own(e: Emission, value: str, target: int) -> None:
    """What ONNX makes as 64-bit integers or as floats, in the tensor's own type."""
    to = helper.np_dtype_to_tensor_dtype(e.dtype(target))
    e.make(target, plain(len(e.shape(target))), lambda name: e.node("Cast", [value], name, to=to))


def _one_hot(e: Emission, inputs: Ends, outputs: Ends) -> None:
    """Compared with each class, because ONNX' OneHot counts negative numbers from the last class."""
    (source, depth, on, off), (target,) = inputs, outputs
    rank = len(e.shape(target))
    axis = e.option("axis", -1) % rank
    classes = np.arange(int(e.known(depth).ravel()[0]), dtype=e.dtype(source))
    where = e.extra(np.array([axis], np.int64), e.step(target, "axis"))
    column = e.node("Unsqueeze", [e.in_order(source), where], e.step(target, "column"))
    line = e.extra(classes.reshape([-1 if a == axis else 1 for a in range(rank)]), e.step(target, "classes"))
    equal = e.node("Equal", [column, line], e.step(target, "equal"))
    if (float(e.known(on).ravel()[0]), float(e.known(off).ravel()[0])) == (1, 0):
        _cast_to_own(e, equal, target)
    else:
        chosen = [equal, e.in_order(on), e.in_order(off)]
        e.make(target, plain(rank), lambda name: e.node("Where", chosen, name))


def _bucketize(e: Emission, inputs: Ends, outputs: Ends) -> None:
    """The number of bounds up to a value."""
    (source,), (target,) = inputs, outputs
    bounds = e.extra(np.array(e.option("boundaries", ()), np.float32), e.step(target, "bounds"))
    last = e.extra(np.array([-1], np.int64), e.step(target, "axis"))
    floats = e.node("Cast", [e.in_order(source)], e.step(target, "floats"), to=TensorProto.FLOAT)
    column = e.node("Unsqueeze", [floats, last], e.step(target, "column"))
    reached = e.node("GreaterOrEqual", [column, bounds], e.step(target, "reached"))
    ones = e.node("Cast", [reached], e.step(target, "ones"), to=TensorProto.FLOAT)
    _cast_to_own(e, e.node("ReduceSum", [ones, last], e.step(target, "sum"), keepdims=0), target)


def _running_sum(e: Emission, inputs: Ends, outputs: Ends) -> None:
    (source, axis_tensor), (target,) = inputs, outputs
    axis = e.extra(e.known(axis_tensor).astype(np.int64).reshape(()), e.step(target, "axis"))
    options = {word: int(e.option(word)) for word in ("exclusive", "reverse")}
    named = [e.in_order(source), axis]
    e.make(target, plain(len(e.shape(target))), lambda name: e.node("CumSum", named, name, **options))


def _gather_nd(e: Emission, inputs: Ends, outputs: Ends) -> None:
    (source, picked), (target,) = inputs, outputs
    if not e.shape(target):
        raise UnsupportedError("GATHER_ND of a single number")
    places = e.node("Cast", [e.in_order(picked)], e.step(target, "places"), to=TensorProto.INT64)
    named = [e.in_order(source), places]
    e.make(target, plain(len(e.shape(target))), lambda name: e.node("GatherND", named, name))


def _any_or_all(kind: str, e: Emission, inputs: Ends, outputs: Ends) -> None:
    (source, axes_tensor), (target,) = inputs, outputs
    rank = len(e.shape(source))
    axes = sorted({int(axis) % rank for axis in e.known(axes_tensor).ravel()})
    numbers = e.node("Cast", [e.in_order(source)], e.step(target, "numbers"), to=TensorProto.INT32)
    keeps = int(bool(e.option("keepDims")))
    _cast_to_own(e, e.node(kind, [numbers], e.step(target, "bound"), axes=axes, keepdims=keeps), target)


INDICES: dict[str, Write] = {
    "ARG_MAX": partial(_arg, "ArgMax"),
    "ARG_MIN": partial(_arg, "ArgMin"),
    "BUCKETIZE": _bucketize,
    "CUMSUM": _running_sum,
    "GATHER_ND": _gather_nd,
    "ONE_HOT": _one_hot,
    "REDUCE_ALL": partial(_any_or_all, "ReduceMin"),
    "REDUCE_ANY": partial(_any_or_all, "ReduceMax"),
    "TOPK_V2": _top_k,
}
"""Functions by the kind of operation."""
