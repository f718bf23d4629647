"""A 1x1 convolution of stride 1 whose weights get four bits becomes FULLY_CONNECTED, which is the same product.

XNNPACK unpacks the four bits of int8 x int4 FULLY_CONNECTED once, and takes no such CONV_2D, which so runs in LiteRT's
own kernel (LiteRT, tflite/delegates/xnnpack/xnnpack_delegate.cc, `VisitFullyConnectedNode`): MobileNetV2 at 64x64 takes
as long as with eight bits, and twice as long with CONV_2D (docs/decisions.md).
"""

from __future__ import annotations

from typing import Any

from edgepress.converters.rewrites.tflite.windows import activation, result
from edgepress.converters.to_tflite.four_bits import four_bit_layers
from edgepress.converters.to_tflite.graph import Graph


def matches(graph: Graph) -> list[Any]:
    """The 1x1 convolutions of stride 1 whose weights get four bits."""
    return [op for op in four_bit_layers(graph) if _is_product(graph, op)]


def change(graph: Graph, op: Any) -> None:
    """Replace a convolution by FULLY_CONNECTED."""
    weights = int(op.inputs[1])
    values = graph.constant(weights)
    assert values is not None
    outputs, _, _, inputs = values.shape
    flat = graph.add_constant(values.reshape(outputs, inputs).copy(), f"{graph.name(weights)}_dense")
    dense = graph.operator(
        "FULLY_CONNECTED",
        [int(op.inputs[0]), flat, *(int(i) for i in op.inputs[2:])],
        result(op),
        fusedActivationFunction=activation(op),
        keepNumDims=True,
    )
    graph.replace(op, dense)


def _is_product(graph: Graph, op: Any) -> bool:
    options = op.builtinOptions
    return (
        graph.kind(op) == "CONV_2D"
        and graph.shape(int(op.inputs[1]))[1:3] == (1, 1)
        and (options.strideH, options.strideW) == (1, 1)
    )
