"""Faults for `proof_table.py`: each takes the bytes of a sound file and returns those of a broken one, or None.

They are what converters get wrong: a weight in another layout, a scale or zero point that only one side of a tensor
has, a bias that is left out. A layer is drawn at random. None means that the file has nothing that the fault needs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
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


def _noisy(w: Array, rng: np.random.Generator, axes: Axes) -> Array:
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
    file: _TFLite | _Onnx = _TFLite(model) if model[4:8] == b"TFL3" else _Onnx(model)
    if not file.kernels:
        return None
    order = [file.kernels[i] for i in rng.permutation(len(file.kernels))]
    if fault == "noise in all weights":
        for kernel in order:
            file.store(kernel.weight, _noisy(file.values(kernel.weight), rng, kernel.axes))
        return file.written()
    if fault.startswith("inner"):
        done = file.change_inner(fault, order, rng)
    elif fault == "scale doubled":
        done = file.double_scale(order[0].weight)
    elif fault == "bias dropped":
        biases = (kernel.bias for kernel in order if kernel.bias is not None and file.values(kernel.bias).any())
        done = _first(file, biases, lambda bias: 0 * file.values(bias))
    elif fault in EDITS:
        axes = {id(kernel.weight): kernel.axes for kernel in order}
        edit = EDITS[fault]
        weights = (kernel.weight for kernel in order)
        done = _first(file, weights, lambda weight: edit(file.values(weight), rng, axes[id(weight)]))
    else:
        done = file.change_end(fault)
    return file.written() if done else None


def _first(file: _TFLite | _Onnx, tensors: Iterable[Any], change: Callable[[Any], Array | None]) -> bool:
    """Change the first tensor that can be; whether there was one."""
    for tensor in tensors:
        if (changed := change(tensor)) is not None:
            file.store(tensor, changed)
            return True
    return False


@dataclass(frozen=True)
class _Kernel:
    weight: Any
    axes: Axes
    bias: Any
    operation: Any


class _TFLite:
    def __init__(self, model: bytes) -> None:
        from ai_edge_litert import schema_py_generated as fb

        self._fb, kinds = fb, fb.TensorType
        self.root, self.graph = flat.read(model)
        self._types = {kinds.FLOAT32: np.float32, kinds.FLOAT16: np.float16, kinds.INT8: np.int8}
        self._types |= {kinds.INT32: np.int32, kinds.INT64: np.int64}
        self._makers = {int(op.outputs[0]): op for op in self.graph.operators}
        self.kernels = []
        for op in self.graph.operators:
            kind = flat.kind(self.root, op)
            weight = self._stored(int(op.inputs[1])) if kind in AXES else None
            if weight is not None and np.prod(weight.shape) >= LEAST:
                bias = self._stored(int(op.inputs[2])) if len(op.inputs) > 2 else None
                self.kernels.append(_Kernel(weight, AXES[kind], bias, op))

    def _stored(self, index: int) -> Any:
        """The constant behind a tensor, through DEQUANTIZE; None if it is computed."""
        op = self._makers.get(index)
        index = int(op.inputs[0]) if op is not None and flat.kind(self.root, op) == "DEQUANTIZE" else index
        tensor = self.graph.tensors[index]
        return tensor if index >= 0 and self.root.buffers[tensor.buffer].data is not None else None

    def values(self, tensor: Any) -> Array:
        data: Array = self.root.buffers[tensor.buffer].data.view(self._types[tensor.type])
        return data.reshape(tensor.shape)

    def store(self, tensor: Any, array: Array) -> None:
        whole = np.ascontiguousarray(array).astype(self._types[tensor.type])
        buffer = self._fb.BufferT(data=whole.reshape(-1).view(np.uint8))
        tensor.buffer = flat.append(self.root.buffers, buffer)

    def written(self) -> bytes:
        return flat.write(self.root)

    def double_scale(self, weight: Any) -> bool:
        if weight.type == self._fb.TensorType.INT8:
            weight.quantization.scale = [2 * s for s in weight.quantization.scale]
        else:
            self.store(weight, 2 * self.values(weight))
        return True

    def change_inner(self, fault: str, order: list[_Kernel], rng: np.random.Generator) -> bool:
        """Let the readers of a tensor read it with another zero point or scale: a RESHAPE copies the integers."""
        kinds, graph = self._fb.TensorType, self.graph
        computed = [i for kernel in order if (i := int(kernel.operation.inputs[0])) in self._makers]
        index = next((i for i in computed if graph.tensors[i].type in (kinds.INT8, kinds.INT16)), None)
        if index is None:
            return False
        old = graph.tensors[index]
        new = flat.tensor(graph, list(old.shape), f"broken_{index}", type=old.type)
        shift = (SHIFT if old.type == kinds.INT8 else 256 * SHIFT) if "zero" in fault else 0
        graph.tensors[new].quantization = self._fb.QuantizationParametersT(
            scale=[s * (1 if shift else 2) for s in old.quantization.scale],
            zeroPoint=[int(z) + shift for z in old.quantization.zeroPoint],
        )
        for op in graph.operators:
            op.inputs = [new if int(i) == index else int(i) for i in op.inputs]
        at = next(i for i, op in enumerate(graph.operators) if index in [int(o) for o in op.outputs])
        shape = flat.constant(self.root, graph, np.array(old.shape, np.int32), f"broken_shape_{index}")
        reshape = flat.operator(self.root, "RESHAPE", [index, shape], new, newShape=list(old.shape))
        graph.operators.insert(at + 1, reshape)
        return True

    def change_end(self, fault: str) -> bool:
        """Change the zero point or the scale of a quantized input or output."""
        end = self.graph.tensors[(self.graph.outputs if fault.startswith("output") else self.graph.inputs)[0]]
        if end.quantization is None or end.quantization.scale is None or not len(end.quantization.scale):
            return False
        if "scale" in fault:
            end.quantization.scale = [2 * s for s in end.quantization.scale]
        else:
            end.quantization.zeroPoint = [int(z) + 2 * SHIFT for z in end.quantization.zeroPoint]
        return True


class _Onnx:
    def __init__(self, model: bytes) -> None:
        import onnx

        self.model = onnx.load_from_string(model)
        self._constants = {tensor.name: tensor for tensor in self.model.graph.initializer}
        self._makers = {name: node for node in self.model.graph.node for name in node.output}
        self.kernels = []
        for node in self.model.graph.node:
            weight = self._stored(node.input[1]) if node.op_type in KERNELS else None
            if weight is not None and np.prod(weight.dims) >= LEAST:
                axes = Axes((2, 3), 1, 0) if len(weight.dims) == 4 else Axes(None, 0, 1)
                bias = self._stored(node.input[2]) if len(node.input) > 2 and node.op_type in ("Conv", "Gemm") else None
                self.kernels.append(_Kernel(weight, axes, bias, node))

    def _stored(self, name: str) -> Any:
        node = self._makers.get(name)
        while node is not None and node.op_type in ("DequantizeLinear", "Cast", "Transpose"):
            name, node = node.input[0], self._makers.get(node.input[0])
        return self._constants.get(name)

    def values(self, tensor: Any) -> Array:
        from onnx import numpy_helper

        return np.asarray(numpy_helper.to_array(tensor))

    def store(self, tensor: Any, array: Array) -> None:
        from onnx import numpy_helper

        whole = np.ascontiguousarray(array).astype(self.values(tensor).dtype)
        tensor.CopyFrom(numpy_helper.from_array(whole, tensor.name))

    def written(self) -> bytes:
        return bytes(self.model.SerializeToString())

    def double_scale(self, weight: Any) -> bool:
        if self.values(weight).dtype.kind in "iu":
            weight = self._constants.get(weight.name.replace("_quantized", "_scale"))
        if weight is not None:
            self.store(weight, 2 * self.values(weight))
        return weight is not None

    def change_inner(self, fault: str, order: list[_Kernel], rng: np.random.Generator) -> bool:
        """Let DequantizeLinear use another zero point or scale than QuantizeLinear."""
        from onnx import numpy_helper

        nodes = self.model.graph.node
        pairs = [n for n in nodes if n.op_type == "DequantizeLinear" and n.input[0] in self._makers]
        if not pairs:
            return False
        node, at = pairs[rng.integers(len(pairs))], 2 if "zero" in fault else 1
        old = self.values(self._constants[node.input[at]])
        shift = SHIFT if at == 1 or int(old) + SHIFT <= np.iinfo(old.dtype).max else -SHIFT
        new = 2 * old if at == 1 else old.astype(np.int64) + shift
        self.model.graph.initializer.append(numpy_helper.from_array(np.asarray(new, old.dtype), "broken"))
        node.input[at] = "broken"
        return True

    def change_end(self, fault: str) -> bool:
        """The ends of an ONNX file are float, or pixels without a scale."""
        return False
