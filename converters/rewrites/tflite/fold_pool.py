"""A pool of one value, which only leaves out rows and columns, goes into the strides of the 1x1 convolutions behind it.

XNNPACK does not take AVERAGE_POOL_2D or MAX_POOL_2D whose stride is larger than the filter (LiteRT,
tflite/delegates/xnnpack/xnnpack_delegate.cc, `CheckPoolingParams`), so such a pool, as NASNet has in its reduction
cells, runs in a built-in kernel and divides the graph.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from edgepress.converters.rewrites.tflite.windows import activation, operand, result
from edgepress.converters.to_tflite.graph import Graph

_POOLS = ("AVERAGE_POOL_2D", "MAX_POOL_2D")


def matches(graph: Graph) -> Iterator[Any]:
    """Every pool with windows of one value that only 1x1 convolutions read."""
    readers = graph.readers()
    for pool in [op for op in graph.operators if graph.kind(op) in _POOLS and _picks(op)]:
        after = readers.get(result(pool), [])
        if after and all(op is not None and _is_pointwise(graph, op, result(pool)) for op in after):
            yield pool


def change(graph: Graph, pool: Any) -> None:
    """Remove a pool."""
    for op in graph.readers()[result(pool)]:
        op.inputs = [operand(pool), *op.inputs[1:]]
        op.builtinOptions.strideH *= pool.builtinOptions.strideH
        op.builtinOptions.strideW *= pool.builtinOptions.strideW
    graph.operators.remove(pool)


def _picks(pool: Any) -> bool:
    """Whether a pool has windows of one value, and is not just a copy."""
    options = pool.builtinOptions
    one = (options.filterHeight, options.filterWidth) == (1, 1)
    return one and (options.strideH, options.strideW) != (1, 1) and not activation(pool)


def _is_pointwise(graph: Graph, op: Any, tensor: int) -> bool:
    return graph.kind(op) == "CONV_2D" and int(op.inputs[0]) == tensor and graph.shape(int(op.inputs[1]))[1:3] == (1, 1)
