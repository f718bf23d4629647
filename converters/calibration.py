"""Calibration: statistics of every tensor over the calibration items, in one streaming pass.

One pass per graph serves every scheme that needs it (`tflite-int8` and `tflite-int16x8` share one), and memory does not
grow with the number of items (`statistics`). The input's range comes from the contract, not from the values seen, so
that the scale of pixels is exactly 1.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from edgepress.converters.arrays import Array, each_input, in_float
from edgepress.converters.errors import ConversionError
from edgepress.converters.numeric.statistics import CalibrationMethods, Ranges, Statistics
from edgepress.converters.to_tflite import flatbuffer as flat
from edgepress.runtime.errors import first_line
from edgepress.runtime.input_record import inputs_of
from edgepress.runtime.input_spec import InputSpec

if TYPE_CHECKING:
    import onnx

Batches = Callable[[], Iterable[Array]]
"""Returns the calibration items, from the start at each call: batches of shape (n, *item shape)."""
InputRange = tuple[float, float] | Mapping[str, tuple[float, float]] | None
"""Range of the input, if it is known beforehand; of several inputs, those that are known, by name."""


def known_range(spec: InputSpec) -> InputRange:
    """What is known of the range of an input before any item was seen; nothing of integers, which are not quantized."""
    if inputs := inputs_of(spec):
        return {each.name: each.value_range for each in inputs if each.value_range is not None and not each.is_integer}
    return None if spec.is_integer else spec.value_range


def ranges_by_name(names: Sequence[str], known: InputRange) -> Mapping[str, tuple[float, float]]:
    """Known ranges of the inputs of these names; one that is given without a name is that of the first."""
    return known if isinstance(known, Mapping) else {} if known is None else {names[0]: known}


@dataclass(frozen=True)
class Calibration:
    """What ranges are made of: the items, the range of the input, the method of each tensor, and learned ranges."""

    batches: Batches
    input_range: InputRange = None
    methods: CalibrationMethods | None = None
    learned: Ranges = field(default_factory=dict)


BOUNDED = {"SOFTMAX", "LOG_SOFTMAX", "LOGISTIC", "TANH", "Softmax", "LogSoftmax", "Sigmoid", "Tanh"}
"""Operations, of both formats, with an output of fixed scale."""
PASSING = {
    *BOUNDED - {"LOGISTIC", "TANH", "Sigmoid", "Tanh"},
    *("RESHAPE", "SQUEEZE", "EXPAND_DIMS", "TRANSPOSE", "CONCATENATION", "STRIDED_SLICE", "MAX_POOL_2D"),
    *("Reshape", "Squeeze", "Unsqueeze", "Flatten", "Transpose", "Concat", "Identity", "MaxPool"),
}
"""Operations of whose input nothing may be clipped, either, where nothing of the output may be."""
Step = tuple[str, tuple[str, ...], tuple[str, ...]]
"""An operation: its kind, what it reads and what it makes."""


def tflite_statistics(model: bytes, batches: Batches, input_range: InputRange) -> Statistics:
    """Run a float TFLite model of batch 1 over the items and collect statistics of its float tensors.

    Every tensor is made an output, so that the XNNPACK delegate keeps it: several times as fast as the built-in
    kernels, which can keep tensors by themselves.

    Args:
        model: A `.tflite` with an input of batch 1, float32 or integers.
        batches: The calibration items.
        input_range: Range of the input, if it is known beforehand.
    """
    from ai_edge_litert.interpreter import Interpreter

    root, graph = flat.read(model)
    names = [(tensor.name or b"").decode(errors="replace") for tensor in graph.tensors]
    steps = [(flat.kind(root, op), _names_at(names, op.inputs), _names_at(names, op.outputs)) for op in graph.operators]
    ends = _names_at(names, graph.outputs)
    produced = dict.fromkeys(int(i) for op in graph.operators for i in op.outputs)
    watched = [i for i in produced if graph.tensors[i].type == flat.FLOAT32]
    graph.outputs = [*dict.fromkeys([*map(int, graph.outputs), *watched])]
    root.signatureDefs = []
    interpreter = Interpreter(model_content=flat.write(root), num_threads=os.cpu_count())
    interpreter.allocate_tensors()
    sources = interpreter.get_input_details()
    statistics = Statistics()
    for batch in _check_batches(batches):
        for item in zip(*each_input(batch), strict=True):
            interpreter.reset_all_variables()  # the state of a fused LSTM: each item begins anew
            try:
                for source, values in zip(sources, item, strict=True):
                    interpreter.set_tensor(source["index"], values[np.newaxis].astype(source["dtype"]))
                interpreter.invoke()
            except (RuntimeError, ValueError) as e:
                raise _does_not_take(e) from e
            for source, values in zip(sources, item, strict=True):
                if source["dtype"] == np.float32:
                    statistics.add(source["name"], values)
            for index in watched:
                statistics.add(names[index], interpreter.tensor(index)())
    known = ranges_by_name([source["name"] for source in sources], input_range)
    return _limit(statistics, steps, ends, known=known)


def onnx_statistics(model: onnx.ModelProto, batches: Batches, input_range: InputRange) -> Statistics:
    """Run a float ONNX model over the items and collect statistics of its float tensors.

    Args:
        model: A model whose tensor types are inferred (`onnx.shape_inference`).
        batches: The calibration items.
        input_range: Range of the tensors that hold the inputs as float, if it is known beforehand.
    """
    import onnx
    import onnxruntime

    watched = copy.deepcopy(model)
    graph = watched.graph
    types = {v.name: v for v in graph.value_info if v.type.tensor_type.elem_type == onnx.TensorProto.FLOAT}
    produced = {name for node in graph.node for name in node.output} - {v.name for v in graph.output}
    graph.output.extend(v for name, v in types.items() if name in produced)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    # Threads that spin while they wait would slow the histograms.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(watched.SerializeToString(), options, providers=["CPUExecutionProvider"])
    names = [o.name for o in session.get_outputs()]
    sources = [port.name for port in session.get_inputs()]
    kinds = [port.type.removeprefix("tensor(").removesuffix(")") for port in session.get_inputs()]
    dtypes = [np.dtype(kind.replace("float", "float32")) for kind in kinds]
    seen = Statistics()
    for batch in _check_batches(batches):
        for item in zip(*each_input(batch), strict=True):  # one by one: all tensors of a batch would fill the memory
            feeds = {name: x[np.newaxis].astype(of) for name, x, of in zip(sources, item, dtypes, strict=True)}
            try:
                values = session.run(names, feeds)
            except Exception as e:  # ONNX Runtime's own, which share no base class
                raise _does_not_take(e) from e
            for name, value in zip((*names, *sources), (*values, *item), strict=True):
                seen.add(name, value)
    casts = {node.input[0]: node.output[0] for node in reversed(graph.node) if node.op_type == "Cast"}
    known = {casts.get(name, name): limits for name, limits in ranges_by_name(sources, input_range).items()}
    steps = [(node.op_type, tuple(node.input), tuple(node.output)) for node in model.graph.node]
    return _limit(seen, steps, [v.name for v in model.graph.output], known=known)


def _limit(
    statistics: Statistics,
    steps: Iterable[Step],
    ends: Iterable[str],
    *,
    known: Mapping[str, tuple[float, float]],
) -> Statistics:
    """Set what is known of tensors, and protect those that must not be clipped.

    Answers are compared with each other, so that clipping them would make different ones equal; so are the numbers that
    a softmax reads.
    """
    protected = {*ends}
    for kind, inputs, outputs in reversed([*steps]):
        if kind in BOUNDED:
            protected.update(outputs)
        if kind in PASSING and protected.intersection(outputs):
            protected.update(inputs)
    statistics.protect(protected)
    for name, limits in known.items():
        statistics.know(name, *limits)
    return statistics


def _names_at(names: Sequence[str], indices: Iterable[int]) -> tuple[str, ...]:
    return tuple(names[int(i)] for i in indices if int(i) >= 0)


def _does_not_take(error: Exception) -> ConversionError:
    message = f"The model does not take an item of the calibration data: {first_line(error)}."
    return ConversionError(message, "Give data like its training data.")


def _check_batches(batches: Batches) -> Iterable[Array]:
    count = 0
    for batch in batches():
        count += len(batch)
        yield in_float(batch)
    if not count:
        raise no_items()


def no_items() -> ConversionError:
    """The error of calibration data without an item."""
    return ConversionError("There are no calibration items.", "Give data with a non-empty training split.")
