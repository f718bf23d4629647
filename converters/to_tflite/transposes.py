"""Removes the TRANSPOSE behind the last convolution of a model that was written with its channels first.

TensorFlow's converter computes such a model with its channels last and transposes what leaves the convolutions. There,
channels are no longer the last axis, so repairs can't scale them: an int8 file lost what that of the same model with
its channels last kept. A reduction can reduce the axes where they are, and a dense layer can have its weights in the
order in which it gets its inputs. Both compute the same.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from edgepress.converters.to_tflite.graph import Graph, only_reader

REDUCTIONS = ("MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN")
"""Operations whose second input is the axes that they reduce."""

Readers = dict[int, list[Any]]
Change = Callable[[], None]


def without_last_transposes(model: bytes) -> bytes:
    """A float model without each TRANSPOSE that is read only by reductions and by dense layers behind a RESHAPE."""
    graph = Graph(model)
    readers = graph.readers()
    removed = [op for op in graph.operators if graph.kind(op) == "TRANSPOSE" and _bypass(graph, op, readers)]
    for op in removed:
        graph.replace(op)
    return graph.to_bytes() if removed else model


def _bypass(graph: Graph, transpose: Any, readers: Readers) -> bool:
    """Let all readers of a TRANSPOSE read its input instead, if each can compute the same; whether they can."""
    order = graph.constant(int(transpose.inputs[1]))
    if order is None:
        return False
    changes: list[Change] = []
    for reader in readers.get(int(transpose.outputs[0]), []):
        change = None if reader is None else _change_of(graph, reader, transpose, order.tolist(), readers)
        if change is None:
            return False
        changes.append(change)
    for change in changes:
        change()
    return bool(changes)


def _change_of(graph: Graph, reader: Any, transpose: Any, order: list[int], readers: Readers) -> Change | None:
    """What makes a reader of a TRANSPOSE compute the same from its input; None if it can't."""
    after = only_reader(readers, int(reader.outputs[0]))
    if graph.kind(reader) in REDUCTIONS:
        if reader.builtinOptions.keepDims and (after is None or graph.kind(after) != "RESHAPE"):
            return None
        return _reduction_of_other_axes(graph, reader, transpose, order)
    if graph.kind(reader) == "RESHAPE" and after is not None and graph.kind(after) == "FULLY_CONNECTED":
        return _dense_of_other_order(graph, (reader, after), transpose, order)
    return None


def _reduction_of_other_axes(graph: Graph, reduction: Any, transpose: Any, order: list[int]) -> Change | None:
    axes = graph.constant(int(reduction.inputs[1]))
    if axes is None:
        return None
    reduced = {int(axis) % len(order) for axis in axes.reshape(-1)}
    left = [source for axis, source in enumerate(order) if axis not in reduced]
    if left != sorted(left):
        return None  # the result would have its axes in another order
    own = sorted(order[axis] for axis in reduced)
    return partial(_reduce, graph, reduction, int(transpose.inputs[0]), own)


def _reduce(graph: Graph, reduction: Any, source: int, axes: list[int]) -> None:
    reduction.inputs = [source, graph.add_constant(np.array(axes, np.int32))]
    if reduction.builtinOptions.keepDims:
        sizes = [1 if axis in axes else size for axis, size in enumerate(graph.shape(source))]
        graph.table.tensors[int(reduction.outputs[0])].shape = sizes


def _dense_of_other_order(graph: Graph, layers: tuple[Any, Any], transpose: Any, order: list[int]) -> Change | None:
    reshape, dense = layers
    moved = graph.shape(int(transpose.outputs[0]))
    flat = graph.shape(int(reshape.outputs[0]))
    weights = graph.constant(int(dense.inputs[1]))
    if weights is None or int(dense.inputs[0]) != int(reshape.outputs[0]) or order[0] != 0 or min(moved) < 1:
        return None
    if flat != (moved[0], weights.shape[1]):
        return None
    by_place = weights.reshape(len(weights), *moved[1:]).transpose(np.argsort(order))
    permuted = np.ascontiguousarray(by_place.reshape(weights.shape))
    return partial(_permute, graph, layers, int(transpose.inputs[0]), permuted)


def _permute(graph: Graph, layers: tuple[Any, Any], source: int, weights: Any) -> None:
    reshape, dense = layers
    permuted = graph.add_constant(weights)
    graph.rename(permuted, f"{graph.name(int(dense.inputs[1]))}_channels_last")
    dense.inputs = [int(dense.inputs[0]), permuted, *(int(i) for i in dense.inputs[2:])]
    reshape.inputs = [source, *(int(i) for i in reshape.inputs[1:])]
