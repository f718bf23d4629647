"""Find the nodes of the layers that a file of mixed precision computes in float.

The layers are known by the tensors that they make in the float `.tflite`. A graph made of that file (`from_tflite`) has
their names, with a word behind them where one operation became several; in one that tf2onnx made of a TensorFlow graph,
the scopes of operations and weights tell.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import TYPE_CHECKING

from edgepress.converters.kept import KeptLayer, layer_name

if TYPE_CHECKING:
    import onnx

_ADDED = re.compile(r"(_Gemm)?(__\d+)?(:\d+)?$")
"""Matches what tf2onnx appends to names, such as in "net/conv/Conv2D__86:0" or "Relu__5:0"."""
_WORD = re.compile(r"_[a-z]*$")
"""Matches what `emission` appends to them, such as "_linear" or "_channels_first"."""
_UNNAMED = re.compile(r"^([A-Z][A-Za-z]*__\d+(:\d+)?$|edgepress)")
"""Matches names that tell no layer."""
_FUSED = ("Relu", "Clip")
"""Activations that TFLite computes in the operation before them."""


def float_nodes(model: onnx.ModelProto, layers: Collection[KeptLayer]) -> list[str]:
    """Names of the nodes that compute these layers, or a part of them."""
    whole = {name for layer in layers for name in layer.tensors}
    parts = {part for name in whole for part in name.split(";") if "/" in part}
    known = whole | parts | {part.rstrip("0123456789") for part in parts}
    scopes = {scope for layer in layers for scope in layer.scopes}
    weights = {tensor.name for tensor in model.graph.initializer}
    inside: set[str] = set()  # tensors that these nodes make
    found = []

    def tells(name: str) -> bool:
        plain = _ADDED.sub("", name)
        if "/" in plain and layer_name(plain) in scopes:
            return True
        while plain not in known and _WORD.search(plain):
            plain = _WORD.sub("", plain)
        return plain in known

    for node in model.graph.node:
        own = [*node.output, node.name, *(name for name in node.input if name in weights)]
        unnamed = node.op_type in _FUSED or all(_UNNAMED.match(name) for name in node.output)
        if any(map(tells, own)) or (unnamed and {*node.input[:1]} & inside):
            found.append(node.name)
            inside.update(node.output)
    return found
