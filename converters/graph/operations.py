"""What each kind of TFLite operation computes, in TensorFlow, for any number of items at once.

The first axis of a graph's tensors is that of its one item; here it has as many as are run together. What they mean is
what LiteRT's reference kernels do (tflite/kernels/internal/reference).
"""

from __future__ import annotations

from edgepress.converters.graph.arithmetic import ARITHMETIC
from edgepress.converters.graph.layers import LAYERS
from edgepress.converters.graph.shapes import SHAPES
from edgepress.converters.graph.step import OperationFunction

OPERATIONS: dict[str, OperationFunction] = LAYERS | ARITHMETIC | SHAPES
"""By the name of the kind in the schema."""
