"""An ONNX model that rewrites change in place: its nodes by what they read and make, its constants as arrays."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from edgepress.converters.adapter import free_prefix
from edgepress.converters.arrays import Array

STANDARD = ("", "ai.onnx")
MICROSOFT = "com.microsoft"
"""Of ONNX Runtime's own operations, version 1."""
VIEWS = ("Transpose", "Reshape")
"""Operations that hold the values that they read."""
FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE)
"""Types of values that are not whole numbers."""
LARGE = 1024
"""Constants of more values than this are weights, on which no shape depends."""


class OnnxGraph:
    """The main graph of a model, indexed.

    Attributes:
        proto: The graph, which is changed in place.
        opset: Version of the standard operations.
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        self._model = model
        self.proto = model.graph
        self.opset = next((o.version for o in model.opset_import if o.domain in STANDARD), 1)
        self._tensors = {t.name: t for t in self.proto.initializer}
        self._makers = {name: node for node in self.proto.node for name in node.output if name}
        self._readers: dict[str, list[Any]] = {}
        for node in self.proto.node:
            for name in dict.fromkeys(filter(None, node.input)):
                self._readers.setdefault(name, []).append(node)
        self._kept = {value.name for value in self.proto.output}.union(*map(read_inside, self.proto.node))
        self._types: dict[str, Any] | None = None
        self._prefix = free_prefix({n.name for n in self.proto.node}.union(self._makers, self._tensors))
        self._number = 0

    @property
    def operators(self) -> list[Any]:
        """All nodes, in their order."""
        return list(self.proto.node)

    def nodes(self, *kinds: str) -> list[Any]:
        """The standard nodes of some kinds, as they were in the beginning."""
        return [n for n in self.proto.node if n.op_type in kinds and n.domain in STANDARD]

    def maker(self, name: str, kind: str | None = None) -> Any:
        """The node that makes a value; None if there is none, or it is not of this kind."""
        node = self._makers.get(name)
        return node if node is not None and (kind is None or _is(node, kind)) else None

    def readers(self, name: str) -> list[Any]:
        """The nodes that read a value; None is one that can't read another: an output or a graph inside a node."""
        return [*self._readers.get(name, []), *([None] if name in self._kept else [])]

    def only_reader(self, name: str, kind: str | None = None) -> Any:
        """The only node that reads a value; None if others do, or it is not of this kind."""
        readers = self.readers(name)
        return (
            readers[0] if len(readers) == 1 and readers[0] is not None and (not kind or _is(readers[0], kind)) else None
        )

    def constant(self, name: str) -> Array | None:
        """Value of a constant; None if the value is none."""
        if name in self._tensors:
            values: Array = numpy_helper.to_array(self._tensors[name])
            return values
        node = self.maker(name, "Constant")
        tensor = next((a.t for a in node.attribute if a.name == "value"), None) if node is not None else None
        return None if tensor is None else numpy_helper.to_array(tensor)

    def scalar(self, name: str) -> float | None:
        """Value of a constant of one element; None if it is none."""
        values = self.constant(name)
        return float(values.ravel()[0]) if values is not None and values.size == 1 else None

    def operand(self, node: Any) -> tuple[str, Array] | None:
        """The computed and the constant input of a node of two; None if it has not one of each."""
        if len(node.input) != 2:
            return None
        for computed, constant in (node.input, reversed(node.input)):
            values = self.constant(constant)
            if values is not None and self.constant(computed) is None:
                return computed, values
        return None

    def shape(self, name: str) -> tuple[int, ...] | None:
        """Shape of a value, -1 where it is free; None if it is not known."""
        if name in self._tensors:
            return tuple(self._tensors[name].dims)
        kind = self._type(name)
        if kind is None or not kind.HasField("shape"):
            return None
        return tuple(d.dim_value if d.HasField("dim_value") else -1 for d in kind.shape.dim)

    def is_float(self, name: str) -> bool:
        """Whether a value is known to be of floats."""
        kind = self._type(name)
        return kind is not None and kind.elem_type in FLOATS

    def _type(self, name: str) -> Any:
        """Type and shape of a value that is not an initializer; None if they are not known."""
        if self._types is None:
            inferred = onnx.shape_inference.infer_shapes(self._without_weights(), data_prop=True).graph
            values = (*inferred.value_info, *inferred.input, *inferred.output)
            self._types = {v.name: v.type.tensor_type for v in values}
        return self._types.get(name)

    def _without_weights(self) -> onnx.ModelProto:
        """The model with its large constants as inputs, because inferring shapes copies all of it."""
        light = onnx.ModelProto(ir_version=self._model.ir_version, opset_import=self._model.opset_import)
        graph = light.graph
        graph.name = self.proto.name
        for field in ("node", "input", "output", "value_info"):
            getattr(graph, field).extend(getattr(self.proto, field))
        for tensor in self.proto.initializer:
            if np.prod(tensor.dims) <= LARGE:
                graph.initializer.append(tensor)
            else:
                graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
        return light

    def add_constant(self, value: Array) -> str:
        """Add a constant; returns its name."""
        name = self._name("constant")
        tensor = numpy_helper.from_array(np.asarray(value, order="C"), name)
        self.proto.initializer.append(tensor)
        self._tensors[name] = tensor
        return name

    def add(self, kind: str, inputs: list[str], output: str = "", *, domain: str = "", **attributes: Any) -> str:
        """Add a node, and its domain if the model lacks it; returns the name of what it makes. `finish` sorts it in."""
        if domain and all(entry.domain != domain for entry in self._model.opset_import):
            self._model.opset_import.append(helper.make_opsetid(domain, 1))
        output = output or self._name(kind)
        self.add_node(kind, inputs, [output], domain=domain, **attributes)
        return output

    def add_node(self, kind: str, inputs: list[str], outputs: list[str], *, domain: str = "", **others: Any) -> None:
        """Add a node that makes values of these names; `others` are its attributes."""
        self.proto.node.append(helper.make_node(kind, inputs, outputs, self._name("node"), domain=domain, **others))
        node = self.proto.node[-1]
        self._makers |= dict.fromkeys(outputs, node)
        for name in dict.fromkeys(inputs):
            self._readers.setdefault(name, []).append(node)

    def replace(self, name: str, kind: str, inputs: list[str], *, domain: str = "", **attributes: Any) -> None:
        """Let a new node make a value, under its name, instead of the one that makes it, which makes another."""
        old = self._makers[name]
        self.rename(old, name)
        self.add(kind, inputs, name, domain=domain, **attributes)
        self._makers[name].name, old.name = old.name, self._makers[name].name

    def rename(self, maker: Any, name: str) -> str:
        """Let a node make a value under another name, which nothing reads yet; returns it."""
        new = self._name(maker.op_type)
        maker.output[list(maker.output).index(name)] = new
        self._makers[new] = self._makers.pop(name)
        return new

    def feed(self, node: Any, place: int, name: str) -> None:
        """Let an input of a node be another value; `place` may be the one behind its last."""
        if place == len(node.input):
            node.input.append(name)
        else:
            old = node.input[place]
            node.input[place] = name
            if old not in node.input:
                self._readers[old] = [n for n in self._readers[old] if n is not node]
        self._readers.setdefault(name, []).append(node)

    def move_readers(self, old: str, new: str) -> bool:
        """Let all readers of a value read another; changes nothing and returns False if one of them is None."""
        if old in self._kept:
            return False
        for node in self._readers.pop(old, []):
            for place, name in enumerate(node.input):
                if name == old:
                    node.input[place] = new
            self._readers.setdefault(new, []).append(node)
        return True

    def finish(self) -> None:
        """Remove the nodes and constants that nothing reads any more, and sort the nodes as the standard requires."""
        needed = {v.name for v in self.proto.output}
        pending = [v.name for v in self.proto.output]
        while pending:
            node = self._makers.get(pending.pop())
            for name in read_names(node) if node is not None else ():
                if name not in needed:
                    needed.add(name)
                    pending.append(name)
        for field, names in (("node", "output"), ("initializer", "name"), ("value_info", "name")):
            items = getattr(self.proto, field)
            for place in reversed(range(len(items))):
                if not needed & set(getattr(items[place], names) if names == "output" else [items[place].name]):
                    del items[place]
        sort_nodes(self.proto)

    def _name(self, what: str) -> str:
        self._number += 1
        return f"{self._prefix}_{what}_{self._number}"


