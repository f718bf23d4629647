"""A quantized `.tflite` file: what it computes between its operations, how it rounds that, and its constants."""

from __future__ import annotations

import os
import warnings
from collections.abc import Collection
from typing import Any

import numpy as np

from edgepress.converters.arrays import Array
from edgepress.converters.diagnosis.rounding import Rounding, of_codes
from edgepress.converters.to_tflite import flatbuffer as flat
from edgepress.converters.to_tflite.graph import Graph

HYBRID = ("CONV_2D", "FULLY_CONNECTED", "DEPTHWISE_CONV_2D", "BATCH_MATMUL")
"""Kinds of operations that round float values while they run, if their weights are integers."""


class TFLiteFile:
    """A `.tflite` file as a diagnosis reads it.

    Attributes:
        roundings: How its tensors are rounded, by name; those that it computes in float are missing.
        constants: Values of its constants of numbers, dequantized, float32, by name.
        scales: Scales of the constants that are stored as integers, by name, of a shape that broadcasts with them.
        hybrid: Names of what operations make that round their float input while they run.
        reads: Names of what makes a tensor reads, by the name of the tensor.
        unactivated: Names of tensors that are rounded without the activation of the float graph: none here, where
            kernels contain it.
    """

    def __init__(self, model: bytes) -> None:
        graph = Graph(model)
        self.roundings: dict[str, Rounding] = {}
        self.constants: dict[str, Array] = {}
        self.scales: dict[str, Array] = {}
        self.hybrid: set[str] = set()
        self.unactivated: set[str] = set()
        self.reads = {
            graph.output_name(op): tuple(graph.name(int(i)) if i >= 0 else "" for i in op.inputs)
            for op in graph.operators
        }
        for index in range(len(graph.table.tensors)):
            self._read(graph, index)
        for op in graph.operators:
            if graph.kind(op) in HYBRID and len(op.inputs) > 1 and self._is_hybrid(graph, op):
                self.roundings.setdefault(graph.name(int(op.inputs[0])), Rounding("dynamic"))
                self.hybrid.add(graph.output_name(op))
        self._start(model)

    def _read(self, graph: Graph, index: int) -> None:
        name = graph.name(index)
        dtype = graph.dtype(index)
        scales, zeros = graph.scales(index)
        values = graph.stored(index)
        if values is None:
            if scales and dtype is not None and dtype.kind in "iu":
                self.roundings[name] = of_codes(dtype, scales[0], zeros[0] if zeros else 0)
        elif (real := graph.real_values(index)) is not None:
            self.constants[name] = real
            self.scales[name] = graph.constant_scale(index, values.ndim)[0]
        elif values.dtype.kind == "f":
            self.constants[name] = values.astype(np.float32)

    def _is_hybrid(self, graph: Graph, op: Any) -> bool:
        data, weights = (graph.dtype(int(i)) for i in op.inputs[:2])
        whole = graph.table.tensors[int(op.inputs[1])].type == flat.INT4 or (
            weights is not None and weights.kind in "iu"
        )
        return data == np.float32 and whole

    def _start(self, model: bytes) -> None:
        from ai_edge_litert.interpreter import Interpreter, OpResolverType

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # that keeping every tensor takes memory
            self._interpreter = Interpreter(
                model_content=model,
                num_threads=os.cpu_count(),
                experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
                experimental_preserve_all_tensors=True,
            )
        self._interpreter.allocate_tensors()
        self._source = self._interpreter.get_input_details()[0]
        computed = {int(i) for op in self._interpreter._get_ops_details() for i in op["outputs"]}
        # The last of a name: a tensor that is quantized has the name of the float one that it was made from.
        self._tensors = {
            d["name"]: d
            for d in self._interpreter.get_tensor_details()
            if d["index"] in computed | {self._source["index"]}
            and d["dtype"] in (np.float32, np.int8, np.uint8, np.int16)
        }

    @property
    def names(self) -> Collection[str]:
        """Names of the tensors that it computes, and of its input."""
        return self._tensors.keys()

    def values(self, items: Array, names: Collection[str]) -> dict[str, Array]:
        """What it computes for items (n, *item shape), dequantized, float32, (n, *shape) by name of tensor."""
        collected: dict[str, list[Array]] = {name: [] for name in names}
        for item in items:
            self._interpreter.reset_all_variables()
            self._interpreter.set_tensor(self._source["index"], item[np.newaxis].astype(self._source["dtype"]))
            self._interpreter.invoke()
            for name, rows in collected.items():
                rows.append(self._dequantize(name))
        return {name: np.concatenate(rows) for name, rows in collected.items()}

    def _dequantize(self, name: str) -> Array:
        detail = self._tensors[name]
        codes = self._interpreter.get_tensor(detail["index"])
        scale, zero = detail["quantization"]
        return np.asarray((codes.astype(np.float32) - zero) * scale if scale else codes, np.float32)
