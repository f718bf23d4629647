"""FULLY_CONNECTED."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from edgepress.converters.to_c.arithmetic import Integers, Range, scaling, sums
from edgepress.converters.to_c.convolution import is_unlike_dense, with_kernel
from edgepress.converters.to_c.graph import Operation
from edgepress.converters.to_c.step import (
    SEPARATE,
    Channels,
    Step,
    check_scaling,
    checked_bias,
    in_fours,
    optional_bias,
    paired,
    scaling_fields,
    weight_scales,
)
from edgepress.converters.to_c.window import single_pixels


def fully_connected(operation: Operation, inputs: Range) -> Step:
    """FULLY_CONNECTED.

    Raises:
        ModelFileError: It can't be computed in 32 bits, or its weights have an unknown layout.
    """
    source = operation.activation()
    weights = operation.constant(1, "int8")
    output = operation.quantized(operation.output)
    if weights.data is None or weights.data.ndim != 2 or operation.option("weights_format"):
        raise operation.refuse(f"its weights have the shape {list(weights.shape)} or another order")
    matrix = weights.data.astype(np.int64)
    count, products = matrix.shape
    rows = source.size // products
    if rows * products != source.size or rows * count != output.size:
        raise operation.refuse(f"its weights {list(matrix.shape)} do not fit its input {list(source.shape)}")
    bias = checked_bias(operation, optional_bias(operation), matrix)
    scaled = scaling(operation, source.scale * weight_scales(operation, weights, count, 0) / output.scale)
    values = inputs.minus(source.zero_point)
    parts = values.as_channels(products)
    accumulators = sums(matrix[:, None, :], parts if rows == 1 else values.joined(), bias)
    check_scaling(operation, scaled, accumulators)

    def answer(items: Integers) -> Integers:
        flat = items.reshape(rows, products).astype(np.float64) - source.zero_point
        total = (flat @ matrix.T.astype(np.float64)).astype(np.int64) + bias  # exact: sums are below 2^53
        return scaled.outputs(total).reshape(output.shape)

    single = len(weights.scales) == 1
    channels = Channels(matrix, bias, scaled, accumulators)
    outputs = channels.outputs
    step = Step(
        operation,
        "dense",
        (source,),
        output,
        {},
        (SEPARATE,),
        outputs,
        answer,
        macs=rows * matrix.size,
        constant_channels=outputs.constant_channels,
    )
    if is_unlike_dense(matrix):
        return with_kernel(step, single_pixels(rows, products, count), channels, source.zero_point)
    layer: dict[str, Any] = {
        "scaling": scaling_fields(scaled, accumulators, single=single),
        "weights": paired(matrix),
        "bias": in_fours(channels.folded(source.zero_point).bias).astype(np.int32),
        "rows": rows,
        "inputs": products,
        "outputs": count,
        "channel_mask": 0 if single else -1,
    }
    return replace(step, layer=layer)
