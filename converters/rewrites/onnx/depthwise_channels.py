"""Depthwise convolutions of 8 bits get a multiple of 16 channels, where the convolutions around them can give them.

ONNX Runtime's direct depthwise convolution on x86 takes multiples of 16 channels (of 8 on ARM); others go through a
kernel that is 2.5 times slower (MlasConvSymPackWSize, onnxruntime/core/mlas/lib/convsym.cpp, since release 1.11).
Channels are repeated from the convolution before, through whatever works on each channel by itself, to the convolution
behind, whose weights for them are zero. As repeated channels, they widen no range.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from edgepress.converters.arrays import Array
from edgepress.converters.to_onnx.graph import OnnxGraph, attribute, set_attributes

MULTIPLE = 16
"""Channels that the kernel takes at once."""
MOST = 1.5
"""Largest growth of a net's width."""
_ALONE = ("Relu", "Clip", "HardSigmoid", "Sigmoid", "Tanh", "LeakyRelu", "Elu", "HardSwish", "Identity")
_POOLS = ("GlobalAveragePool", "AveragePool", "MaxPool")
_PAIRS = ("Add", "Mul", "Sub", "Div")


def rewrite(graph: OnnxGraph) -> int:
    """Widen the depthwise convolutions that gain; returns how many."""
    changed = 0
    for node in graph.nodes("Conv"):
        count = _depthwise(graph, node)
        if count is None:
            continue
        wide = count + -count % MULTIPLE
        values = _Channels(graph, count)
        if wide == count or wide > MOST * count or not values.follow(node):
            continue
        changed += sum(_depthwise(graph, n) == count for n in values.makers)
        values.widen(wide)
    if changed:
        del graph.proto.value_info[:]
    return changed


def _depthwise(graph: OnnxGraph, node: Any) -> int | None:
    """Number of channels of a depthwise convolution with one filter a channel; None for others."""
    weights = graph.constant(node.input[1]) if node.op_type == "Conv" and not node.domain else None
    group: int | None = attribute(node, "group")
    return group if weights is not None and weights.shape[:2] == (group, 1) else None


class _Channels:
    """The values that have the same channels, and the nodes that make and read them."""

    def __init__(self, graph: OnnxGraph, count: int) -> None:
        self.graph = graph
        self.count = count
        self.values: set[str] = set()
        self.makers: list[Any] = []
        self._ends: list[Any] = []

    def follow(self, node: Any) -> bool:
        """Find all that is connected; False if some of it can't be widened."""
        pending = [node.input[0], node.output[0]]
        while pending:
            value = pending.pop()
            if value in self.values:
                continue
            shape = self.graph.shape(value)
            maker = self.graph.maker(value)
            if maker is None or shape is None or len(shape) != 4 or shape[1] != self.count:
                return False
            self.values.add(value)
            if any(reader is None for reader in self.graph.readers(value)):
                return False
            for other in (maker, *self.graph.readers(value)):
                if other is not maker and _is_dense(self.graph, other):
                    self._ends.append(other)
                    continue
                connected = self._values_beside(other)
                if connected is None:
                    return False
                if all(other is not m for m in self.makers):
                    self.makers.append(other)
                pending += connected
        return True

    def _values_beside(self, node: Any) -> list[str] | None:
        """The values with these channels that a node reads and makes; None if it does not keep channels apart."""
        graph = self.graph
        if node.domain:
            return None
        if node.op_type == "Conv":
            if len(node.input) > 2 and graph.constant(node.input[2]) is None:
                return None
            if _depthwise(graph, node) == self.count:
                return [node.input[0], node.output[0]]
            return [node.output[0]] if _is_dense(graph, node) else None
        if node.op_type in _ALONE or node.op_type in _POOLS or (node.op_type == "Pad" and self._pads_space(node)):
            return [node.input[0], node.output[0]] if len(node.output) == 1 else None
        if node.op_type not in _PAIRS:
            return None
        connected = [node.output[0]]
        for name in node.input:
            constant = graph.constant(name)
            if constant is None:
                connected.append(name)
            elif constant.size != 1 and not self._by_channel(constant):
                return None
        return connected

    def _by_channel(self, constant: Array) -> bool:
        shape = (1,) * (4 - constant.ndim) + constant.shape
        return bool(shape == (1, self.count, 1, 1))

    def _pads_space(self, node: Any) -> bool:
        pads = self.graph.constant(node.input[1]) if len(node.input) in (2, 3) else None
        return pads is not None and not pads.reshape(2, 4)[:, :2].any()

    def widen(self, wide: int) -> None:
        """Repeat channels where they are made, and let nothing depend on the copies where they are read."""
        graph = self.graph
        copies = np.arange(wide) % self.count
        for node in self.makers:
            if node.op_type == "Conv":
                for place in range(1, len(node.input)):
                    constant = graph.constant(node.input[place])
                    assert constant is not None
                    graph.feed(node, place, graph.add_constant(constant[copies]))
                if attribute(node, "group", 1) != 1:
                    set_attributes(node, group=wide)
            elif node.op_type in _PAIRS:
                for place, name in enumerate(node.input):
                    constant = graph.constant(name)
                    if constant is not None and constant.size > 1:
                        axis = constant.ndim - 3
                        graph.feed(node, place, graph.add_constant(np.take(constant, copies, axis)))
        for node in self._ends:
            weights = graph.constant(node.input[1])
            assert weights is not None
            empty = np.zeros((len(weights), wide - self.count, *weights.shape[2:]), weights.dtype)
            graph.feed(node, 1, graph.add_constant(np.concatenate((weights, empty), 1)))


def _is_dense(graph: OnnxGraph, node: Any) -> bool:
    """Whether a node is a convolution of all channels, of known weights."""
    if node.op_type != "Conv" or node.domain or attribute(node, "group", 1) != 1:
        return False
    return graph.constant(node.input[1]) is not None
