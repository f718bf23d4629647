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
    by that layer, anything else by the first name. No two tensors get the same.
    """
    root, graph = flat.read(model)
    weighted = {int(i) for op in graph.operators if flat.kind(root, op) in _WEIGHTED for i in op.outputs}
    ends = {int(i) for i in (*graph.inputs, *graph.outputs)}
    taken = {graph.tensors[i].name for i in ends}
    for index in sorted(set(range(len(graph.tensors))) - ends, key=lambda i: i not in weighted):
        tensor, number = graph.tensors[index], 0
        parts = (tensor.name or b"").split(b";")
        wanted = next(filter(_PRODUCT.match, parts), parts[0]) if index in weighted else parts[0]
        tensor.name = wanted
        while tensor.name in taken:
            number += 1
            tensor.name = wanted + f"_{number}".encode()
        taken.add(tensor.name)
    return flat.write(root)
