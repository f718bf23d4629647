"""Values that bodies of Loop, If and Scan read from outside are copied, if they are dequantized ones or views of such.

ONNX Runtime moves a DequantizeLinear behind Transpose, Reshape and the like, to whatever reads the result. It looks for
that among the inputs of a node, where a value that only a node's body reads does not stand: the process aborts
(QDQPropagationTransformer, onnxruntime/core/optimizer/qdq_transformer/qdq_propagation.cc, release 1.32). A Concat of
one value is a copy that no optimizer removes or moves anything through; so is a Max, which takes single numbers, too.
"""

from __future__ import annotations

from edgepress.converters.to_onnx.graph import STANDARD, OnnxGraph, read_inside

_MOVED_BEHIND = ("MaxPool", "Reshape", "Transpose", "Squeeze", "Unsqueeze", "Flatten", "Slice", "Gather", "Identity")
"""Operations behind which ONNX Runtime may move a DequantizeLinear."""


def rewrite(graph: OnnxGraph) -> int:
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
