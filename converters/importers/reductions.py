"""Reductions along axes, and what chooses, sorts or adds up along one: values keep their order of axes."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from edgepress.converters.importers.node import Node, Operation, Value, first, plain

Reduction = Callable[..., Any]


def _log_sum_exp(x: Any, places: list[int], *, keepdims: bool) -> Any:
    """The greatest value is taken off first: exponentials of values far from 0 are 0 or infinite."""
    greatest = tf.reduce_max(x, places, keepdims=True)
    logarithm = tf.math.log(tf.reduce_sum(tf.exp(x - greatest), places, keepdims=True)) + greatest
    return logarithm if keepdims else tf.squeeze(logarithm, places)


REDUCTIONS: dict[str, Reduction] = {
    "ReduceL1": lambda x, *places, **kept: tf.reduce_sum(tf.abs(x), *places, **kept),
    "ReduceL2": lambda x, *places, **kept: tf.sqrt(tf.reduce_sum(tf.square(x), *places, **kept)),
    "ReduceLogSum": lambda x, *places, **kept: tf.math.log(tf.reduce_sum(x, *places, **kept)),
    "ReduceLogSumExp": _log_sum_exp,
    "ReduceMax": tf.reduce_max,
    "ReduceMean": tf.reduce_mean,
    "ReduceMin": tf.reduce_min,
    "ReduceProd": tf.reduce_prod,
    "ReduceSum": tf.reduce_sum,
    "ReduceSumSquare": lambda x, *places, **kept: tf.reduce_sum(tf.square(x), *places, **kept),
}
"""What ReduceMax (20) and others compute, of a tensor, the places of axes and `keepdims`."""
OF_NOTHING: dict[str, Callable[[Any], Any]] = {
    "ReduceL1": tf.abs,
    "ReduceL2": tf.abs,
    "ReduceLogSum": tf.math.log,
    "ReduceSumSquare": tf.square,
}
"""What those that change each value compute if they reduce no axis."""


def _reduce(function: Reduction, node: Node, value: Value, given: Value | None = None) -> Value:
    axes = node.axes(given)
    if not axes:
        if node.get("noop_with_empty_axes", 0):
            return value.like(OF_NOTHING.get(node.kind, tf.identity)(value.tensor))
        axes = list(range(value.rank))
    keepdims = bool(node.get("keepdims", 1))
    x = value.tensor
    if x.dtype.is_bool:
        if node.kind not in ("ReduceMax", "ReduceMin"):
            raise node.refused("it reduces values of true and false")
        function = tf.reduce_any if node.kind == "ReduceMax" else tf.reduce_all
    made = function(x, [value.place(axis) for axis in axes], keepdims=keepdims)
    return value.like(made) if keepdims else Value(made, without_axes(value, axes))


def without_axes(value: Value, axes: list[int]) -> tuple[int, ...]:
    """The order of a value without some axes."""
    gone = {axis % value.rank for axis in axes}
    left = [axis for axis in value.order if axis not in gone]
    return tuple(sorted(left).index(axis) for axis in left)


def softmax(node: Node, value: Value) -> Value:
    """Softmax, LogSoftmax and Hardmax (13); before opset 13, along all axes from one on as one."""
    function = {"Softmax": tf.nn.softmax, "LogSoftmax": tf.nn.log_softmax, "Hardmax": _hardmax}[node.kind]
    axis = node.get("axis", -1 if node.opset >= 13 else 1) % value.rank
    if node.opset >= 13 or math.prod(value.shape[axis + 1 :]) == 1:
        return _along_last(function, value, axis)
    flat = tf.reshape(first(value), [math.prod(value.shape[:axis]), -1])
    return plain(tf.reshape(function(flat), value.shape))


def _along_last(function: Callable[[Any], Any], value: Value, axis: int) -> Value:
    """What a function makes along the last axis stored, of another one: TFLite's operations know the last alone."""
    place = value.place(axis)
    if place == value.rank - 1:
        return value.like(function(value.tensor))
    order = [*(p for p in range(value.rank) if p != place), place]
    moved = tf.transpose(value.tensor, order)
    return Value(function(moved), tuple(value.order[p] for p in order))


def _hardmax(x: Any) -> Any:
    return tf.one_hot(tf.argmax(x, -1), x.shape[-1], dtype=x.dtype)


def arg_max(node: Node, value: Value) -> Value:
    """ArgMax and ArgMin (13)."""
    axis = node.get("axis", 0)
    place = value.place(axis)
    find = tf.argmax if node.kind == "ArgMax" else tf.argmin
    if node.get("select_last_index", 0):
        size = value.tensor.shape[place]
        found = size - 1 - find(tf.reverse(value.tensor, [place]), place)
    else:
        found = find(value.tensor, place)
    if node.get("keepdims", 1):
        return value.like(tf.expand_dims(found, place))
    return Value(found, without_axes(value, [axis]))


def top_k(node: Node, value: Value, count: Value | None = None) -> tuple[Value, Value]:
    """TopK (24), of the largest or smallest values, sorted."""
    (k,) = [node.get("k")] if count is None else node.numbers(count, "number of values")
    axis = node.get("axis", -1) % value.rank
    order = (*(each for each in range(value.rank) if each != axis), axis)
    moved = tf.transpose(first(value), order)
    if node.get("largest", 1):
        values, places = tf.math.top_k(moved, k)
    else:
        values, places = tf.math.top_k(-moved, k)
        values = -values
    return Value(values, order), Value(tf.cast(places, tf.int64), order)


def cumulative_sum(node: Node, value: Value, axis: Value) -> Value:
    """CumSum (14)."""
    (number,) = node.numbers(axis, "axis")
    options = {name: bool(node.get(name, 0)) for name in ("exclusive", "reverse")}
    return value.like(tf.cumsum(value.tensor, value.place(number), **options))


ALONG_AXES: dict[str, Operation] = {
    **{kind: functools.partial(_reduce, function) for kind, function in REDUCTIONS.items()},
    "ArgMax": arg_max,
    "ArgMin": arg_max,
    "CumSum": cumulative_sum,
    "Hardmax": softmax,
    "LogSoftmax": softmax,
    "Softmax": softmax,
    "TopK": top_k,
}
