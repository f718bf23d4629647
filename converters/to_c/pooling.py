"""MAX_POOL_2D, AVERAGE_POOL_2D and MEAN."""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np

from edgepress.converters.to_c.arithmetic import Integers, activation_range, multiplier_of, scale
from edgepress.converters.to_c.bounds import Range
from edgepress.converters.to_c.graph import Operation
from edgepress.converters.to_c.step import Step
from edgepress.converters.to_c.window import geometry

_MOST_COVERED = 1 << 23
"""Values of a window from which on a sum of int8 may need more than 32 bits."""


def pool(operation: Operation, inputs: Range) -> Step:
    """MAX_POOL_2D or AVERAGE_POOL_2D; padding has no part in either.

    Raises:
        ModelFileError: It is not exactly supported.
    """
    image = operation.activation()
    output = operation.quantized(operation.output)
    place = geometry(operation, image, (operation.option("kernel_height"), operation.option("kernel_width")))
    if place.out_channels != place.channels:
        raise operation.refuse(f"it turns {place.channels} channels into {place.out_channels}")
    low, high = activation_range(operation, output)
    average = operation.kind == "AVERAGE_POOL_2D"
    covered = place.covered()
    most_covered = int(np.max(covered))
    if average and most_covered >= _MOST_COVERED:
        raise operation.refuse(f"its window covers {most_covered} values, whose sum may need more than 32 bits")

    def answer(values: Integers) -> Any:
        if not average:
            most = functools.reduce(np.maximum, (pixels for _, pixels in place.patches(values[0], -128)))
            return np.clip(most, low, high)[None]
        total = functools.reduce(np.add, (pixels for _, pixels in place.patches(values[0], 0)))
        return np.clip(_rounded(total, covered[..., None]), low, high)[None]

    return Step(
        operation,
        "average_pool" if average else "max_pool",
        (image,),
        output,
        {"geometry": place.fields(), "low": low, "high": high},
        (place.distance(by_channel=True),),
        inputs.through(lambda ends: np.clip(ends, low, high)),
        answer,
        reads=int(covered.sum()) * place.channels,
    )


def mean(operation: Operation, inputs: Range) -> Step:
    """MEAN over axes that follow each other.

    Raises:
        ModelFileError: The axes do not, or a sum needs more than 32 bits.
    """
    source = operation.activation()
    output = operation.quantized(operation.output)
    axes_tensor = operation.constant(1, "int32")
    rank = len(source.shape)
    numbers = [] if axes_tensor.data is None else axes_tensor.data.ravel().tolist()
    axes = sorted({axis + rank * (axis < 0) for axis in numbers})
    if not axes or axes[0] < 0 or axes[-1] >= rank or axes != list(range(axes[0], axes[-1] + 1)):
        raise operation.refuse(f"its axes are {numbers} of {rank}; accepted: neighbours")
    begin = axes[0]
    end = axes[-1] + 1
    outer, middle, inner = map(math.prod, (source.shape[:begin], source.shape[begin:end], source.shape[end:]))
    if output.size != outer * inner:
        raise operation.refuse(f"its output {list(output.shape)} does not fit its axes {axes}")
    multiplier, right = multiplier_of(source.scale / output.scale)
    # QuantizedMeanOrSum divides the multiplier, after it gave it as many more bits as the number of values has.
    more = min(middle.bit_length() - 1, 32, 31 - right)
    multiplier = (multiplier << max(0, more)) // middle
    right = right + more
    if more < 0 or (256 * middle) << max(0, -right) >= 2**31:
        raise operation.refuse(f"its sums of {middle} values may need more than 32 bits")

    def answer(values: Integers) -> Any:
        sums = (values.reshape(outer, middle, inner) - source.zero_point).sum(axis=1)
        scaled = scale(sums, multiplier, right) + output.zero_point
        return np.clip(scaled, -128, 127).reshape(output.shape)

    layer = {
        "outer": outer,
        "middle": middle,
        "inner": inner,
        "in_zero_point": source.zero_point,
        "zero_point": output.zero_point,
        "multiplier": multiplier,
        "right": right,
    }
    values = inputs.as_channels(inner).minus(source.zero_point)
    outputs = values.through(
        lambda ends: np.clip(scale(ends * middle, multiplier, right) + output.zero_point, -128, 127)
    )
    return Step(operation, "mean", (source,), output, layer, (0,), outputs, answer)


def _rounded(total: Integers, count: Integers) -> Any:
    """The quotient, halves away from zero."""
    return np.sign(total) * ((np.abs(total) + count // 2) // count)
