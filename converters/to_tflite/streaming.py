"""An integer file of windows of a series as one that takes a stream: a few new rows a call, the same answers.

A file that classifies windows computes most of a window again when it moves by a few rows. The streaming file keeps, in
resource variables, the rows that each operation along the time still needs, so that it computes new rows alone; once a
whole window was seen, its answers are those of the window that ends there, bit for bit. Published wake words have this
form (github.com/kahrendt/microWakeWord; Rybakov et al. 2020, "Streaming Keyword Spotting on Mobile Devices").
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from edgepress.converters.errors import ConversionError
from edgepress.converters.to_tflite import flatbuffer as flat

RESOURCE = 13
"""A variable's handle, of the schema's `TensorType`."""
VALID = 1
"""Of the schema's `Padding`."""
ROW_BY_ROW = (
    *("ADD", "SUB", "MUL", "MAXIMUM", "MINIMUM", "QUANTIZE", "SOFTMAX"),
    *("ELU", "HARD_SWISH", "LEAKY_RELU", "LOGISTIC", "PRELU", "RELU", "RELU6", "TANH"),
)
"""Operations that make each row from the rows at the same place."""
OF_SEVERAL_INPUTS = (*ROW_BY_ROW, "CONCATENATION")
"""Operations that may read rows at any input; the others have parameters behind their first."""
SHAPES = ("RESHAPE", "EXPAND_DIMS", "SQUEEZE")
WINDOWS = ("CONV_2D", "DEPTHWISE_CONV_2D", "AVERAGE_POOL_2D", "MAX_POOL_2D")


@dataclass(frozen=True)
class Rows:
    """How a tensor lies along the time.

    Attributes:
        axis: The axis of the time.
        total: Rows of a window.
        new: Rows that each call makes.
    """

    axis: int
    total: int
    new: int


def to_streaming(model: bytes, rows: int) -> bytes:
    """A file of windows, shape (1, time, ...), as a file of a stream that takes so many new rows a call.

    Its answers are those of the window that ends with the rows given last; before as many rows as a window has were
    given, they mean nothing. Variables begin with zeros.

    Args:
        model: The file, quantized to integers.
        rows: New rows a call: a multiple of all strides along the time.

    Raises:
        ConversionError: An operation does not move along the time as a stream does; the message names it.
    """
    root, graph = flat.read(model)
    return _Streaming(root, graph, rows).write()


