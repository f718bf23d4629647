"""Faults for `proof_table.py`: each takes the bytes of a sound file and returns those of a broken one, or None.

They are what converters get wrong: a weight in another layout, a scale or zero point that only one side of a tensor
has, a bias that is left out. A layer is drawn at random. None means that the file has nothing that the fault needs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgepress.converters.to_tflite import flatbuffer as flat

Array = npt.NDArray[Any]
Edit = Callable[[Array, np.random.Generator, "Axes"], Array | None]
LEAST = 64
"""Smallest number of values of a weight that is changed."""
SHIFT, NOISE = 24, 0.6
"""Shift of a zero point, and standard deviation of noise as a share of the weights' own."""


@dataclass(frozen=True)
class Axes:
    """Axes of a kernel: its height and width, or None, and those of input and output channels."""

    plane: tuple[int, int] | None
    inputs: int
    outputs: int


AXES = {
    "CONV_2D": Axes((1, 2), 3, 0),
    "DEPTHWISE_CONV_2D": Axes((1, 2), 0, 3),
    "FULLY_CONNECTED": Axes(None, 1, 0),
}
"""Of TFLite's operations with a kernel."""
KERNELS = ("Conv", "Gemm", "MatMul", "ConvInteger", "MatMulInteger")
"""ONNX's."""


def _transposed(w: Array, rng: np.random.Generator, axes: Axes) -> Array | None:
    if axes.plane is None or w.shape[axes.plane[0]] != w.shape[axes.plane[1]] or w.shape[axes.plane[0]] == 1:
        return None
    return w.swapaxes(*axes.plane)


def _swapped(w: Array, rng: np.random.Generator, axes: Axes) -> Array | None:
    return None if w.shape[axes.inputs] == 1 else np.flip(w, axes.inputs)


def _rolled(w: Array, rng: np.random.Generator, axes: Axes) -> Array | None:
    return np.roll(w, 1, axes.outputs)


def _noisy(w: Array, rng: np.random.Generator, axes: Axes) -> Array | None:
    middle = float(np.median(w.astype(np.float64)))
    changed = w + rng.normal(0, NOISE * (w.astype(np.float64).std() or abs(middle)), w.shape)
    if w.dtype.kind in "iu":
        limits = np.iinfo(w.dtype)
        changed = np.clip(np.rint(changed), limits.min, limits.max)
    return changed


EDITS: dict[str, Edit] = {
    "kernel transposed": _transposed,
    "input channels swapped": _swapped,
    "output channels shifted": _rolled,
    "noise in a weight": _noisy,
}
"""Faults of the values of one weight."""
OTHERS = ("scale doubled", "bias dropped", "inner zero point", "inner scale doubled", "input zero point")
OTHERS += ("output zero point", "input scale doubled")
FAULTS = (*EDITS, "noise in all weights", *OTHERS)


def broken(model: bytes, fault: str, seed: int) -> bytes | None:
    """The file with a fault in it."""
    rng = np.random.default_rng([seed, FAULTS.index(fault)])
    return (_tflite if model[4:8] == b"TFL3" else _onnx)(model, fault, rng)


def _tflite(model: bytes, fault: str, rng: np.random.Generator) -> bytes | None:
    from ai_edge_litert import schema_py_generated as fb

    root, graph = flat.read(model)
    types = {fb.TensorType.FLOAT32: np.float32, fb.TensorType.FLOAT16: np.float16, fb.TensorType.INT8: np.int8}
    types |= {fb.TensorType.INT32: np.int32, fb.TensorType.INT64: np.int64}
    makers = {int(op.outputs[0]): op for op in graph.operators}

    def stored(index: int) -> Any:
        """The constant behind a tensor, through DEQUANTIZE; None if it is computed."""
        op = makers.get(index)
        index = int(op.inputs[0]) if op is not None and flat.kind(root, op) == "DEQUANTIZE" else index
        tensor = graph.tensors[index]
        return tensor if index >= 0 and root.buffers[tensor.buffer].data is not None else None

    def values(tensor: Any) -> Array:
        return root.buffers[tensor.buffer].data.view(types[tensor.type]).reshape(tensor.shape)

    def store(tensor: Any, array: Array) -> None:
        whole = np.ascontiguousarray(array).astype(types[tensor.type])
        tensor.buffer = flat.append(root.buffers, fb.BufferT(data=whole.reshape(-1).view(np.uint8)))

    kernels = []
    for op in graph.operators:
        kind = flat.kind(root, op)
        w = stored(int(op.inputs[1])) if kind in AXES else None
        if w is not None and np.prod(w.shape) >= LEAST:
            kernels.append((w, kind, op))
    if not kernels:
        return None
    order = [kernels[i] for i in rng.permutation(len(kernels))]
    if fault in EDITS or fault == "noise in all weights":
        edit = EDITS.get(fault, _noisy)
        for w, kind, _ in order:
            if (changed := edit(values(w), rng, AXES[kind])) is None:
                continue
            store(w, changed)
            if fault in EDITS:
                return flat.write(root)
        return flat.write(root) if fault not in EDITS else None
    if fault == "scale doubled":
        w = order[0][0]
        if w.type == fb.TensorType.INT8:
            w.quantization.scale = [2 * s for s in w.quantization.scale]
        else:
            store(w, 2 * values(w))
        return flat.write(root)
    if fault == "bias dropped":
        for _, _, op in order:
            if len(op.inputs) > 2 and (b := stored(int(op.inputs[2]))) and values(b).any():
                store(b, 0 * values(b))
                return flat.write(root)
        return None
    if fault.startswith("inner"):
        inner = [int(op.inputs[0]) for _, _, op in order if int(op.inputs[0]) in makers]
        inner = [i for i in inner if graph.tensors[i].type in (fb.TensorType.INT8, fb.TensorType.INT16)]
        return _relabelled(root, graph, inner[0], fault) if inner else None
    end = graph.tensors[graph.outputs[0] if fault.startswith("output") else graph.inputs[0]]
    if end.quantization is None or end.quantization.scale is None or not len(end.quantization.scale):
        return None
    if "scale" in fault:
        end.quantization.scale = [2 * s for s in end.quantization.scale]
    else:
        end.quantization.zeroPoint = [int(z) + 2 * SHIFT for z in end.quantization.zeroPoint]
    return flat.write(root)


