"""UNIDIRECTIONAL_SEQUENCE_LSTM of 8 bits, whose gates and cells have 16.

The arithmetic is that of TFLM's kernel (tensorflow/lite/micro/kernels/lstm_eval.h): each gate is the sum of two
products, both scaled and saturated to 16 bits; its function comes from a table, with lines between its numbers.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgepress.converters.to_c.arithmetic import Integers, Range, multiplier_of, scale, sums
from edgepress.converters.to_c.graph import Operation, State, Tensor
from edgepress.converters.to_c.step import SEPARATE, Step, checked_bias, fits_in_pairs, in_fours, paired

LSTM = "UNIDIRECTIONAL_SEQUENCE_LSTM"
_INPUTS = 24
_TANH = 4
"""Of the schema's `ActivationFunctionType`."""
_HIDDEN, _CELLS = 18, 19
"""Places of the states among the inputs."""
_LEFT_OUT = {
    9: "peephole weights", 10: "peephole weights", 11: "peephole weights", 16: "a projection", 17: "a projection",
    20: "layer normalization", 21: "layer normalization", 22: "layer normalization", 23: "layer normalization",
}  # fmt: skip
"""What inputs that TFLM does not accept stand for."""
_GATES = ("input", "forget", "cell", "output")
_GATE_SCALE = 2.0**-12
"""Of a gate before its function."""
_ONE = 2.0**-15
"""Scale of what these functions give."""
_POWERS = range(-24, 1)
"""Exponents of the cells' scale, so that no step of their function needs more than 32 bits."""


def states_of(operations: Sequence[Operation]) -> Iterator[State]:
    """The variable tensors of LSTMs, with what they hold after TFLM's reset."""
    for operation in operations:
        if operation.kind != LSTM:
            continue
        for tensor in operation.inputs[_HIDDEN : _CELLS + 1]:
            if tensor is not None and tensor.is_variable and tensor.data is None:
                zero = int(tensor.zero_points[0]) if tensor.dtype == "int8" and len(tensor.zero_points) else 0
                yield State(tensor, np.full(tensor.shape, zero, tensor.dtype))


@dataclass(frozen=True, eq=False)
class _Sums:
    """What the gates get from one of their two inputs.

    Attributes:
        weights: Shape (gates, outputs, inputs).
        bias: Shape (gates, outputs).
        zero_point: Of the input.
        factors: A multiplier and a shift to the right for each gate.
    """

    weights: Integers
    bias: Integers
    zero_point: int
    factors: tuple[tuple[int, int], ...]

    def of(self, values: Integers) -> Integers:
        """The sums for rows of the input, shape (rows, inputs), in 16 bits; shape (rows, gates, outputs)."""
        centred = values.astype(np.float64) - self.zero_point
        total = np.einsum("goi,ri->rgo", self.weights.astype(np.float64), centred)  # exact: sums are below 2^53
        multipliers, rights = np.array(self.factors).T[..., np.newaxis]
        return _saturated(scale(total.astype(np.int64) + self.bias, multipliers, rights))

    def fields(self, prefix: str) -> dict[str, Any]:
        """The fields of the kernel's struct."""
        folded = self.bias - self.zero_point * self.weights.sum(axis=2)
        return {
            f"{prefix}weights": np.concatenate([paired(gate) for gate in self.weights]),
            f"{prefix}bias": np.concatenate([in_fours(gate) for gate in folded]).astype(np.int32),
        }


