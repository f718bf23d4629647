"""Turn the operations of a graph into steps, and compute their answers in NumPy."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from edgepress.converters.to_c import (
    activations,
    convolution,
    dense,
    elementwise,
    joining,
    lookup,
    matrices,
    recurrent,
    reduction,
    resizing,
    shapes,
    slicing,
    state,
    transposed,
    window,
)
from edgepress.converters.to_c.arithmetic import Integers, Range
from edgepress.converters.to_c.graph import Array, Graph, Operation, State, Tensor, unsupported
from edgepress.converters.to_c.read import read
from edgepress.converters.to_c.step import Step
from edgepress.runtime.errors import ModelFileError

LOWERINGS: Mapping[str, Callable[[Operation, Range], Step]] = {
    "ABS": activations.absolute,
    "ADD": elementwise.add,
    "ASSIGN_VARIABLE": state.assign,
    "AVERAGE_POOL_2D": window.pool,
    "BATCH_MATMUL": matrices.batch_matmul,
    "BROADCAST_TO": matrices.broadcast,
    "CONCATENATION": joining.concatenation,
    "CONV_2D": convolution.convolution,
    "DEPTHWISE_CONV_2D": convolution.depthwise,
    "DIV": elementwise.divide_tensors,
    "ELU": lookup.of_reals,
    "EXP": lookup.of_reals,
    "FULLY_CONNECTED": dense.fully_connected,
    "GELU": lookup.of_reals,
    "HARD_SWISH": activations.hard_swish,
    "LEAKY_RELU": activations.leaky_relu,
    "LOG": lookup.of_reals,
    "LOGISTIC": lookup.logistic,
    "MAXIMUM": elementwise.bound,
    "MAX_POOL_2D": window.pool,
    "MEAN": reduction.mean,
    "MINIMUM": elementwise.bound,
    "MUL": elementwise.multiply,
    "NEG": lookup.negative,
    "PAD": shapes.pad,
    "PRELU": activations.prelu,
    "QUANTIZE": lookup.quantize,
    "REDUCE_MAX": reduction.maximum,
    "RELU": activations.relu,
    "RELU6": activations.relu6,
    "RESIZE_BILINEAR": resizing.bilinear,
    "RESIZE_NEAREST_NEIGHBOR": resizing.nearest,
    "RSQRT": lookup.rsqrt,
    "SLICE": slicing.part,
    "SOFTMAX": shapes.softmax,
    "SPLIT": slicing.part,
    "SPLIT_V": slicing.part,
    "SQRT": lookup.square_root,
    "SQUARED_DIFFERENCE": elementwise.squared_difference,
    "STRIDED_SLICE": slicing.part,
    "SUB": elementwise.add,
    "TANH": lookup.tanh,
    "TRANSPOSE": matrices.transpose,
    "TRANSPOSE_CONV": transposed.transposed,
    "UNIDIRECTIONAL_SEQUENCE_LSTM": recurrent.lstm,
    "UNPACK": slicing.part,
}
RENAMED = ("RESHAPE", "SQUEEZE", "EXPAND_DIMS", "READ_VARIABLE")
"""Operations that compute nothing."""
MAX_MACS = 1 << 33
"""Most multiply-accumulates of a program."""
MAX_VALUES = 1 << 29
"""Most values that a program reads and writes, those of each window of a pool included: loops are as long."""
MAX_CONSTANTS = 1 << 26
"""Most bytes of constants: more than the flash of any microcontroller."""


@dataclass(frozen=True, eq=False)
class Program:
    """The steps of a graph, in order.

    Attributes:
        graph: The graph.
        steps: The steps.
        place: For each activation, the tensor that its memory is: another one if an operation only changed its shape.

    A program with states answers items as a stream, from the first one on; see also `is_stream`.
    """

    graph: Graph
    steps: tuple[Step, ...]
    place: Mapping[int, Tensor]

    @property
    def input(self) -> Tensor:
        """The graph's input."""
        return self.graph.input

    @property
    def output(self) -> Tensor:
        """The graph's output."""
        return self.graph.output

    @functools.cached_property
    def states(self) -> dict[int, State]:
        """What is kept between calls, by the number of its tensor."""
        return {state.tensor.index: state for state in self.graph.states}

    def of(self, tensor: Tensor) -> Tensor:
        """The tensor whose memory an activation is."""
        return self.place[tensor.index]

    @property
    def is_stream(self) -> bool:
        """Whether items go on with the one before: it has resource variables.

        The variable tensors of an LSTM are reset before each item, as by `edgepress.runtime`, unless it is to go on.
        """
        return any(not each.tensor.is_variable for each in self.graph.states)

    @property
    def macs(self) -> int:
        """Multiply-accumulates for one item."""
        return sum(step.macs for step in self.steps)

    def answers(self, items: Array, kept: dict[int, Integers] | None = None) -> Array:
        """What TFLM answers: the outputs for items as they are stored, one row an item.

        Args:
            items: Shape (N, *), of the input's dtype, as many values an item as the input has.
            kept: What is kept of earlier items, by the number of a state; it is changed. None: items begin a stream.
        """
        result = self.of(self.output).index
        rows = []
        kept = {} if kept is None else kept
        for item in items:
            values = self.values(item, keep=result, states=kept)
            kept |= {index: values[index] for index in self.states}
            rows.append(values[result].reshape(-1))
        return np.stack(rows).astype(self.output.dtype)

    def values(
        self, item: Array, *, keep: int | None = None, states: Mapping[int, Integers] | None = None
    ) -> dict[int, Integers]:
        """Every activation for an item, by its number in the file; with `keep`, that one and the states alone are sure.

        Args:
            item: The item.
            keep: The number of an activation.
            states: What was kept before, by the number of a state; of others, their first values.
        """
        values = {self.input.index: item.astype(np.int64)}
        values |= {**state.first_values(self.states), **(states or {})}
        needed = {self.of(t).index: n for n, step in enumerate(self.steps) for t in step.inputs if t.data is None}
        for number, step in enumerate(self.steps):
            inputs = [
                tensor.data.astype(np.int64)
                if tensor.data is not None
                else values[self.of(tensor).index].reshape(tensor.shape)
                for tensor in step.inputs
            ]
            made = step.answer(*inputs)
            if step.changes:
                made, *changed = made
                values |= zip((tensor.index for tensor in step.changes), changed, strict=True)
            values[step.output.index] = made
            for tensor in step.inputs if keep is not None else ():
                if tensor.data is not None or (index := self.of(tensor).index) in self.states:
                    continue
                if needed[index] == number and index != keep:
                    values.pop(index, None)
        return values


