"""Small float TFLite graphs, built operation by operation, for tests of rewrites."""

from __future__ import annotations

from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as fb
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from edgepress.converters.rewrites.table import REWRITES, apply_to_onnx
from edgepress.converters.rewrites.tflite.windows import Axis, conv
from edgepress.converters.to_tflite import flatbuffer as flat
from edgepress.converters.to_tflite.graph import Graph, same_padding

BUILTIN = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES


def rewrite(name: str, graph: Any) -> int:
    """Do a rewrite in a `Graph` or an ONNX model; returns at how many places."""
    row = next(row for row in REWRITES if row.name == name)
    return row.apply(graph) if isinstance(graph, Graph) else apply_to_onnx(row, graph)


class Net:
    """A chain of operations on one image; `graph` may be given others."""

    def __init__(self, size: tuple[int, ...], channels: int, *, batch: int = 1, seed: int = 0) -> None:
        root = fb.ModelT(version=3, operatorCodes=[], buffers=[fb.BufferT()], signatureDefs=[])
        table = fb.SubGraphT(tensors=[], operators=[], inputs=[], outputs=[])
        root.subgraphs = [table]
        self.now = flat.tensor(table, [batch, *size, channels], "input")
        table.inputs = table.outputs = [self.now]
        self.graph = Graph(flat.write(root))
        self.random, self.count = np.random.default_rng(seed), 0

    @property
    def shape(self) -> tuple[int, ...]:
        return self.graph.shape(self.now)

    def add(self, kind: str, inputs: list[Any], shape: tuple[int, ...], **options: Any) -> int:
        """An operation; arrays among its inputs become constants."""
        indices = [self.graph.add_constant(x) if isinstance(x, np.ndarray) else x for x in inputs]
        self._put(self.graph.operator(kind, indices, self._next(shape), **options))
        return self.now

    def give_options(self, table: str, **options: Any) -> None:
        """Give the last operation options of a table whose name `Graph.operator` does not know."""
        op = self.graph.operators[-1]
        op.builtinOptionsType = getattr(fb.BuiltinOptions, f"{table}Options")
        op.builtinOptions = getattr(fb, f"{table}OptionsT")(**options)

    def _next(self, shape: tuple[int, ...]) -> int:
        self.count += 1
        return self.graph.add_tensor(shape, f"layer{self.count}")

    def _put(self, op: Any) -> None:
        self.graph.operators.append(op)
        self.now = op.outputs[0]

    def conv(self, channels: int, kernel: tuple[int, int] = (1, 1), *, groups: int = 1, **options: Any) -> int:
        shape = (channels, *kernel, self.shape[3] // groups)
        return self._window("CONV_2D", shape, channels, **options)

    def depthwise(self, kernel: tuple[int, int], *, multiplier: int = 1, **options: Any) -> int:
        channels = self.shape[3] * multiplier
        return self._window(
            "DEPTHWISE_CONV_2D", (1, *kernel, channels), channels, depthMultiplier=multiplier, **options
        )

    def _window(
        self,
        kind: str,
        shape: Any,
        channels: int,
        *,
        stride: int = 1,
        same: bool = True,
        act: int = 0,
        dilation: int = 1,
        **options: Any,
    ) -> int:
        weights = self.random.normal(size=shape).astype(np.float32)
        bias = self.random.normal(size=channels).astype(np.float32)
        axes = [
            Axis(n, k, stride, dilation, pads(n, k, stride, dilation) if same else (0, 0))
            for n, k in zip(self.shape[1:3], shape[1:3], strict=True)
        ]
        new = self._next((self.shape[0], axes[0].out, axes[1].out, channels))
        inputs = [self.now, self.graph.add_constant(weights), self.graph.add_constant(bias)]
        op = conv(self.graph, kind, inputs, new, windows=axes, fusedActivationFunction=act, **options)
        op.builtinOptions.padding = 0 if same else 1
        self._put(op)
        return self.now

    def pad(self, pads: Any) -> int:
        amounts = np.array([(0, 0), *pads, (0, 0)], np.int32)
        return self.add("PAD", [self.now, amounts], tuple(np.array(self.shape) + amounts.sum(1)))

    def slice(self, index: int, shape: tuple[int, ...]) -> int:
        """The first values of another tensor, added to what is there."""
        here, zeros = self.now, np.zeros(4, np.int32)
        there = self.add("SLICE", [index, zeros, np.array(shape, np.int32)], shape)
        return self.add("ADD", [here, there], shape)

    def model(self) -> bytes:
        self.graph.table.outputs = [self.now]
        return self.graph.to_bytes()


pads = same_padding


def answer(
    model: bytes, *, builtin: bool = False, seed: int = 0, low: float | None = None, high: float = 1.0
) -> np.ndarray:
    """The answer to seeded normal numbers, or to uniform ones from `low` to `high`, dequantized."""
    options = {"experimental_op_resolver_type": BUILTIN} if builtin else {}
    interpreter = Interpreter(model_content=model, **options)
    interpreter.allocate_tensors()
    if builtin:
        _check_statements(Graph(model), interpreter)
    (source,), (sink,) = interpreter.get_input_details(), interpreter.get_output_details()
    random = np.random.default_rng(seed)
    x = random.normal(size=source["shape"]) if low is None else random.uniform(low, high, source["shape"])
    x = x.astype(np.float32)
    if source["dtype"] != np.float32:
        scale, zero = source["quantization"]
        x = np.clip(np.rint(x / scale) + zero, 0, 255).astype(source["dtype"])
    interpreter.set_tensor(source["index"], x)
    interpreter.invoke()
    y = interpreter.get_tensor(sink["index"])
    if sink["dtype"] != np.float32:
        scale, zero = sink["quantization"]
        y = (y.astype(np.float32) - zero) * scale
    return y


def _check_statements(graph: Graph, interpreter: Interpreter) -> None:
    """What a file says of its tensors must be what LiteRT computes: their shapes, and outputs of each channel."""
    found = {detail["index"]: tuple(detail["shape"].tolist()) for detail in interpreter.get_tensor_details()}
    stated = {index: graph.shape(index) for index in range(len(graph.table.tensors))}
    assert {index: found[index] for index in stated} == stated
    for op in graph.operators:
        if graph.kind(op) == "DEPTHWISE_CONV_2D":
            inputs, outputs = (graph.shape(int(i))[3] for i in (op.inputs[0], op.outputs[0]))
            assert inputs * op.builtinOptions.depthMultiplier == outputs


def kinds(model: bytes) -> list[str]:
    """Kinds of the operations, in order."""
    graph = Graph(model)
    return [graph.kind(op) for op in graph.operators]
