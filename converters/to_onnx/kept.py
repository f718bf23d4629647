"""Find the nodes of the layers that a file of mixed precision computes in float.

The layers are known by the tensors that they make in the float `.tflite`. In a graph that tf2onnx made of that file,
outputs have these names, or longer ones; in one made of a TensorFlow graph, the scopes of its operations tell.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from edgepress.converters.kept import KeptLayer, layer_name

if TYPE_CHECKING:
    import onnx

_ADDED = re.compile(r"(_Gemm)?(__\d+)?(:\d+)?$")
"""Matches what tf2onnx appends to names, such as in "net/conv/Conv2D__86:0" or "Relu__5:0"."""
_UNNAMED = re.compile(r"^([A-Z][A-Za-z]*__\d+(:\d+)?$|edgepress)")
"""Matches names that tell no layer."""


def float_nodes(model: onnx.ModelProto, layers: Collection[KeptLayer]) -> list[str]:
    """Names of the nodes that compute these layers, or a part of them."""
    known = {name for layer in layers for name in layer.tensors}
    scopes = {scope for layer in layers for scope in layer.scopes}
    inside: set[str] = set()  # tensors that these nodes make
    found = []

    def belongs(node: Any, name: str) -> bool:
        plain = _ADDED.sub("", name)
        if plain in known or ("/" in plain and layer_name(plain) in scopes):
            return True
        return bool(_UNNAMED.match(name)) and bool(node.input) and node.input[0] in inside

    for node in model.graph.node:
        if any(belongs(node, name) for name in node.output):
            found.append(node.name)
            inside.update(node.output)
    return found