def lower(path: Path) -> Program:
    """Read a file and turn it into steps.

    Raises:
        ModelFileError: It is damaged, or holds something that is not exactly supported.
    """
    graph = read(path)
    try:
        parts = [part for operation in graph.operations for part in slicing.one_output_each(operation)]
        cuts = slicing.one_axis_each(replace(graph, operations=tuple(parts)))
        pairs = joining.in_pairs(replace(graph, operations=tuple(cuts)))
        whole = elementwise.whole_operands(replace(graph, operations=tuple(pairs)))
        operations = reduction.maxima_in_runs(replace(graph, operations=tuple(whole)))
        ordered = map(transposed.like_convolution, map(convolution.without_groups, operations))
        return lower_graph(replace(graph, operations=tuple(ordered)))
    except ModelFileError as e:
        raise ModelFileError(f"{path}: {e.message}", e.hint) from e


def lower_graph(graph: Graph) -> Program:
    """Turn a graph of operations that each are one step, or none, into steps; see `lower`."""
    source = graph.input
    if source.dtype not in ("int8", "uint8") or len(source.scales) > 1:
        raise unsupported("this file", f"its input is {source.dtype}; accepted: int8, uint8")
    least = 0 if source.dtype == "uint8" else -128
    place = {source.index: source}
    ranges = {source.index: Range.of(least, least + 255, _channels(source))}
    states = {each.tensor.index: each for each in graph.states}
    for index, each in states.items():
        place[index] = each.tensor
        ranges[index] = Range.of(-128, 127, _channels(each.tensor))
    steps: list[Step] = []
    totals = _Totals()
    for operation in graph.operations:
        if operation.kind in RENAMED:
            before, after = shapes.renamed(operation)
            place[after.index] = place[before.index]
            ranges[after.index] = ranges[before.index].as_channels(_channels(after))
            continue
        read_first = next((tensor for tensor in operation.inputs if tensor is not None and tensor.data is None), None)
        if read_first is None:
            raise operation.refuse("all its inputs are constant")
        step = LOWERINGS[operation.kind](operation, ranges[read_first.index])
        steps.append(step)
        totals.add(step)
        if step.output.index not in states:
            place[step.output.index] = step.output
            ranges[step.output.index] = step.range.as_channels(_channels(step.output))
    if not steps:
        raise unsupported("this file", "it computes nothing")
    if place[graph.output.index].index in {step.output.index for step in steps} & states.keys():
        raise unsupported("this file", "its output is the old value of a variable, which the new one is written over")
    settled, places = state.settle(steps, place, states)
    return Program(graph, tuple(settled), places)


class _Totals:
    """What the steps of a program take together, which is limited."""

    def __init__(self) -> None:
        self._totals = {"multiply-accumulates": 0, "reads and writes of values": 0, "bytes of constants": 0}
        self._limits = (MAX_MACS, MAX_VALUES, MAX_CONSTANTS)

    def add(self, step: Step) -> None:
        """Count a step.

        Raises:
            ModelFileError: A limit is exceeded.
        """
        values = step.reads + step.output.size + sum(tensor.size for tensor in step.inputs)
        counts = step.macs, values, _constant_bytes(step)
        for (name, total), count, limit in zip(self._totals.items(), counts, self._limits, strict=True):
            if total + count > limit:
                raise unsupported("this file", f"it needs {total + count} {name} and more; accepted: up to {limit}")
            self._totals[name] = total + count


def _constant_bytes(step: Step) -> int:
    constants = sum(tensor.data.nbytes for tensor in step.inputs if tensor.data is not None)
    return constants + sum(value.nbytes for value in step.layer.values() if isinstance(value, np.ndarray))


def _channels(tensor: Tensor) -> int:
    return tensor.shape[-1] if tensor.shape else 1
