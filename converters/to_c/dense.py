"""FULLY_CONNECTED."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgepress.converters.to_c.arithmetic import Integers, scaling
from edgepress.converters.to_c.bounds import Range, sums
from edgepress.converters.to_c.graph import Operation
from edgepress.converters.to_c.step import (
    SEPARATE,
    Step,
    check_scaling,
    fits_in_pairs,
    folded_bias,
    in_fours,
    optional_bias,
    paired,
    scaling_fields,
    weight_scales,
)
from edgepress.converters.to_c.window import Geometry


def fully_connected(operation: Operation, inputs: Range) -> Step:
    """FULLY_CONNECTED.

    Raises:
        ModelFileError: It can't be computed in 32 bits, or its weights have an unknown layout.
    """
    source, weights = operation.activation(), operation.constant(1, "int8")
    output = operation.quantized(operation.output)
    if weights.data is None or weights.data.ndim != 2 or operation.option("weights_format"):
        raise operation.refuse(f"its weights have the shape {list(weights.shape)} or another order")
    matrix = weights.data.astype(np.int64)
    count, products = matrix.shape
    rows = source.size // products
    if rows * products != source.size or rows * count != output.size:
        raise operation.refuse(f"its weights {list(matrix.shape)} do not fit its input {list(source.shape)}")
    bias, folded = folded_bias(operation, optional_bias(operation), matrix, source.zero_point)
    scaled = scaling(operation, source.scale * weight_scales(operation, weights, count, 0) / output.scale)
    values = inputs.minus(source.zero_point)
    parts = values.as_channels(products)
    accumulators = sums(matrix[:, None, :], parts if rows == 1 else values.joined(), bias)
    check_scaling(operation, scaled, accumulators)

    def answer(given: Integers) -> Integers:
        flat = given.reshape(rows, products).astype(np.float64) - source.zero_point
        total = (flat @ matrix.T.astype(np.float64)).astype(np.int64) + bias  # exact: sums are below 2^53
        return scaled.outputs(total).reshape(output.shape)

    single, fits = len(weights.scales) == 1, fits_in_pairs(matrix)
    layer: dict[str, Any] = {
        "scaling": scaling_fields(scaled, accumulators, single=single and fits),
        "weights": paired(matrix) if fits else matrix.astype(np.int8).ravel(),
        "bias": in_fours(folded if fits else bias).astype(np.int32),
    }
    if fits:
        layer |= {"rows": rows, "inputs": products, "outputs": count, "channel_mask": 0 if single else -1}
    else:  # a convolution of single pixels
        pixels = Geometry(rows, 1, products, rows, 1, count, 1, 1, 1, 1, 0, 0, 1, 1)
        layer = {"geometry": pixels.fields(), **layer, "in_zero_point": source.zero_point}
    outputs = accumulators.through(scaled.outputs)
    return Step(
        operation,
        "dense" if fits else "conv_any",
        (source,),
        output,
        layer,
        (SEPARATE,),
        outputs,
        answer,
        macs=rows * matrix.size,
        constant_channels=outputs.constant_channels,
    )
