"""Small int8 TFLite graphs for tests of rewrites: built operation by operation, and run by LiteRT."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from edgepress.converters.to_tflite import flatbuffer as flat

Array = npt.NDArray[Any]
INT8 = 9
KINDS = {np.dtype(np.float32): 0, np.dtype(np.int32): 2, np.dtype(np.uint8): 3, np.dtype(np.int8): 9}


class Net:
    """A graph of one input, of type int8 unless `dtype` says otherwise."""

    def __init__(self, shape: Sequence[int], scale: float = 0.05, zero: int = 0, dtype: Any = np.int8) -> None:
        from ai_edge_litert import schema_py_generated as fb

        self.graph = fb.SubGraphT(tensors=[], operators=[], name=b"main")
        self.root = fb.ModelT(version=3, operatorCodes=[], subgraphs=[self.graph], buffers=[fb.BufferT()])
        self.input = self.tensor(shape, scale, zero, dtype)

    def tensor(self, shape: Sequence[int], scale: float = 0.0, zero: int = 0, dtype: Any = np.int8) -> int:
        """A tensor; it is quantized if it has a scale."""
        from ai_edge_litert import schema_py_generated as fb

        kind = KINDS[np.dtype(dtype)]
        index = flat.tensor(self.graph, list(shape), f"t{len(self.graph.tensors)}", type=kind)
        if scale:
            self.graph.tensors[index].quantization = fb.QuantizationParametersT(scale=[scale], zeroPoint=[zero])
        return index

    def constant(self, values: Array, scale: float | Sequence[float] = 0.0, zero: int = 0, axis: int = 0) -> int:
        """A constant as stored; quantized if it has a scale, per channel if it has several."""
        from ai_edge_litert import schema_py_generated as fb

        index = self.tensor(values.shape, dtype=values.dtype)
        data = np.frombuffer(np.ascontiguousarray(values).tobytes(), np.uint8)
        self.graph.tensors[index].buffer = flat.append(self.root.buffers, fb.BufferT(data=data))
        if scale:
            scales = [scale] if isinstance(scale, float) else list(scale)
            self.graph.tensors[index].quantization = fb.QuantizationParametersT(
                scale=scales, zeroPoint=[zero] * len(scales), quantizedDimension=axis
            )
        return index

    def op(
        self,
        kind: str,
        inputs: Sequence[int],
        shape: Sequence[int],
        scale: float = 0.05,
        zero: int = 0,
        dtype: Any = np.int8,
        **options: Any,
    ) -> int:
        """Append an operation and return its output."""
        made = self.tensor(shape, scale, zero, dtype)
        self.graph.operators.append(flat.operator(self.root, kind, list(inputs), made, **options))
        return made

    def to_bytes(self, output: int) -> bytes:
        """The model that returns a tensor."""
        self.graph.inputs, self.graph.outputs = [self.input], [output]
        return flat.write(self.root)


def interpreter(model: bytes, *, delegate: bool = True) -> Any:
    """An interpreter of a model, by XNNPACK or by LiteRT's own kernels."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    kernels = OpResolverType.AUTO if delegate else OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    made = Interpreter(model_content=model, num_threads=1, experimental_op_resolver_type=kernels)
    made.allocate_tensors()
    return made


def answers(model: bytes, items: Array, *, delegate: bool = True) -> Array:
    """What a model answers to one item, as stored."""
    made = interpreter(model, delegate=delegate)
    made.set_tensor(made.get_input_details()[0]["index"], items)
    made.invoke()
    found: Array = made.get_tensor(made.get_output_details()[0]["index"])
    return found


def kinds(model: bytes) -> list[str]:
    """The operations of a model."""
    root, graph = flat.read(model)
    return [flat.kind(root, op) for op in graph.operators]
