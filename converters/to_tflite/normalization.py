"""The normalization of each feature in front of a model of tensors, which integers can't hold.

Features of a table have ranges of their own: one is 0 to 1, another 300 to 1,700. A tensor of integers has one scale,
so the first one is lost before a Normalization layer evens the features out. Where a model begins with such a layer, it
is computed in float, and what it returns is quantized. Images have one range, and need that only if each pixel has
constants of its own, some of which may be enormous: Keras divides pixels that never vary by 1e-7.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from edgepress.converters.to_tflite.graph import Graph, only_reader

KINDS = ("ADD", "SUB", "MUL", "DIV")
VIEWS = ("RESHAPE", "EXPAND_DIMS", "SQUEEZE")
"""Operations that return the numbers that they read."""
MOST_DIMENSIONS = 3
"""Images have more, with the batch."""


def normalization(graph: Graph) -> list[Any]:
    """The operations in front of a float graph that shift or scale each feature by a constant of its own; may be none.

    Those that treat all features alike count, too, if another one beside them does not. Constants of each channel of an
    image are no reason.
    """
    return [op for source in graph.table.inputs for op in _behind(graph, int(source))]


def _behind(graph: Graph, at: int) -> list[Any]:
    """The same behind one input."""
    if graph.dtype(at) != np.float32:
        return []
    shape = graph.shape(at)
    alike = shape[-1] if len(shape) > MOST_DIMENSIONS else 1
    readers = graph.readers()
    chain: list[Any] = []
    sizes = []
    while (op := only_reader(readers, at)) is not None and graph.kind(op) in (*KINDS, *VIEWS):
        if graph.kind(op) in KINDS:
            constants = [values for i in op.inputs if (values := graph.constant(int(i))) is not None]
            if len(constants) != 1 or op.builtinOptions.fusedActivationFunction:
                break
            sizes.append(constants[0].size)
        chain.append(op)
        at = int(op.outputs[0])
    return chain if max(sizes, default=1) > alike else []


def normalization_names(model: bytes) -> list[str]:
    """Names of what the operations of `normalization` compute in a float model."""
    graph = Graph(model)
    return [graph.output_name(op) for op in normalization(graph)]