def lstm(operation: Operation, inputs: Range) -> Step:
    """UNIDIRECTIONAL_SEQUENCE_LSTM.

    Raises:
        ModelFileError: It is of a kind that TFLM does not run, or can't be computed in 32 bits.
    """
    _check_kind(operation)
    source = operation.activation()
    output = operation.quantized(operation.output)
    hidden, cells = _state(operation, _HIDDEN, "int8"), _state(operation, _CELLS, "int16")
    operation.quantized(hidden)
    time, depth = _sizes(operation, source)
    count = hidden.size
    if cells.size != count or output.shape != (*source.shape[:2], count):
        raise operation.refuse(
            f"it turns {list(source.shape)} into {list(output.shape)} with states of {count} and {cells.size}"
        )
    power = _power(operation, cells)
    of_input = _sums_of(operation, source, range(1, 5), (count, depth), inputs.minus(source.zero_point).joined())
    whole = Range.of(-128, 127, 1).minus(hidden.zero_point)
    of_state = _sums_of(operation, hidden, range(5, 9), (count, count), whole)
    clip = _clip(operation, cells)
    tanh_left = 12 + power
    product_scale = _ONE * _ONE
    _, update_right = multiplier_of(product_scale / cells.scale)
    output_multiplier, output_right = multiplier_of(product_scale / hidden.scale)
    if output_right < 0:
        raise operation.refuse(f"its hidden state has the scale {hidden.scale}")
    tanh = (3 << max(tanh_left, 0), max(-tanh_left, 0))

    def answer(values: Integers, state: Integers, kept: Integers) -> tuple[Integers, Integers, Integers]:
        given = of_input.of(values.reshape(time, depth))
        before, cell, rows = state.reshape(-1), kept.reshape(-1), []
        for row in given:
            gates = 3 * _saturated(row + of_state.of(before[np.newaxis])[0])
            add, forget, end = (_sigmoid(gates[gate]) for gate in (0, 1, 3))
            added = _saturated(scale(add * _tanh(gates[2]), 1 << 30, update_right))
            cell = np.clip(_saturated(_saturated(scale(forget * cell, 1 << 30, 14)) + added), -clip, clip)
            shown = _tanh((cell * tanh[0] + ((1 << tanh[1]) >> 1)) >> tanh[1])
            scaled = scale(shown * end, output_multiplier, output_right) + hidden.zero_point
            before = np.clip(scaled, -128, 127)
            rows.append(before)
        return np.stack(rows).reshape(output.shape), before, cell

    factors = np.array([*of_input.factors, *of_state.factors])
    layer = {
        **of_input.fields(""),
        **of_state.fields("recurrent_"),
        "multiplier": factors[:, 0].astype(np.int32),
        "right": factors[:, 1].astype(np.int8),
        "sigmoid": SIGMOID.astype(np.uint16),
        "steps": time,
        "inputs": depth,
        "outputs": count,
        "update_right": update_right,
        "clip": clip,
        "tanh_multiplier": tanh[0],
        "tanh_right": tanh[1],
        "output_multiplier": output_multiplier,
        "output_right": output_right,
        "zero_point": hidden.zero_point,
    }
    before_last = (count - 1) // 4 * 4  # of a row, when its input is read for the last time
    distance = before_last + max(0, (time - 1) * (count - depth))
    return Step(
        operation,
        "lstm",
        (source, hidden, cells),
        output,
        layer,
        (distance, SEPARATE, SEPARATE),
        Range.of(-128, 127, count),
        answer,
        macs=time * 4 * count * (depth + count),
        changes=(hidden, cells),
    )


def _check_kind(operation: Operation) -> None:
    """Refuse the kinds of LSTM that TFLM does not run."""
    if len(operation.inputs) != _INPUTS:
        raise operation.refuse(f"it has {len(operation.inputs)} inputs; accepted: {_INPUTS}")
    for place, what in _LEFT_OUT.items():
        if operation.inputs[place] is not None:
            raise operation.refuse(f"it has {what}, which TFLM does not run")
    if any(operation.inputs[place] is None for place in (1, 5, 12)):
        raise operation.refuse("its input gate follows from its forget gate (CIFG), which TFLM does not run")
    if operation.option("activation") != _TANH:
        raise operation.refuse(f"its activation has the number {operation.option('activation')}; accepted: {_TANH}")


def _state(operation: Operation, place: int, dtype: str) -> Tensor:
    tensor = operation.inputs[place]
    if tensor is None or not tensor.is_variable or tensor.data is not None:
        raise operation.refuse(f"its input {place} is no variable tensor")
    if tensor.dtype != dtype or len(tensor.scales) != 1:
        raise operation.refuse(
            f"its state is {tensor.dtype} with {len(tensor.scales)} scales; accepted: {dtype} with 1"
        )
    return tensor


def _sizes(operation: Operation, source: Tensor) -> tuple[int, int]:
    """Steps of time, and numbers of each."""
    if len(source.shape) != 3:
        raise operation.refuse(f"its input has the shape {list(source.shape)}; accepted: 3 axes")
    time, batch = source.shape[:2] if operation.option("time_major") else source.shape[1::-1]
    if batch != 1:
        raise operation.refuse(f"its batch is {batch}; accepted: 1")
    return time, source.shape[2]


