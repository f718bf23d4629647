"""Small int8 TFLite graphs for tests of rewrites: built operation by operation, rewritten, and run by LiteRT."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from rewriting import rewrite

from edgepress.converters.to_tflite import flatbuffer as flat
from edgepress.converters.to_tflite.flatbuffer import TYPES
from edgepress.converters.to_tflite.graph import Graph

Array = npt.NDArray[Any]
EVERY = np.arange(-128, 128, dtype=np.int8).reshape(1, 8, 8, 4)
"""Every value of int8."""


class Net:
    """A graph of one input; tensors are int8 unless `dtype` says otherwise, and quantized if they have a scale."""

    def __init__(self, shape: Sequence[int], scale: float = 0.05, zero: int = 0, dtype: Any = np.int8) -> None:
        from ai_edge_litert import schema_py_generated as fb

        self.graph = fb.SubGraphT(tensors=[], operators=[], name=b"main")
        self.root = fb.ModelT(version=3, operatorCodes=[], subgraphs=[self.graph], buffers=[fb.BufferT()])
        self.input = self.tensor(shape, scale, zero, dtype)

    def tensor(self, shape: Sequence[int], scale: float = 0.0, zero: int = 0, dtype: Any = np.int8) -> int:
        """A tensor."""
        kind = TYPES[np.dtype(dtype)]
        index = flat.tensor(self.graph, list(shape), f"t{len(self.graph.tensors)}", type=kind)
        if scale:
            self.graph.tensors[index].quantization = flat.quantization([scale], [zero])
        return index

    def constant(self, values: Array, scales: Sequence[float] = (), zero: int = 0, axis: int = 0) -> int:
        """A constant as it is stored; quantized per channel if it has several scales."""
        index = self.tensor(values.shape, dtype=values.dtype)
        self.graph.tensors[index].buffer = flat.add_buffer(self.root, np.ascontiguousarray(values))
        if scales:
            self.graph.tensors[index].quantization = flat.quantization(scales, [zero] * len(scales), axis)
        return index

    def op(
        self,
        kind: str,
        inputs: Sequence[int],
        shape: Sequence[int],
        scale: float = 0.05,
        zero: int = 0,
        *,
        dtype: Any = np.int8,
        table: str = "",
        **options: Any,
    ) -> int:
        """Append an operation and return its output; `table` is that of its options if that is not named like it."""
        from ai_edge_litert import schema_py_generated as fb

        made = self.tensor(shape, scale, zero, dtype)
        operator = flat.operator(self.root, kind, list(inputs), made, **({} if table else options))
        if table:
            operator.builtinOptionsType = getattr(fb.BuiltinOptions, f"{table}Options")
            operator.builtinOptions = getattr(fb, f"{table}OptionsT")()
            for name, value in options.items():
                setattr(operator.builtinOptions, name, value)
        self.graph.operators.append(operator)
        return made

    def model(self, output: int | None = None) -> bytes:
        """The model that returns a tensor, the one made last by default."""
        self.graph.inputs = [self.input]
        self.graph.outputs = [self.graph.operators[-1].outputs[0] if output is None else output]
        return flat.write(self.root)


def rewritten(what: str, model: bytes) -> tuple[bytes, int]:
    """A model after a rewrite, and at how many places it was changed."""
    graph = Graph(model)
    count = rewrite(what, graph)
    return graph.to_bytes(), count


def interpreter(model: bytes, *, delegate: bool = True) -> Any:
    """An interpreter of a model, by XNNPACK or by LiteRT's own kernels, which those of tflite-runtime are like."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    kernels = OpResolverType.AUTO if delegate else OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    made = Interpreter(model_content=model, num_threads=1, experimental_op_resolver_type=kernels)
    made.allocate_tensors()
    return made


def answers(model: bytes, items: Array, *, delegate: bool = True) -> Array:
    """What a model answers, as it is stored."""
    made = interpreter(model, delegate=delegate)
    made.set_tensor(made.get_input_details()[0]["index"], items)
    made.invoke()
    found: Array = made.get_tensor(made.get_output_details()[0]["index"])
    return found


def steps(first: Array, second: Array) -> int:
    """The largest difference between stored answers."""
    return int(np.abs(first.astype(int) - second.astype(int)).max())


def kinds(model: bytes) -> list[str]:
    """The operations of a model."""
    root, graph = flat.read(model)
    return [flat.kind(root, op) for op in graph.operators]