def _relabelled(root: Any, graph: Any, index: int, fault: str) -> bytes:
    """Let the readers of a tensor read it with another zero point or scale: a RESHAPE copies the integers."""
    from ai_edge_litert import schema_py_generated as fb

    old = graph.tensors[index]
    new = flat.tensor(graph, list(old.shape), f"broken_{index}", type=old.type)
    shift = (SHIFT if old.type == fb.TensorType.INT8 else 256 * SHIFT) if "zero" in fault else 0
    graph.tensors[new].quantization = fb.QuantizationParametersT(
        scale=[s * (1 if shift else 2) for s in old.quantization.scale],
        zeroPoint=[int(z) + shift for z in old.quantization.zeroPoint],
    )
    for op in graph.operators:
        op.inputs = [new if int(i) == index else int(i) for i in op.inputs]
    at = next(i for i, op in enumerate(graph.operators) if index in [int(o) for o in op.outputs])
    shape = flat.constant(root, graph, np.array(old.shape, np.int32), f"broken_shape_{index}")
    reshape = flat.operator(root, "RESHAPE", [index, shape], new, newShape=list(old.shape))
    graph.operators.insert(at + 1, reshape)
    return flat.write(root)


def _onnx(model: bytes, fault: str, rng: np.random.Generator) -> bytes | None:
    import onnx
    from onnx import numpy_helper

    whole = onnx.load_from_string(model)
    graph = whole.graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    makers = {name: node for node in graph.node for name in node.output}

    def stored(name: str) -> Any:
        node = makers.get(name)
        while node is not None and node.op_type in ("DequantizeLinear", "Cast", "Transpose"):
            name, node = node.input[0], makers.get(node.input[0])
        return constants.get(name)

    def store(tensor: Any, array: Array) -> None:
        dtype = numpy_helper.to_array(tensor).dtype
        tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(array).astype(dtype), tensor.name))

    kernels = []
    for node in graph.node:
        w = stored(node.input[1]) if node.op_type in KERNELS else None
        if w is not None and np.prod(w.dims) >= LEAST:
            kernels.append((w, node))
    if not kernels:
        return None
    order = [kernels[i] for i in rng.permutation(len(kernels))]
    if fault in EDITS or fault == "noise in all weights":
        edit = EDITS.get(fault, _noisy)
        for w, _ in order:
            axes = Axes((2, 3), 1, 0) if len(w.dims) == 4 else Axes(None, 0, 1)
            if (changed := edit(numpy_helper.to_array(w), rng, axes)) is None:
                continue
            store(w, changed)
            if fault in EDITS:
                return bytes(whole.SerializeToString())
        return bytes(whole.SerializeToString()) if fault not in EDITS else None
    if fault == "scale doubled":
        w = order[0][0]
        if w.data_type in (onnx.TensorProto.INT8, onnx.TensorProto.UINT8):
            w = constants.get(w.name.replace("_quantized", "_scale"))
            if w is None:
                return None
        store(w, 2 * numpy_helper.to_array(w))
        return bytes(whole.SerializeToString())
    if fault == "bias dropped":
        for _, node in order:
            if len(node.input) > 2 and (b := stored(node.input[2])) and numpy_helper.to_array(b).any():
                store(b, 0 * numpy_helper.to_array(b))
                return bytes(whole.SerializeToString())
        return None
    if fault.startswith("inner"):
        pairs = [n for n in graph.node if n.op_type == "DequantizeLinear" and n.input[0] in makers]
        if not pairs:
            return None
        node = pairs[rng.integers(len(pairs))]
        at = 2 if "zero" in fault else 1
        old = numpy_helper.to_array(constants[node.input[at]])
        limits = np.iinfo(old.dtype) if at == 2 else None
        new = 2 * old if limits is None else old + (SHIFT if int(old) + SHIFT <= limits.max else -SHIFT)
        graph.initializer.append(numpy_helper.from_array(np.asarray(new, old.dtype), "broken"))
        node.input[at] = "broken"
        return bytes(whole.SerializeToString())
    return None
