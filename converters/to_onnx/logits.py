"""Leave the final softmax or sigmoid of a float ONNX model off."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

from edgepress.converters.adapter import End
from edgepress.converters.errors import not_at_end
from edgepress.converters.to_onnx.convert import finish
from edgepress.converters.to_onnx.interface import COPIES

if TYPE_CHECKING:
    import onnx


def without_end(model: onnx.ModelProto, end: End) -> onnx.ModelProto:
    """A copy of a float model without its final softmax or sigmoid, so that it returns logits; copies behind it stay.

    Raises:
        ConversionError: It does not end in one of this kind.
    """
    whole = copy.deepcopy(model)
    graph = whole.graph
    makers = {name: node for node in graph.node for name in node.output}
    node = makers.get(graph.output[0].name)
    while node is not None and node.op_type in COPIES:
        node = makers.get(node.input[0])
    if node is None or node.op_type != end.title():
        raise not_at_end(end)
    scores = node.output[0]
    logits = node.input[0]
    graph.node.remove(node)
    for reader in graph.node:
        for place, name in enumerate(reader.input):
            if name == scores:
                reader.input[place] = logits
    if graph.output[0].name == scores:
        graph.output[0].name = logits
    return finish(whole)
