"""A diagnosed file, `.tflite` or `.onnx`: what it computes between operations, how it rounds that, its constants."""

from __future__ import annotations

import os
import warnings
from collections.abc import Collection
from typing import TYPE_CHECKING, Any

import numpy as np

from edgepress.converters.arrays import Array
from edgepress.converters.diagnosis.matched import Rounding, of_codes
from edgepress.converters.to_tflite import flatbuffer as flat
from edgepress.converters.to_tflite.graph import Graph
from edgepress.runtime.sessions import onnx_session

if TYPE_CHECKING:
    import onnx


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


FLOATS = (1, 10)
"""ONNX's numbers of float32 and float16."""

PRODUCTS = ("Conv", "Gemm", "MatMul")
ACTIVATIONS = ("Relu", "Clip")
"""Operations that quantizers leave out where the codes hold nothing that these would change."""


class OnnxFile:
    """A `.onnx` file as a diagnosis reads it; its attributes are those of `TFLiteFile`."""

    def __init__(self, model: onnx.ModelProto) -> None:
        import onnx

        self._model = inferred = onnx.shape_inference.infer_shapes(model)
        graph = inferred.graph
        self._types = {v.name: v.type.tensor_type.elem_type for v in (*graph.value_info, *graph.output, *graph.input)}
        self._source = graph.input[0].name
        self._dtype = onnx.helper.tensor_dtype_to_np_dtype(self._types[self._source])
        stored = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
        fixed = set(stored)
        for node in graph.node:
            if all(name in fixed or not name for name in node.input):
                fixed |= {*node.output}
        self.names: Collection[str] = [
            name
            for node in graph.node
            for name in node.output
            if name and name not in fixed and self._types.get(name) in FLOATS
        ]
        self.roundings: dict[str, Rounding] = {}
        self.constants = {name: v.astype(np.float32) for name, v in stored.items() if v.dtype.kind == "f"}
        self.scales: dict[str, Array] = {}
        self.hybrid: set[str] = set()
        makers = {name: node.op_type for node in graph.node for name in node.output}
        read = {n.input[0] for n in graph.node if n.op_type == "QuantizeLinear"}
        self.unactivated = {name for name in read if makers.get(name) not in ACTIVATIONS}
        products = [n for n in graph.node if n.op_type in PRODUCTS and n.input[1] in fixed]
        self._weights = {n.output[0]: n.input[1] for n in products}
        self._biases = {n.output[0]: n.input[2] for n in products if len(n.input) > 2 and n.input[2] in fixed}
        if self._types.get(self._source) in FLOATS or any(self._types.get(name) == FLOATS[1] for name in self.names):
            self.roundings |= {n: Rounding("float16") for n in self.names if self._types.get(n) == FLOATS[1]}
        for node in graph.node:
            self._read(node, stored, fixed)
        computed = [n for node in graph.node for n in node.output if n in fixed and self._types.get(n) in FLOATS]
        if computed:
            zeros = np.zeros(self._item_shape(), self._dtype)
            self.constants |= self._run(computed, zeros)

    def share_of_weights(self, of: OnnxFile) -> float:
        """Share of the weights of a float file that this one has under their names, 0-1."""
        names = [*of._weights.values()]
        return sum(self.weights_named(name, of) is not None for name in names) / max(len(names), 1)

    def weights_named(self, name: str, of: OnnxFile) -> Array | None:
        """Weights of a float file that this one was made from, as this one holds them, dequantized; None if unknown."""
        return next((self.constants[n] for n in self._names_of(name, of) if n in self.constants), None)

    def scale_named(self, name: str, of: OnnxFile) -> Array | None:
        """Scales of such weights, one or one for each channel; None if they are not stored as integers."""
        return next((self.scales[n].ravel() for n in self._names_of(name, of) if n in self.scales), None)

    def steps_from_zero(self, name: str, of: OnnxFile) -> float:
        """Largest distance from 0 of such weights where the float file's are 0, in steps; 0 if that is not known."""
        zeros = of.constants[name] == 0
        for own in self._names_of(name, of):
            if own in self.constants and own in self.scales and self.constants[own].shape == zeros.shape:
                steps = np.abs(self.constants[own]) / np.maximum(self.scales[own], np.finfo(np.float32).tiny)
                return float(steps[zeros].max(initial=0.0))
        return 0.0

    def biases_named(self, name: str, of: OnnxFile) -> tuple[Array, Array] | None:
        """The bias of the product with such weights in the float file and in this one; None if one has none."""
        makers = [output for output, weights in of._weights.items() if weights == name and output in of._biases]
        own = [(of._biases[m], self._biases.get(m) or self._bias_of(name, of)) for m in makers]
        pairs = [(of.constants[a], self.constants[b]) for a, b in own if a in of.constants and b in self.constants]
        return pairs[0] if pairs else None

    def _bias_of(self, name: str, of: OnnxFile) -> str:
        """Name of the bias of the product that reads such weights: what it makes may have another name."""
        names = self._names_of(name, of)
        return next(
            (self._biases[output] for output, w in self._weights.items() if w in names and output in self._biases), ""
        )

    def _names_of(self, name: str, of: OnnxFile) -> tuple[str, ...]:
        makers = [output for output, weights in of._weights.items() if weights == name]
        return (name, f"{name}_DequantizeLinear_Output", *(self._weights[m] for m in makers if m in self._weights))

    def _item_shape(self) -> list[int]:
        shape = self._model.graph.input[0].type.tensor_type.shape.dim
        return [1, *(d.dim_value for d in list(shape)[1:])]

    def _read(self, node: Any, stored: dict[str, Array], fixed: Collection[str]) -> None:
        """What a node tells of the rounding of a tensor or the scale of a constant."""
        if node.op_type == "QuantizeLinear" and node.input[0] not in fixed and node.input[1] in stored:
            zero = stored[node.input[2]] if len(node.input) > 2 and node.input[2] in stored else np.zeros((), np.uint8)
            scale = stored[node.input[1]]
            if scale.size == 1:
                self.roundings[node.input[0]] = of_codes(zero.dtype, float(scale.ravel()[0]), int(zero.ravel()[0]))
        elif node.op_type == "DynamicQuantizeLinear":
            self.roundings[node.input[0]] = Rounding("dynamic")
        elif node.op_type == "DequantizeLinear" and node.input[0] in stored and node.input[1] in stored:
            scale = stored[node.input[1]]
            axis = next((a.i for a in node.attribute if a.name == "axis"), 1)
            shape = [1] * stored[node.input[0]].ndim
            if scale.size > 1:
                shape[axis] = scale.size
            self.scales[node.output[0]] = scale.astype(np.float32).reshape(shape)
        elif node.op_type in ("MatMulInteger", "ConvInteger") and node.input[1] in stored:
            name = node.input[1].removesuffix("_quantized")
            weight_scale = stored.get(f"{name}_scale")
            zeros = stored.get(node.input[3]) if len(node.input) > 3 else None
            if weight_scale is not None and name not in self.constants:
                codes = stored[node.input[1]].astype(np.float32) - (0 if zeros is None else zeros.astype(np.float32))
                self.constants[name] = codes * weight_scale
                self.scales[name] = weight_scale.astype(np.float32)

    def _run(self, names: Collection[str], items: Array) -> dict[str, Array]:
        import onnx
        import onnxruntime

        watched = onnx.ModelProto()
        watched.CopyFrom(self._model)
        del watched.graph.output[:]
        watched.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in names)
        level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        settings = {"graph_optimization_level": level, "log_severity_level": 4}
        session = onnx_session(onnxruntime, watched.SerializeToString(), **settings)
        rows = [session.run(list(names), {self._source: item[np.newaxis].astype(self._dtype)}) for item in items]
        joined = [np.concatenate(v) if v[0].ndim else np.stack(v) for v in zip(*rows, strict=True)]
        return {name: values.astype(np.float32) for name, values in zip(names, joined, strict=True)}

    def values(self, items: Array, names: Collection[str]) -> dict[str, Array]:
        """What it computes for items (n, *item shape), after rounding, float32, (n, *shape) by name of tensor."""
        computed = self._run(names, items) if names else {}
        for name, values in computed.items():
            if (rounding := self.roundings.get(name)) is not None and rounding.kind == "static":
                computed[name] = rounding.apply(values).numpy()
        return computed
