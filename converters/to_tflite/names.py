"""Shorter names for the tensors of a TFLite file."""

from __future__ import annotations

import re

from edgepress.converters.to_tflite import flatbuffer as flat

_WEIGHTED = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")
_PRODUCT = re.compile(rb".*/(convolution|depthwise|separable_conv2d|Conv2D|MatMul|BiasAdd)\w*$")
"""Matches the names that TensorFlow gives to what layers with weights compute."""


def with_short_names(model: bytes) -> bytes:
    """The same model, each tensor called by one of the names that TensorFlow's converter joined by ";".

    The converter joins the names of all operations that it fused to one, two hundred characters in MobileNets. They are
    a tenth of a small net's file, and more in ONNX files, which repeat them. What a layer with weights makes is called
    by that layer, anything else by the first name. The model's name, which they all begin with, is left out. No two
    tensors get the same, and the input and the output keep theirs.
    """
    root, graph = flat.read(model)
    weighted = {int(i) for op in graph.operators if flat.kind(root, op) in _WEIGHTED for i in op.outputs}
    ends = {int(i) for i in (*graph.inputs, *graph.outputs)}
    chosen: dict[int, bytes] = {}
    for index in sorted(set(range(len(graph.tensors))) - ends, key=lambda i: i not in weighted):
        parts = (graph.tensors[index].name or b"").split(b";")
        chosen[index] = next(filter(_PRODUCT.match, parts), parts[0]) if index in weighted else parts[0]
    models = {name.partition(b"/")[0] for name in chosen.values() if b"/" in name}
    shared = models.pop() + b"/" if len(models) == 1 else b""
    taken = {graph.tensors[i].name for i in ends}
    for index, whole in chosen.items():
        name, number = whole.removeprefix(shared), 0
        while name in taken:
            number += 1
            name = whole.removeprefix(shared) + f"_{number}".encode()
        taken.add(name)
        graph.tensors[index].name = name
    return flat.write(root)