def attribute(node: Any, name: str, default: Any = None) -> Any:
    """Value of a node's attribute."""
    return next((helper.get_attribute_value(a) for a in node.attribute if a.name == name), default)


def set_attributes(node: Any, **values: Any) -> None:
    """Set attributes of a node."""
    others = [a for a in node.attribute if a.name not in values]
    del node.attribute[:]
    node.attribute.extend([*others, *(helper.make_attribute(name, value) for name, value in values.items())])


def zeros_added(graph: OnnxGraph, pad: Any, axes: tuple[int, int]) -> npt.NDArray[np.int64] | None:
    """How many zeros a Pad adds before and behind two axes; None if it does anything else."""
    value = graph.scalar(pad.input[2]) if len(pad.input) > 2 and pad.input[2] else 0.0
    pads = graph.constant(pad.input[1]) if len(pad.input) > 1 else None
    if value != 0 or len(pad.input) > 3 or attribute(pad, "mode", b"constant") != b"constant":
        return None
    if pads is None or pads.size != 8 or pads.min() < 0:
        return None
    sides = pads.reshape(2, 4)
    return None if np.delete(sides, axes, 1).any() else sides[:, axes].astype(np.int64)


def sort_nodes(graph: onnx.GraphProto) -> None:
    """Put each node behind those that make what it reads, graphs inside it included, and else change no order.

    `OnnxModel.topological_sort` of ONNX Runtime 1.32 does not look into graphs inside nodes.
    """
    nodes = list(graph.node)
    makers = {name: place for place, node in enumerate(nodes) for name in node.output if name}
    order: dict[int, None] = {}
    pending = list(reversed(range(len(nodes))))
    while pending:
        place = pending[-1]
        before = [makers[name] for name in read_names(nodes[place]) if name in makers and makers[name] not in order]
        if place in order or not before:
            order[pending.pop()] = None
        else:
            pending += before
    ordered = [copy.deepcopy(nodes[place]) for place in order]
    del graph.node[:]
    graph.node.extend(ordered)


def _is(node: Any, kind: str) -> bool:
    return bool(node.op_type == kind and node.domain in STANDARD)


def read_names(node: Any) -> Iterator[str]:
    """Names of what a node reads, also in graphs inside it."""
    yield from filter(None, node.input)
    yield from read_inside(node)


def read_inside(node: Any) -> Iterator[str]:
    """Names of what the nodes of graphs inside a node read."""
    for a in node.attribute:
        for graph in (*([a.g] if a.HasField("g") else []), *a.graphs):
            for inner in graph.node:
                yield from read_names(inner)
