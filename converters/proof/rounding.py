"""What weights of eight or four bits cost by themselves: the float model with every weight rounded, computed in float.

A net whose weights do not survive rounding answers differently even in a faultless file, on items unlike its training
data most of all. Comparing a file with the rounded float model tells this from a fault, and independently: the rounding
here is NumPy's, of the float file, not the quantizers'. It is the weight part of simulated quantization (Jacob et al.
2018, arXiv:1712.05877, section 3).
"""

from __future__ import annotations

import copy
from collections.abc import Collection
from typing import TYPE_CHECKING, Any

import numpy as np

from edgepress.converters.grids import LEVELS, ONNX_AXES, TFLITE_AXES, rounded
from edgepress.converters.to_tflite import flatbuffer as flat
from edgepress.converters.to_tflite.four_bits import LEVELS as FEW_LEVELS

if TYPE_CHECKING:
    import onnx


def rounded_tflite(model: bytes, *, dense_per_channel: bool, few: Collection[str] = ()) -> bytes:
    """A float TFLite model with rounded kernels.

    Args:
        model: The float model.
        dense_per_channel: Whether each output of a dense layer has a scale of its own.
        few: Names of the outputs of the operations whose kernels have four bits.
    """
    from ai_edge_litert import schema_py_generated as fb

    root, graph = flat.read(model)
    for op in graph.operators:
        kind = flat.kind(root, op)
        kernel = graph.tensors[int(op.inputs[1])] if kind in TFLITE_AXES else None
        data = root.buffers[kernel.buffer].data if kernel is not None and kernel.type == flat.FLOAT32 else None
        if kernel is not None and data is not None and len(data):
            axis = None if kind == "FULLY_CONNECTED" and not dense_per_channel else TFLITE_AXES[kind]
            values = np.asarray(data, np.uint8).view(np.float32).reshape(kernel.shape)
            name = (graph.tensors[int(op.outputs[0])].name or b"").decode(errors="replace")
            levels = FEW_LEVELS if name in few else LEVELS
            changed = rounded(values, axis, levels=levels).reshape(-1).view(np.uint8)
            kernel.buffer = flat.append(root.buffers, fb.BufferT(data=changed))
    return flat.write(root)


def rounded_onnx(
    model: onnx.ModelProto, per_channel: Collection[str], *, symmetric: bool, few: Collection[str] = ()
) -> onnx.ModelProto:
    """A float ONNX model with rounded kernels.

    Args:
        model: The float model.
        per_channel: Kinds of operations, of those in `ONNX_AXES`, whose kernels are rounded per channel; others have
            one scale.
        symmetric: See `rounded`.
        few: Names of the kernels that have four bits.
    """
    from onnx import numpy_helper

    whole = copy.deepcopy(model)
    constants = {tensor.name: tensor for tensor in whole.graph.initializer}
    done: set[str] = set()
    for node in whole.graph.node:
        name = node.input[1] if node.op_type in ONNX_AXES else ""
        if name not in constants or name in done:
            continue
        done.add(name)
        values = numpy_helper.to_array(constants[name])
        if values.dtype == np.float32 and values.ndim > 1:
            transposed = any(a.name == "transB" and a.i for a in node.attribute)
            axis: Any = (0 if transposed else ONNX_AXES[node.op_type]) if node.op_type in per_channel else None
            changed = rounded(values, axis, symmetric=symmetric, levels=FEW_LEVELS if name in few else LEVELS)
            constants[name].CopyFrom(numpy_helper.from_array(changed, name))
    return whole
