"""Rewrites of quantized ONNX graphs, whose values have 8 bits.

ONNX Runtime's direct depthwise convolution on x86 takes multiples of 16 channels (of 8 on ARM); others go through a
kernel that is 2.5 times slower (MlasConvSymPackWSize, onnxruntime/core/mlas/lib/convsym.cpp, since release 1.11).
Channels are repeated from the convolution before, through whatever works on each channel by itself, to the convolution
behind, whose weights for them are zero. As repeated channels, they widen no range.

A Relu of 8 bits that reads a value which others read too becomes a Clip of its bytes.

Between DequantizeLinear and QuantizeLinear, ONNX Runtime runs three kernels for it: it drops a Relu behind an operation
whose only reader it is, and has no kernel for others (release 1.32). The result keeps scale and zero point of what is
read, so that nothing is rounded again; a Pad by zeros behind it is one of bytes as well.

Values that bodies of Loop, If and Scan read from outside are copied, if they are dequantized ones or views of such.

ONNX Runtime moves a DequantizeLinear behind Transpose, Reshape and the like, to whatever reads the result. It looks for
that among the inputs of a node, where a value that only a node's body reads does not stand: the process aborts
(QDQPropagationTransformer, onnxruntime/core/optimizer/qdq_transformer/qdq_propagation.cc, release 1.32). A Concat of
one value is a copy that no optimizer removes or moves anything through; so is a Max, which takes single numbers, too.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from edgepress.converters.arrays import Array
from edgepress.converters.to_onnx.graph import STANDARD, OnnxGraph, attribute, read_inside, set_attributes

MULTIPLE = 16
"""Channels that the kernel takes at once."""
MOST = 1.5
"""Largest growth of a net's width."""
_ALONE = ("Relu", "Clip", "HardSigmoid", "Sigmoid", "Tanh", "LeakyRelu", "Elu", "HardSwish", "Identity")
_POOLS = ("GlobalAveragePool", "AveragePool", "MaxPool")
_PAIRS = ("Add", "Mul", "Sub", "Div")


def rewrite_depthwise_channels(graph: OnnxGraph) -> int:
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


_READERS = ("Conv", "Add", "Mul", "Concat", "Pad", "GlobalAveragePool", "Relu", "MatMul")
"""What may read the result: operations whose own result has its own scale."""


def rewrite_relu_bytes(graph: OnnxGraph) -> int:
    """Replace Relus whose input others read too; returns how many."""
    changed = 0
    for relu in graph.nodes("Relu"):
        (value,), (result,) = relu.input, relu.output
        before = graph.maker(value, "DequantizeLinear")
        after = graph.only_reader(result, "QuantizeLinear")
        if before is None or after is None or len(before.input) < 3:
            continue
        zero = graph.constant(before.input[2])
        if graph.scalar(before.input[1]) is None or zero is None or zero.size != 1 or zero.dtype != np.uint8:
            continue
        if not _may_change(graph, after):
            continue
        clipped = graph.add("Clip", [before.input[0], graph.add_constant(zero.reshape(()))])
        _follow(graph, after, clipped, list(before.input[1:]))
        changed += 1
    return changed


def _may_change(graph: OnnxGraph, quantize: Any) -> bool:
    """Whether all that reads a quantized value can take it in another scale."""
    if len(quantize.input) < 3 or graph.scalar(quantize.input[1]) is None:
        return False
    for dequantize in graph.readers(quantize.output[0]):
        if dequantize is None or dequantize.op_type != "DequantizeLinear":
            return False
        for node in graph.readers(dequantize.output[0]):
            if node is None or node.op_type not in _READERS or node.domain:
                return False
            if node.op_type == "Conv" and (node.input[0] != dequantize.output[0] or not _bias(graph, node)):
                return False
            if node.op_type == "Pad":
                padded = graph.only_reader(node.output[0], "QuantizeLinear")
                zeros = attribute(node, "mode", b"constant") == b"constant" and len(node.input) in (2, 3)
                zeros = zeros and (len(node.input) == 2 or not node.input[2] or graph.scalar(node.input[2]) == 0)
                if not zeros or padded is None or not _may_change(graph, padded):
                    return False
    return True


def _bias(graph: OnnxGraph, conv: Any) -> bool:
    """Whether a convolution has no bias, or one that can be given another scale."""
    if len(conv.input) < 3:
        return True
    bias = graph.maker(conv.input[2], "DequantizeLinear")
    return bias is not None and all(graph.constant(name) is not None for name in bias.input)


def _follow(graph: OnnxGraph, quantize: Any, stored: str, scale: list[str]) -> None:
    """Let all that reads a quantized value read another, of another scale."""
    old = graph.scalar(quantize.input[1])
    new = graph.scalar(scale[0])
    assert old is not None
    assert new is not None
    for dequantize in graph.readers(quantize.output[0]):
        for place, name in enumerate([stored, *scale]):
            graph.feed(dequantize, place, name)
        for node in graph.readers(dequantize.output[0]):
            if node.op_type == "Conv" and len(node.input) > 2:
                _rescale(graph, node, new / old)
            elif node.op_type == "Pad":
                zero = graph.constant(scale[1])
                assert zero is not None
                padded = graph.add("Pad", [stored, node.input[1], graph.add_constant(zero.reshape(()))])
                _follow(graph, graph.only_reader(node.output[0]), padded, scale)


def _rescale(graph: OnnxGraph, conv: Any, factor: float) -> None:
    """Multiply the scale of a stored bias, which is the input's times the weights', by a factor."""
    old = graph.maker(conv.input[2])
    stored = graph.constant(old.input[0])
    scale = graph.constant(old.input[1])
    assert stored is not None
    assert scale is not None
    limit = np.iinfo(np.int32).max
    changed = np.clip(np.round(stored / factor), -limit, limit).astype(np.int32)
    names = [graph.add_constant(changed), graph.add_constant((scale * factor).astype(np.float32)), *old.input[2:]]
    attributes = {a.name: attribute(old, a.name) for a in old.attribute}
    graph.feed(conv, 2, graph.add("DequantizeLinear", names, **attributes))


_MOVED_BEHIND = ("MaxPool", "Reshape", "Transpose", "Squeeze", "Unsqueeze", "Flatten", "Slice", "Gather", "Identity")
"""Operations behind which ONNX Runtime may move a DequantizeLinear."""


def rewrite_body_inputs(graph: OnnxGraph) -> int:
    """Copy the dequantized values that bodies read from outside; returns how many."""
    names = dict.fromkeys(name for node in graph.operators for name in read_inside(node))
    dequantized = [name for name in names if _is_dequantized(graph, name)]
    for name in dequantized:
        maker = graph.maker(name)
        readers = graph.readers(name)
        outside = graph.rename(maker, name)
        for node in filter(None, readers):
            for place in (place for place, source in enumerate(node.input) if source == name):
                graph.feed(node, place, outside)
        if graph.shape(name):
            graph.add("Concat", [outside], name, axis=0)
        else:
            graph.add("Max", [outside], name)
    return len(dequantized)


def _is_dequantized(graph: OnnxGraph, name: str) -> bool:
    """Whether a value is that of a DequantizeLinear, or a view of one."""
    maker = graph.maker(name)
    while maker is not None and maker.domain in STANDARD and maker.op_type in _MOVED_BEHIND:
        maker = graph.maker(maker.input[0])
    return maker is not None and maker.domain in STANDARD and maker.op_type == "DequantizeLinear"
