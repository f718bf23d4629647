"""PAD and SOFTMAX, and operations that only change a shape."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from edgepress.converters.to_c.arithmetic import Integers, Range, divide, exp, inverse, multiplier_of, multiply_high
from edgepress.converters.to_c.graph import Operation, Tensor
from edgepress.converters.to_c.step import Step

_SUM_BITS = 12
"""Whole bits of a softmax's sum."""
_EXP_BITS = 5
"""Whole bits of the argument of exp."""
MAX_CLASSES = 4000
"""Largest axis of a softmax: the sum of more may need more than 32 bits."""
MANY_CLASSES = 512
"""Axis of a softmax from which on a sum may be so large that each exp is shifted by more than 31 bits."""


def renamed(operation: Operation) -> tuple[Tensor, Tensor]:
    """The input and the output of an operation that only changes the shape: both are the same memory.

    Raises:
        ModelFileError: They are of different sizes or types, or of different scales.
    """
    output = operation.output
    source = operation.inputs[0] if operation.inputs else None
    if source is None or source.data is not None or source.dtype == "int32":
        raise operation.refuse("its input is not an activation of 8 bits")
    same = (
        source.scales.tolist() == output.scales.tolist() and source.zero_points.tolist() == output.zero_points.tolist()
    )
    if source.size != output.size or source.dtype != output.dtype or not same:
        raise operation.refuse("it changes more than a shape")
    return source, output


def pad(operation: Operation, inputs: Range) -> Step:
    """PAD of height and width by the zero point; a series is an image of one line.

    Raises:
        ModelFileError: It pads something else, or changes the scale.
    """
    source = operation.activation()
    output = operation.quantized(operation.output)
    widths = operation.constant(1, "int32").data
    rank = len(source.shape)
    if widths is None or rank not in (3, 4) or widths.shape != (rank, 2) or source.shape[0] != 1:
        raise operation.refuse(f"its input has the shape {list(source.shape)}; accepted: one image or series")
    if widths[[0, -1]].any() or widths.min() < 0:
        raise operation.refuse(f"it pads by {widths.tolist()}; accepted: height and width")
    same = (source.scale, source.zero_point) == (output.scale, output.zero_point)
    if output.shape != tuple(source.shape + widths.sum(axis=1)) or not same:
        raise operation.refuse("its output does not fit its input")
    height, width, channels = (1,) * (4 - rank) + source.shape[1:]
    top, bottom, left, right = (0,) * (8 - 2 * rank) + tuple(int(n) for n in widths[1:-1].ravel())
    layer = {
        "height": height,
        "row": width * channels,
        "top": top,
        "bottom": bottom,
        "left": left * channels,
        "right": right * channels,
        "zero_point": output.zero_point,
    }
    with_filler = Range(np.minimum(inputs.low, output.zero_point), np.maximum(inputs.high, output.zero_point))
    return Step(
        operation,
        "pad",
        (source,),
        output,
        layer,
        (_pad_distance(layer, output.size),),
        with_filler,
        lambda values: np.pad(values, widths, constant_values=output.zero_point),
    )


def _pad_distance(layer: dict[str, int], size: int) -> int:
    """The least distance: a row is read when all before it and its own place are written."""
    whole = layer["left"] + layer["row"] + layer["right"]
    rows = np.arange(layer["height"])
    before_copy = layer["top"] * whole + rows * whole + layer["left"] + layer["row"] - rows * layer["row"]
    return int(min(np.max(before_copy, initial=0), size))


def softmax(operation: Operation, _: Range) -> Step:
    """SOFTMAX along the last axis.

    Raises:
        ModelFileError: Its output is not quantized as TFLM needs it, or it has too many classes.
    """
    source = operation.activation()
    output = operation.quantized(operation.output)
    beta = float(operation.options["beta"])
    count = source.shape[-1] if source.shape else 1
    if output.zero_point != -128 or output.scale != 1 / 256 or source.shape != output.shape:
        raise operation.refuse(f"its output has scale {output.scale} and zero point {output.zero_point}")
    if count > MAX_CLASSES or not 0 < beta < 2**16:
        raise operation.refuse(f"it has {count} classes and beta {beta}; accepted: up to {MAX_CLASSES}")
    # PreprocessSoftmaxScaling and CalculateInputRadius
    multiplier, right = multiplier_of(min(beta * source.scale * 2.0 ** (31 - _EXP_BITS), 2.0**31 - 1))
    if not -31 < right <= 0:
        raise operation.refuse(f"its input has the scale {source.scale}")
    least = -math.floor((2**_EXP_BITS - 1) * 2.0 ** (31 - _EXP_BITS) / 2.0**-right)
    table = np.zeros(256, np.int64)
    for steps in range(min(255, -least) + 1):
        table[steps] = exp(int(multiply_high(-steps << -right, multiplier)), _EXP_BITS)

    def answer(values: Integers) -> Any:
        exps = table[(values.max(axis=-1, keepdims=True) - values)]
        sums = divide(exps, _SUM_BITS).sum(axis=-1, keepdims=True)
        zeros = 32 - np.floor(np.log2(sums)).astype(np.int64) - 1
        inverted = inverse((sums << zeros) - 2**31)
        return np.clip(divide(multiply_high(inverted, exps), _SUM_BITS - zeros + 23) - 128, -128, 127)

    layer = {"rows": source.size // count, "count": count, "table": table.astype(np.int32), "least": max(least, -255)}
    outputs = Range.of(-128, 127, count)
    return Step(operation, "softmax", (source,), output, layer, (0,), outputs, answer)
