"""How an ONNX file in QDQ form stores the tensors of the program that it was made from, for `simulate.Simulation`.

`to_onnx.from_tflite` and ONNX Runtime's quantizer keep the names of tensors and constants, so that scales are read by
name. What has another name, such as what a rewrite of the ONNX graph made, is not rounded in the simulation.

    >>> float_model = float_onnx_of(model)                                       # doctest: +SKIP
    >>> quantized = with_scheme(float_model, SCHEMES["onnx-int8"], batches, (0, 255))
    >>> simulation = Simulation(program, scales_of_onnx(program, quantized))
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgepress.converters.graph.program import Program
from edgepress.converters.graph.simulate import Rounding, Scales
from edgepress.converters.graph.step import WEIGHTED

if TYPE_CHECKING:
    import onnx

STORED, FOUR_BITS = "_quantized", "_int4"
"""Ends of the names of constants after ONNX Runtime's quantizer, and after `to_onnx.four_bits`."""
MOVING = {"Transpose", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity", "QuantizeLinear", "DequantizeLinear"}
"""Operations that keep values, or round them."""
LIMITS = {2: (0, 255), 3: (-128, 127), 4: (0, 65535), 5: (-32768, 32767), 21: (0, 15), 22: (-8, 7)}
"""Smallest and largest value of uint8, int8, uint16, int16, uint4 and int4, by ONNX's `TensorProto.DataType`."""


def scales_of_onnx(program: Program, quantized: onnx.ModelProto) -> Scales:
    """How the file stores the program's tensors and constants; biases of 32 bits count as exact.

    Args:
        program: The float TFLite graph that the ONNX model was made from.
        quantized: A model with QuantizeLinear and DequantizeLinear.
    """
    import onnx

    held = {tensor.name: tensor for tensor in quantized.graph.initializer}
    own = {program.source, *(name for step in program.steps for name in step.outputs)}
    axes = {step.weights: WEIGHTED[step.kind] for step in program.weighted()}
    makers = {name: node for node in quantized.graph.node for name in node.output}

    def origin(name: str) -> str:
        """The program's tensor whose values these are, in another order perhaps; "" if it is none."""
        while name not in own:
            if (maker := makers.get(name)) is None or maker.op_type not in MOVING:
                return ""
            name = maker.input[0]
        return name

    tensors: dict[str, Rounding] = {}
    constants: dict[str, Rounding] = {}
    for node in quantized.graph.node:
        if node.op_type not in ("QuantizeLinear", "DequantizeLinear") or {*node.input[1:3]} - {*held}:
            continue
        name = node.input[0]
        stored = held[node.input[2]] if len(node.input) > 2 else None
        if stored is None or stored.data_type not in LIMITS:
            continue
        scale = onnx.numpy_helper.to_array(held[node.input[1]]).astype(np.float32)
        zeros = onnx.numpy_helper.to_array(stored).astype(np.int64).ravel()
        zero = int(zeros[0]) if zeros.size else 0
        if node.op_type == "QuantizeLinear" and scale.size == 1 and (found := origin(name)):
            rounding = Rounding(scale.reshape(()), zero, *LIMITS[stored.data_type])
            tensors[found] = rounding if name == found else tensors.get(found, rounding)
        if (maker := makers.get(name)) is not None and maker.op_type == "Cast":  # of four bits
            name = maker.input[0]
        base = name.removesuffix(STORED).removesuffix(FOUR_BITS)
        if node.op_type == "DequantizeLinear" and base in program.constants and base != name:
            shape = [1] * program.constants[base].ndim
            if scale.size > 1:
                if base not in axes or program.constants[base].shape[axes[base]] != scale.size:
                    continue
                shape[axes[base]] = scale.size
            limits = LIMITS[held[name].data_type if name in held else stored.data_type]
            constants[base] = Rounding(scale.reshape(shape if scale.size > 1 else ()), zero, *limits)
    return Scales(tensors, constants)
