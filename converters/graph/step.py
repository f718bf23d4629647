"""One operation of a program."""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from edgepress.converters.arrays import Array
from edgepress.converters.numeric.macs import TFLITE, count

WEIGHTED = {"CONV_2D": 0, "DEPTHWISE_CONV_2D": 3, "FULLY_CONNECTED": 0}
"""The kinds of operations that have weights, and the axis of their weights that holds the output channels."""


class UnknownOperationError(Exception):
    """A `Program` can't compute the graph, for example because it does not know an operation; the message says why."""


@dataclass(frozen=True)
class Step:
    """One operation of a graph.

    Attributes:
        kind: Its kind, by the name in TFLite's schema, such as "CONV_2D".
        inputs: Names of the tensors that it reads, "" for one that is left out.
        outputs: Names of the tensors that it makes.
        options: Its table of options in the schema; None if it has none.
        shape: Shape of its first output for one item.
        dtype: NumPy type of its first output; None if NumPy has none.
        input_shapes: Shapes of its inputs for one item, () of one that is left out.
        constants: Values of its constant inputs by position.
    """

    kind: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    options: Any
    shape: tuple[int, ...]
    dtype: np.dtype[Any] | None
    input_shapes: tuple[tuple[int, ...], ...]
    constants: Mapping[int, Array] = field(repr=False)

    @property
    def output(self) -> str:
        """Name of its first output."""
        return self.outputs[0]

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of its first input for one item."""
        return self.input_shapes[0] if self.input_shapes else ()

    @property
    def weights(self) -> str:
        """Name of its weights if they are constant, "" otherwise."""
        return self.inputs[1] if self.kind in WEIGHTED and 1 in self.constants else ""

    @property
    def bias(self) -> str:
        """Name of its bias if it is constant, "" otherwise."""
        return self.inputs[2] if self.weights and 2 in self.constants else ""

    @property
    def without_activation(self) -> Step:
        """The same step without its activation."""
        if not getattr(self.options, "fusedActivationFunction", 0):
            return self
        options = copy.copy(self.options)
        options.fusedActivationFunction = 0
        return dataclasses.replace(self, options=options)

    @property
    def macs(self) -> int:
        """MACs for one item; for an operation without weights, the number of elements of its output."""
        counted = count(TFLITE, self.kind, self.input_shapes, self.shape) if self.weights else None
        return math.prod(self.shape) if counted is None else counted

    def constant_integers(self, position: int) -> list[int]:
        """A constant input of integers as a list."""
        values: list[int] = self.constants[position].ravel().tolist()
        return values


OperationFunction = Callable[[Step, Sequence[Any]], Any]
"""Computes the output of a step, or a tuple of several, from its inputs; an input that is left out is None."""
