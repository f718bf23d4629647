"""A float ONNX graph as one function of TensorFlow.

Nodes become operations one after the other, while the function is traced. All shapes are known then. So what follows
from shapes and constants is computed at once, by ONNX's own reference implementation, loops of a known length are
written out, and functions of the standard without an importer are what the standard makes of them for these types.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import tensorflow as tf
from onnx import numpy_helper
from onnx.reference import ReferenceEvaluator

from edgepress.converters.importers.elementwise import NARY
from edgepress.converters.importers.node import Node, UnsupportedError, Value, constant, first, of_last, plain
from edgepress.converters.importers.operations import OPERATIONS, function_body, with_attributes
from edgepress.converters.importers.shapes import OF_SHAPES_ALONE
from edgepress.converters.to_onnx.graph import STANDARD, read_names
from edgepress.runtime.errors import first_line

FLOW = ("If", "Loop", "Scan")
"""Operations that hold graphs."""
MOST_TURNS = 1024
"""Turns of a loop that are written out."""
DEEPEST = 16
"""Functions and graphs inside each other."""
MOST_NODES = 100_000
"""Nodes that are imported, those of each turn of a loop included: a file may hold loops of loops."""
RANDOM = ("Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike")
"""Operations whose results differ from run to run, so that they are no constants."""
_UNNAMEABLE = re.compile(r"[^A-Za-z0-9_.\\/>-]")
"""What a scope of TensorFlow may not be called."""


def import_graph(model: onnx.ModelProto, *, channels_last: bool) -> Callable[..., Any]:
    """A function that computes what a model does.

    Args:
        model: A valid float model of one output.
        channels_last: Whether the function takes its item with the channels last, and not as the model does.

    Returns:
        A function from a tensor of a known shape for each input to the output in ONNX' order of axes. It raises
        `UnsupportedError` for what can't be imported.
    """
    graph = model.graph
    weights = _constants(graph)
    sources = [value.name for value in graph.input if value.name not in weights]
    opsets = _opsets(model.opset_import)

    def infer(*items: Any) -> Any:
        taken = dict(zip(sources, map(of_last if channels_last else plain, items), strict=True))
        (result,) = _Scope(opsets, weights | taken).run(graph.node, [graph.output[0].name])
        return first(result)

    return infer


def _opsets(imports: Iterable[onnx.OperatorSetIdProto]) -> dict[str, int]:
    return {"" if entry.domain in STANDARD else entry.domain: entry.version for entry in imports}


def _constants(graph: onnx.GraphProto) -> dict[str, Value]:
    return {tensor.name: constant(numpy_helper.to_array(tensor)) for tensor in graph.initializer}


class _Scope:
    """The values of a graph while its nodes are imported.

    Args:
        opsets: Versions of the domains.
        values: Those that are known in the beginning, by name.
        outer: The scope around it; None of the graph itself.
    """

    def __init__(self, opsets: Mapping[str, int], values: Mapping[str, Value], outer: _Scope | None = None) -> None:
        self._opsets = opsets
        self._values = dict(values)
        self._depth: int = 0 if outer is None else outer._depth + 1
        self._numbers: Iterator[int] = itertools.count() if outer is None else outer._numbers
        self._narrow: dict[str, Value] = {}
        """What an Expand made wider, by its result."""

    def run(self, nodes: Sequence[onnx.NodeProto], results: Sequence[str]) -> list[Value]:
        """Import nodes in their order, and return the results.

        Raises:
            UnsupportedError: A node can't be imported.
        """
        read = {name for node in nodes for name in read_names(node)}.union(results)
        for each in nodes:
            if not read.isdisjoint(each.output):
                node = _node(each, self._opsets.get("", 1), read)
                if next(self._numbers) >= MOST_NODES:
                    raise node.refused(f"there are more than {MOST_NODES:,} nodes, those of turns of loops included")
                made = self._results(each, node)
                self._values.update((name, value) for name, value in zip(each.output, made, strict=False) if name)
        return [self._values[name] for name in results]

    def _results(self, each: onnx.NodeProto, node: Node) -> Sequence[Value]:
        inputs = [self._values[name] if name else None for name in each.input]
        held = [value for value in inputs if value is not None]
        is_standard = each.domain in STANDARD
        if each.op_type in RANDOM:
            raise node.refused("its results are random")
        if is_standard and each.op_type in FLOW:
            return self._flow(node, inputs)
        if all(value.is_constant for value in held) and not (is_standard and each.op_type in OF_SHAPES_ALONE):
            return self._computed(each, node)
        operation = OPERATIONS.get(each.op_type) if is_standard else None
        if operation is None:
            return self._function(each, node, inputs)
        if each.op_type == "Expand":
            self._narrow[each.output[0]] = held[0]
        if each.op_type in NARY:
            inputs = self._without_expands(each, held)
        try:
            with tf.name_scope(_scope_name(node.name)):
                made = operation(node, *inputs)
        except UnsupportedError:
            raise
        except Exception as e:  # TensorFlow's and NumPy's own, for attributes and shapes of all kinds
            raise node.refused(f"{type(e).__name__}: {first_line(e)}") from e
        return made if isinstance(made, tuple) else (made,)

    def _without_expands(self, each: onnx.NodeProto, held: Sequence[Value]) -> list[Value | None]:
        """Inputs that are broadcast anyway as they were before an Expand, if the result keeps its shape."""
        narrow = [self._narrow.get(name, value) for name, value in zip(each.input, held, strict=True)]
        shapes = [np.broadcast_shapes(*(value.shape for value in values)) for values in (held, narrow)]
        return [*(narrow if shapes[0] == shapes[1] else held)]

    def _computed(self, each: onnx.NodeProto, node: Node) -> list[Value]:
        """The results of a node that reads constants alone."""
        names = [name for name in dict.fromkeys(each.input) if name]
        arrays = {name: self._values[name].stored for name in names}
        known = [
            onnx.helper.make_tensor_value_info(name, onnx.helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)
            for name, array in arrays.items()
        ]
        wanted = [name for name in each.output if name]
        ends = [onnx.helper.make_empty_tensor_value_info(name) for name in wanted]
        graph = onnx.helper.make_graph([each], "constants", known, ends)
        opsets = [onnx.helper.make_opsetid(domain, version) for domain, version in self._opsets.items()]
        model = onnx.helper.make_model(graph, opset_imports=opsets, ir_version=10)
        try:
            results = ReferenceEvaluator(model).run(None, arrays)
        except Exception as e:  # it raises whatever its operations do
            raise node.refused(f"{type(e).__name__}: {first_line(e)}") from e
        if not all(isinstance(result, np.ndarray | np.generic) for result in results):
            raise node.refused("its result is no tensor")
        found = dict(zip(wanted, map(constant, results), strict=True))
        return [found.get(name, constant(0)) for name in each.output]

    def _inner(self, values: Mapping[str, Value], opsets: Mapping[str, int], node: Node) -> _Scope:
        if self._depth == DEEPEST:
            raise node.refused(f"it lies in {DEEPEST} others")
        return _Scope(opsets, values, self)

    def _function(self, each: onnx.NodeProto, node: Node, inputs: Sequence[Value | None]) -> list[Value]:
        """The results of a function of the standard, by the operations that it is made of."""
        try:
            body = function_body(each, self._opsets.get("" if each.domain in STANDARD else each.domain, 1), inputs)
        except Exception as e:  # errors of onnx' own code in C++
            raise node.refused(first_line(e)) from e
        if body is None:
            raise node.refused("there is no TFLite operation for it")
        given = {name: value for name, value in zip(body.input, inputs, strict=False) if value is not None}
        scope = self._inner(given, {**self._opsets, **_opsets(body.opset_import)}, node)
        count = max(place for place, is_read in enumerate(node.outputs) if is_read) + 1
        attributes = {attribute.name: attribute for attribute in (*body.attribute_proto, *each.attribute)}
        return scope.run([with_attributes(inner, attributes) for inner in body.node], body.output[:count])

    def _flow(self, node: Node, inputs: Sequence[Value | None]) -> list[Value]:
        """The results of a node that holds graphs, if what it does is known now.

        Raises:
            UnsupportedError: It depends on values.
        """
        if node.kind == "Scan":
            return self._scan(node, [value for value in inputs if value is not None])
        if any(value is not None and not value.is_constant for value in inputs[: 1 if node.kind == "If" else 2]):
            raise UnsupportedError(
                f"The model has control flow, which is not converted to TFLite: {node.kind} ({node.name}).",
                "ONNX schemes may still work.",
            )
        if node.kind == "Loop":
            return self._loop(node, inputs)
        (condition,) = inputs
        assert condition is not None
        return self._graph(node, "then_branch" if condition.stored.all() else "else_branch", [])

    def _graph(self, node: Node, name: str, given: Sequence[Value]) -> list[Value]:
        """The results of a graph inside a node, which sees the values around it."""
        graph = node.get(name)
        values = self._values | _constants(graph) | {v.name: g for v, g in zip(graph.input, given, strict=True)}
        return self._inner(values, self._opsets, node).run(graph.node, [value.name for value in graph.output])

    def _loop(self, node: Node, inputs: Sequence[Value | None]) -> list[Value]:
        most, condition, *carried = inputs
        turns = MOST_TURNS + 1 if most is None else int(most.stored.item())
        states = [value for value in carried if value is not None]
        goes_on = condition is None or bool(condition.stored.all())
        rows: list[list[Value]] = []
        while goes_on and len(rows) < turns:
            if len(rows) == MOST_TURNS:
                raise node.refused(f"it has more than {MOST_TURNS} turns")
            given = [constant(np.int64(len(rows))), constant(np.bool_(True)), *states]
            after, *results = self._graph(node, "body", given)
            if not after.is_constant:
                raise node.refused("whether it goes on depends on values")
            goes_on = bool(after.stored.all())
            states = results[: len(states)]
            rows.append(results[len(states) :])
        return [*states, *(_stacked(column) for column in zip(*rows, strict=True))]

    def _scan(self, node: Node, inputs: Sequence[Value]) -> list[Value]:
        count = node.get("num_scan_inputs")
        states, lists = list(inputs[: len(inputs) - count]), inputs[len(inputs) - count :]
        axes = node.get("scan_input_axes") or [0] * count
        backward = node.get("scan_input_directions") or [0] * count
        turns = lists[0].shape[axes[0]]
        if node.opset < 9 or turns > MOST_TURNS:
            raise node.refused(f"it has {turns} turns in opset {node.opset}")
        rows = []
        for turn in range(turns):
            places = [turns - 1 - turn if each else turn for each in backward]
            parts = [_part(value, axis, at) for value, axis, at in zip(lists, axes, places, strict=True)]
            results = self._graph(node, "body", [*states, *parts])
            states = results[: len(states)]
            rows.append(results[len(states) :])
        made = [[*column] for column in zip(*rows, strict=True)]
        backward_results = node.get("scan_output_directions") or [0] * len(made)
        ordered = [column[::-1] if each else column for column, each in zip(made, backward_results, strict=True)]
        result_axes = node.get("scan_output_axes") or [0] * len(made)
        return [*states, *(_stacked(column, axis) for column, axis in zip(ordered, result_axes, strict=True))]


def _stacked(values: Sequence[Value], axis: int = 0) -> Value:
    """What the turns of a loop made, on a new axis."""
    if all(value.is_constant for value in values):
        return constant(np.stack([value.stored for value in values], axis))
    return plain(tf.stack([first(value) for value in values], axis))


def _part(value: Value, axis: int, place: int) -> Value:
    """What lies at a place of an axis, without it."""
    if value.is_constant:
        return constant(np.take(value.stored, place, axis))
    return plain(tf.gather(first(value), place, axis=axis))


def _node(each: onnx.NodeProto, opset: int, read: set[str]) -> Node:
    attributes = {a.name: _readable(onnx.helper.get_attribute_value(a)) for a in each.attribute}
    name = each.name or next(filter(None, each.output), "")
    return Node(each.op_type, name, attributes, opset, tuple(out in read for out in each.output))


def _readable(value: Any) -> Any:
    """Text as `str`, and lists as lists."""
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if isinstance(value, str | int | float | onnx.TensorProto | onnx.GraphProto):
        return value
    return [_readable(each) for each in value] if isinstance(value, Iterable) else value


def _scope_name(name: str) -> str:
    """A name of TensorFlow for a node's: it has to begin with a letter."""
    plain_name = _UNNAMEABLE.sub("_", name).lstrip("/")
    return plain_name if re.match("[A-Za-z]", plain_name) else f"node_{plain_name}"