def _power(operation: Operation, cells: Tensor) -> int:
    """The exponent of the cells' scale."""
    fraction, exponent = math.frexp(cells.scale)
    if fraction != 0.5 or exponent - 1 not in _POWERS:
        limits = f"accepted: a power of 2 from 2^{_POWERS[0]} to 2^{_POWERS[-1]}"
        raise operation.refuse(f"its cells have the scale {cells.scale}; {limits}")
    return exponent - 1


def _clip(operation: Operation, cells: Tensor) -> int:
    """The largest size of a cell; 2^15, which none reaches, without a limit."""
    clip = operation.options["cell_clip"]
    return int(min(clip / cells.scale, 32767)) if clip > 0 else 1 << 15


def _sums_of(operation: Operation, source: Tensor, places: range, shape: tuple[int, int], values: Range) -> _Sums:
    """What the gates get from an input; `values`: of it, the zero point taken off."""
    weights, biases, factors = [], [], []
    for place, gate in zip(places, _GATES, strict=True):
        tensor = operation.constant(place, "int8")
        bias = operation.constant(place + 11, "int32") if place < 5 else None
        if tensor.data is None or tensor.shape != shape:
            raise operation.refuse(f"the weights of its {gate} gate have the shape {list(tensor.shape)}, not {shape}")
        if len(tensor.scales) != 1 or tensor.zero_points[0]:
            raise operation.refuse(f"the weights of its {gate} gate have several scales, or a zero point other than 0")
        matrix = tensor.data.astype(np.int64)
        if not fits_in_pairs(matrix):
            raise operation.refuse(
                f"the weights of its {gate} gate are -128 beside negative ones; accepted: -127 to 127"
            )
        constant = checked_bias(operation, bias, matrix)
        product = source.scale * tensor.scale
        multiplier, right = multiplier_of(product / _GATE_SCALE)
        totals = sums(matrix[:, np.newaxis], values, constant)
        if not Range(totals.low << max(0, -right), totals.high << max(0, -right)).within(2**31) or right < -30:
            raise operation.refuse(f"the sums of its {gate} gate, scaled, may need more than 32 bits")
        weights.append(matrix)
        biases.append(constant)
        factors.append((multiplier, right))
    return _Sums(np.stack(weights), np.stack(biases), source.zero_point, tuple(factors))


def _sigmoid_table() -> npt.NDArray[np.int64]:
    """The sigmoid of n / 24 for n from 0 to 255, with 16 fractional bits.

    Each number is larger by half of what a straight line to the next one misses in its middle: so the lines that TFLM's
    table stands for lie on both sides of the curve. The last number is 1.
    """
    at, middle, behind = ((1 / (1 + np.exp(-(np.arange(256) + shift) / 24))) for shift in (0, 0.5, 1))
    table = np.floor(65536 * (at + (middle - (at + behind) / 2) / 2) + 0.5).astype(np.int64)
    table[-1] = 65535
    return table


SIGMOID = _sigmoid_table()


def _between(values: Integers, bits: int, largest: int) -> Integers:
    """The sigmoid of sizes / (24 * 2^bits), with 16 + bits fractional bits; `largest` behind the table."""
    sizes = np.abs(values)
    place = np.minimum(sizes >> bits, 254)
    lines = (SIGMOID[place] << bits) + (sizes & ((1 << bits) - 1)) * (SIGMOID[place + 1] - SIGMOID[place])
    return np.where(sizes >> bits >= 255, largest, lines)


def _sigmoid(values: Integers) -> Integers:
    """The sigmoid of values / (3 * 2^12), in 16 bits of which 15 are fractional."""
    result = _between(values, 9, 0x7FFF << 10)
    return np.where(values >= 0, result + (1 << 9), (1 << 25) - result + (1 << 9) - 1) >> 10


def _tanh(values: Integers) -> Integers:
    """Likewise, tanh: 2 * sigmoid(2 * x) - 1."""
    result = _between(values, 8, 0xFFFF << 8) - (1 << 23)
    return np.where(values >= 0, result + (1 << 7), -result + (1 << 7) - 1) >> 8


def _saturated(values: Any) -> Integers:
    clipped: Integers = np.clip(values, -(2**15), 2**15 - 1)
    return clipped