class _Streaming:
    def __init__(self, root: Any, graph: Any, rows: int) -> None:
        self.root = root
        self.graph = graph
        self.rows: dict[int, Rows] = {}
        self.operators: list[Any] = []
        self.handles: list[Any] = []
        self.first: Any = None
        self._whole: dict[tuple[int, int], int] = {}
        source = graph.tensors[graph.inputs[0]]
        shape = [int(n) for n in source.shape]
        if len(shape) < 2 or source.type not in (flat.TYPES[np.dtype(np.int8)], flat.UINT8):
            raise ConversionError(
                f"A stream needs windows of integers, shape (time, ...); this file takes {shape[1:]}.",
                "Convert a model of windows: edgepress convert MODEL --to tflite-int8 --target integer-only",
            )
        if not 0 < rows <= shape[1]:
            raise ConversionError(
                f"A call would take {rows} rows; accepted: 1 to {shape[1]}, the rows of a window.",
                "Give fewer with --stream.",
            )
        self.rows[int(graph.inputs[0])] = Rows(1, shape[1], rows)

    def write(self) -> bytes:
        """Change the graph and write it."""
        for operator in self.graph.operators:
            self._change(operator)
        end = self.rows.get(int(self.graph.outputs[0]))
        if end is not None and end.new < end.total:
            raise ConversionError(
                f"The file answers with {end.total} rows a window; a stream has one answer for the window that ends.",
                "Convert a model that answers once a window, such as with a pool over the time.",
            )
        for index, along in self.rows.items():
            self.graph.tensors[index].shape = self._shape_of_rows(index, along.new)
        call = flat.operator(self.root, "CALL_ONCE", [], None, initSubgraphIndex=1)
        states = [call, *self.handles] if self.handles else []
        self.graph.operators = [*states, *self.operators]
        for tensor in self.graph.tensors:
            tensor.shapeSignature = None
        return flat.write(self.root)

    def _change(self, operator: Any) -> None:
        """Append an operation as the stream has it."""
        kind = flat.kind(self.root, operator)
        places = [place for place, index in enumerate(operator.inputs) if int(index) in self.rows]
        if places:
            if len(operator.outputs) != 1:
                raise _refused(kind, f"it makes {len(operator.outputs)} tensors")
            change = self._changes.get(kind)
            if change is None:
                raise _refused(kind, "a stream has no such operation along the time")
            if places != [0] and kind not in OF_SEVERAL_INPUTS:
                raise _refused(kind, f"its input {places[-1]}, a parameter, has a value for each row of a window")
            change(self, kind, operator, places)
        self.operators.append(operator)

    def _row_by_row(self, kind: str, operator: Any, places: Sequence[int]) -> None:
        along = [self.rows[int(operator.inputs[place])] for place in places]
        rank = len(self._shape(operator.outputs[0]))
        for place, index in enumerate(operator.inputs):
            shape = self._shape(index)
            axis = along[0].axis - rank + len(shape)  # shapes are aligned at their ends
            if (place in places and len(shape) != rank) or (place not in places and axis >= 0 and shape[axis] > 1):
                raise _refused(kind, f"its input {place} has a value for each row of a window")
            if place not in places and not self._is_constant(index):  # earlier rows were made with another value of it
                raise _refused(
                    kind, f"its input {place} is computed from all rows of a window, and changes each of them"
                )
        if len(set(along)) > 1 or (kind == "SOFTMAX" and along[0].axis == rank - 1):
            raise _refused(kind, "its inputs have other rows than each other, or it mixes them")
        self.rows[int(operator.outputs[0])] = along[0]

    def _shaped(self, kind: str, operator: Any, places: Sequence[int]) -> None:
        """Another shape, of each row; or of all rows together, which the window behind this call then has."""
        index = int(operator.inputs[0])
        along = self.rows[index]
        shape = self._shape(index)
        before = math.prod(shape[: along.axis])
        output = self._shape(operator.outputs[0])
        axis = next(
            (n for n, size in enumerate(output) if size == along.total and math.prod(output[:n]) == before), None
        )
        if axis is None:
            self._read_window(operator, index, along)
            return
        now = Rows(axis, along.total, along.new)
        self.rows[int(operator.outputs[0])] = now
        if kind == "RESHAPE":
            output[axis] = along.new
            operator.inputs = [index, flat.constant(self.root, self.graph, np.array(output, np.int32), "rows")]
            operator.builtinOptions = None  # another place of the shape
            operator.builtinOptionsType = 0

    def _read_window(self, operator: Any, index: int, along: Rows) -> None:
        """Let an operation read all rows of the window as its first input; nothing behind it moves along the time."""
        operator.inputs = [self._with_kept(index, along.total - along.new), *operator.inputs[1:]]

    def _convolved(self, kind: str, operator: Any, places: Sequence[int]) -> None:
        index = int(operator.inputs[0])
        along = self.rows[index]
        output = int(operator.outputs[0])
        options = operator.builtinOptions
        is_height = along.axis == 1
        if along.axis not in (1, 2):
            raise _refused(kind, "the time is neither height nor width")
        stride = options.strideH if is_height else options.strideW
        if kind.endswith("POOL_2D"):
            reach = options.filterHeight if is_height else options.filterWidth
        else:
            size = self._shape(operator.inputs[1])[along.axis]
            reach = (size - 1) * (options.dilationHFactor if is_height else options.dilationWFactor) + 1
        total = self._shape(output)[along.axis]
        if total != (along.total - reach) // stride + 1 or (options.padding != VALID and reach > 1):
            raise _refused(kind, "it pads the time", 'Train with padding="valid" along the time.')
        if total == 1 and reach == along.total:
            self._read_window(operator, index, along)
            return
        rest = (along.total - reach) % stride
        if along.new % stride or rest:
            problem = (
                f"it takes one row in {stride}, of {along.new} new ones" if not rest else f"it leaves {rest} rows out"
            )
            raise _refused(kind, problem, f"Give a multiple of {stride} rows a call, and windows that it divides.")
        if reach < stride:
            raise _refused(kind, f"it skips rows: its window is {reach}, its stride {stride}")
        operator.inputs = [self._with_kept(index, reach - stride), *operator.inputs[1:]]
        self.rows[output] = Rows(along.axis, total, along.new // stride)

    def _averaged(self, kind: str, operator: Any, places: Sequence[int]) -> None:
        """MEAN and REDUCE_MAX over the time read the window; over other axes it is computed row by row."""
        index = int(operator.inputs[0])
        along = self.rows[index]
        rank = len(self._shape(index))
        axes = {int(axis) % rank for axis in np.atleast_1d(self._values(operator.inputs[1]))}
        if along.axis in axes:
            self._read_window(operator, index, along)
            return
        keeps = operator.builtinOptions is not None and operator.builtinOptions.keepDims
        axis = along.axis - (0 if keeps else sum(other < along.axis for other in axes))
        self.rows[int(operator.outputs[0])] = Rows(axis, along.total, along.new)

    def _dense(self, kind: str, operator: Any, places: Sequence[int]) -> None:
        """FULLY_CONNECTED of each row, if it keeps the axes in front."""
        index = int(operator.inputs[0])
        along = self.rows[index]
        output = self._shape(operator.outputs[0])
        if len(output) != len(self._shape(index)) or along.axis == len(output) - 1:
            raise _refused(kind, "it joins rows without a RESHAPE before it")
        self.rows[int(operator.outputs[0])] = along

    def _padded(self, kind: str, operator: Any, places: Sequence[int]) -> None:
        along = self.rows[int(operator.inputs[0])]
        if self._values(operator.inputs[1])[along.axis].any():
            raise _refused(kind, "it pads the time", 'Train with padding="valid" along the time.')
        self.rows[int(operator.outputs[0])] = along

    def _joined(self, kind: str, operator: Any, places: Sequence[int]) -> None:
        along = {self.rows[int(operator.inputs[place])] for place in places}
        rank = len(self._shape(operator.outputs[0]))
        if len(along) > 1 or len(places) < len(operator.inputs):
            raise _refused(kind, "its inputs have other rows than each other")
        if operator.builtinOptions.axis % rank == next(iter(along)).axis:
            raise _refused(kind, "it joins along the time")
        self.rows[int(operator.outputs[0])] = next(iter(along))

    _changes: ClassVar[Mapping[str, Callable[..., None]]] = {
        **dict.fromkeys(ROW_BY_ROW, _row_by_row),
        **dict.fromkeys(SHAPES, _shaped),
        **dict.fromkeys(WINDOWS, _convolved),
        "CONCATENATION": _joined,
        "FULLY_CONNECTED": _dense,
        "MEAN": _averaged,
        "REDUCE_MAX": _averaged,
        "PAD": _padded,
    }
    """What changes an operation that reads rows, by its kind."""

    def _with_kept(self, index: int, keep: int) -> int:
        """A tensor's new rows behind the last `keep` ones before them, which a variable keeps.

        Below 0, so many of the first new rows are left out: no window reaches back to them.
        """
        if not keep:
            return index
        if (index, keep) in self._whole:
            return self._whole[index, keep]
        along = self.rows[index]
        source = self.graph.tensors[index]
        name = f"stream_{len(self._whole)}"
        if keep < 0:
            whole = self._last(index, along.new + keep, f"{name}_last")
        else:
            kept_shape = self._shape_of_rows(index, keep)
            handle = self._variable(name, kept_shape, source)
            before = self._tensor(kept_shape, f"{name}_before", source)
            whole = self._tensor(self._shape_of_rows(index, keep + along.new), f"{name}_whole", source)
            self.rows[whole] = Rows(along.axis, along.total, keep + along.new)
            options = {"axis": along.axis, "fusedActivationFunction": 0}
            self.operators += [
                flat.operator(self.root, "READ_VARIABLE", [handle], before),
                flat.operator(self.root, "CONCATENATION", [before, index], whole, **options),
            ]
            last = self._last(whole, keep, f"{name}_last")
            self.operators.append(flat.operator(self.root, "ASSIGN_VARIABLE", [handle, last], None))
        self._whole[index, keep] = whole
        return whole

    def _last(self, index: int, count: int, name: str) -> int:
        """The last rows of a tensor."""
        along = self.rows[index]
        ends = self._shape_of_rows(index, along.new)
        begins = [0] * len(ends)
        begins[along.axis] = along.new - count
        last = self._tensor(self._shape_of_rows(index, count), name, self.graph.tensors[index])
        places = [begins, ends, [1] * len(ends)]
        numbers = [flat.constant(self.root, self.graph, np.array(values, np.int32), "rows") for values in places]
        self.operators.append(flat.operator(self.root, "STRIDED_SLICE", [index, *numbers], last))
        return last

    def _variable(self, name: str, shape: list[int], source: Any) -> int:
        """The handle of a new variable, which begins with the zero point of a tensor."""
        if self.first is None:
            self.first = flat.add_graph(self.root, "first")
        handle = flat.tensor(self.graph, [], name, type=RESOURCE)
        self.handles.append(flat.operator(self.root, "VAR_HANDLE", [], handle, sharedName=name))
        target = flat.tensor(self.first, [], name, type=RESOURCE)
        dtype = flat.DTYPES[source.type]
        zero_points = source.quantization.zeroPoint
        is_given = zero_points is not None and len(zero_points) > 0  # 0 may be left out
        zeros: Any = np.full(shape, int(zero_points[0]) if is_given else 0, dtype)
        value = flat.tensor(
            self.first, shape, f"{name}_first", buffer=flat.add_buffer(self.root, zeros), type=source.type
        )
        self.first.tensors[value].quantization = source.quantization
        self.first.operators += [
            flat.operator(self.root, "VAR_HANDLE", [], target, sharedName=name),
            flat.operator(self.root, "ASSIGN_VARIABLE", [target, value], None),
        ]
        return handle

    def _tensor(self, shape: list[int], name: str, source: Any) -> int:
        index = flat.tensor(self.graph, shape, name, type=source.type)
        self.graph.tensors[index].quantization = source.quantization
        return index

    def _shape_of_rows(self, index: int, rows: int) -> list[int]:
        """The shape of a tensor if it has so many rows."""
        shape = self._shape(index)
        shape[self.rows[index].axis] = rows
        return shape

    def _shape(self, index: int) -> list[int]:
        return [int(n) for n in self.graph.tensors[int(index)].shape]

    def _is_constant(self, index: int) -> bool:
        data = self.root.buffers[self.graph.tensors[int(index)].buffer].data
        return data is not None and len(data) > 0

    def _values(self, index: int) -> Any:
        tensor = self.graph.tensors[int(index)]
        data = self.root.buffers[tensor.buffer].data
        if not self._is_constant(index):
            raise ConversionError("A shape or axis of this file is computed, not constant.", "Convert its model again.")
        return np.frombuffer(bytes(data), flat.DTYPES[tensor.type]).reshape([int(n) for n in tensor.shape])


def _refused(kind: str, why: str, hint: str = "") -> ConversionError:
    accepted = f"A stream has convolutions, pools and row-by-row operations: {', '.join(sorted(_Streaming._changes))}."
    return ConversionError(f"{kind} can't be computed as a stream: {why}.", hint or accepted)
