"""The integer graph of a TFLite file: what `read` returns and `lowering` takes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgepress.runtime.errors import ModelFileError

Array = npt.NDArray[Any]
MAKE = "Make a file that fits: edgepress convert MODEL --to tflite-int8 --target integer-only"
REPLACE = f"{MAKE}. If that file has the operation, too, replace its layer, or export it with --to tflm."


def unsupported(what: str, why: str, hint: str = MAKE) -> ModelFileError:
    """The error for something that is not turned into C; `what` it is ("operation 3 (CONV_2D)")."""
    return ModelFileError(f"Export to C does not support {what}: {why}.", hint)


@dataclass(frozen=True, eq=False)
class Tensor:
    """A tensor.

    Attributes:
        index: Its number in the file.
        name: Its name in the file, which may be anything.
        shape: Its shape, the batch included.
        dtype: "int8", "uint8", "int32", or the name of a type that no step computes with.
        scales: One scale, one a channel, or none.
        zero_points: As many.
        axis: The axis of the channels that have their own scales.
        data: The values of a constant, of `shape`; None of activations.
        is_variable: Whether it keeps its values from one call to the next.
    """

    index: int
    name: str
    shape: tuple[int, ...]
    dtype: str
    scales: npt.NDArray[np.float32]
    zero_points: npt.NDArray[np.int64]
    axis: int
    data: Array | None
    is_variable: bool = False

    @property
    def size(self) -> int:
        """Number of values, which is the number of bytes of activations."""
        return math.prod(self.shape)

    @property
    def bytes(self) -> int:
        """Bytes of its values."""
        return self.size * np.dtype(self.dtype).itemsize

    @property
    def scale(self) -> float:
        """The only scale, as a double holds it."""
        return float(self.scales[0])

    @property
    def zero_point(self) -> int:
        """The only zero point."""
        return int(self.zero_points[0])


@dataclass(frozen=True, eq=False)
class Operation:
    """An operation.

    Attributes:
        index: Its place in the file, from 0.
        kind: Its name in the schema, such as "CONV_2D".
        inputs: Its inputs; None where an optional one is left out.
        outputs: Its outputs.
        options: Its numbers, by the names in `read.OPTIONS`.
    """

    index: int
    kind: str
    inputs: tuple[Tensor | None, ...]
    outputs: tuple[Tensor, ...]
    options: Mapping[str, float]

    def refuse(self, why: str) -> ModelFileError:
        """The error for an operation that is not turned into C."""
        return unsupported(f"operation {self.index} ({self.kind})", why, REPLACE)

    def option(self, name: str) -> int:
        """A whole option."""
        return int(self.options[name])

    @property
    def output(self) -> Tensor:
        """The only output.

        Raises:
            ModelFileError: There is another number of them.
        """
        if len(self.outputs) != 1:
            raise self.refuse(f"it has {len(self.outputs)} outputs")
        return self.outputs[0]

    def activation(self, dtypes: tuple[str, ...] = ("int8",)) -> Tensor:
        """The first input, if it is not a constant, of one of these types, with one scale.

        Raises:
            ModelFileError: It is something else.
        """
        tensor = self._at(0)
        if tensor.data is not None:
            raise self.refuse("its first input is constant")
        return self.quantized(tensor, dtypes)

    def constant(self, position: int, dtype: str) -> Tensor:
        """An input that is a constant of this type.

        Raises:
            ModelFileError: It is something else.
        """
        tensor = self._at(position)
        if tensor.data is None:
            raise self.refuse(f"its input {position} is not constant")
        if tensor.dtype != dtype:
            raise self.refuse(f"its input {position} is {tensor.dtype}; accepted: {dtype}")
        return tensor

    def quantized(self, tensor: Tensor, dtypes: tuple[str, ...] = ("int8",)) -> Tensor:
        """The same tensor, if it is of one of these types and has one scale.

        Raises:
            ModelFileError: It is something else.
        """
        if tensor.dtype not in dtypes:
            raise self.refuse(f"it computes in {tensor.dtype}; accepted: {', '.join(dtypes)}")
        if len(tensor.scales) != 1:
            raise self.refuse(f"a tensor of it has {len(tensor.scales)} scales; accepted: 1")
        low = 0 if tensor.dtype == "uint8" else -128
        if not low <= tensor.zero_point <= low + 255:
            raise self.refuse(f"its zero point {tensor.zero_point} is no {tensor.dtype}")
        return tensor

    def _at(self, position: int) -> Tensor:
        tensor = self.inputs[position] if position < len(self.inputs) else None
        if tensor is None:
            raise self.refuse(f"it lacks input {position}")
        return tensor


@dataclass(frozen=True, eq=False)
class State:
    """A tensor that keeps its values from one call to the next.

    Attributes:
        tensor: The tensor; its number is none of the file's, unless it is a variable tensor.
        first: What it holds before the first call, of its shape.
    """

    tensor: Tensor
    first: Array


@dataclass(frozen=True, eq=False)
class Graph:
    """A graph with one input and one output.

    Attributes:
        input: The input.
        output: The output.
        operations: In their order; READ_VARIABLE, ASSIGN_VARIABLE and UNIDIRECTIONAL_SEQUENCE_LSTM read and write the
            tensors of `states`.
        states: What is kept between calls.
    """

    input: Tensor
    output: Tensor
    operations: tuple[Operation, ...]
    states: tuple[State, ...] = ()

    @property
    def free_index(self) -> int:
        """A number that no tensor has, nor a larger one."""
        tensors = [t for each in self.operations for t in (*each.inputs, *each.outputs) if t is not None]
        tensors += [state.tensor for state in self.states]  # also those that no operation names
        return 1 + max((tensor.index for tensor in tensors), default=0)
