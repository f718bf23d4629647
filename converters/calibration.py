"""Calibration: the smallest and largest value of every tensor over the calibration items, in one streaming pass.

One pass per graph serves every scheme that needs it (`tflite-int8` and `tflite-int16x8` share one). Memory does not
grow with the number of items. The extremes are kept, not a moving average, so that every value seen can be represented.
The input's range comes from the contract, not from the values seen, so that the scale of pixels is exactly 1.
"""

from __future__ import annotations

import copy
import os
import warnings
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from edgepress.converters.errors import ConversionError
from edgepress.runtime.errors import first_line

if TYPE_CHECKING:
    import onnx

Ranges = dict[str, tuple[float, float]]
"""Smallest and largest value by tensor name."""

Batches = Callable[[], Iterable[npt.NDArray[Any]]]
"""Returns the calibration items, from the start at each call: batches of shape (n, *item shape)."""


def tflite_ranges(model: bytes, batches: Batches, input_range: tuple[float, float] | None) -> Ranges:
    """Run a float TFLite model of batch 1 over the items and note each tensor's range.

    Args:
        model: A `.tflite` with an input of batch 1, float32 or integers.
        batches: The calibration items.
        input_range: Range of the input, if it is known beforehand.
    """
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that keeping every tensor takes memory: it is what we want
        interpreter = Interpreter(
            model_content=model,
            num_threads=os.cpu_count(),
            # A delegate fuses operations, and a fused operation's tensors can't be read.
            experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
            experimental_preserve_all_tensors=True,
        )
    interpreter.allocate_tensors()
    source = interpreter.get_input_details()[0]
    # _get_ops_details is private (tensorflow#53003; docs/architecture.md).
    produced = {int(i) for op in interpreter._get_ops_details() for i in op["outputs"]} | {source["index"]}
    tensors = {
        d["index"]: d["name"]
        for d in interpreter.get_tensor_details()
        if d["index"] in produced and d["dtype"] == np.float32
    }
    seen = _Extremes()
    for batch in _checked(batches):
        for item in batch:
            interpreter.reset_all_variables()  # the state of a fused LSTM: each item begins anew
            interpreter.set_tensor(source["index"], item[np.newaxis].astype(source["dtype"]))
            try:
                interpreter.invoke()
            except RuntimeError as e:
                raise _does_not_take(e) from e
            for index, name in tensors.items():
                seen.add(name, interpreter.tensor(index)())
    return seen.ranges(source["name"], input_range)


def onnx_ranges(model: onnx.ModelProto, batches: Batches, input_range: tuple[float, float] | None) -> Ranges:
    """Run a float ONNX model over the items and note each float tensor's range.

    Args:
        model: A model whose tensor types are inferred (`onnx.shape_inference`).
        batches: The calibration items.
        input_range: Range of the tensor that holds the input as float, if it is known beforehand.
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
    session = onnxruntime.InferenceSession(watched.SerializeToString(), options, providers=["CPUExecutionProvider"])
    source, names = session.get_inputs()[0], [o.name for o in session.get_outputs()]
    seen = _Extremes()
    dtype = np.dtype(source.type.removeprefix("tensor(").removesuffix(")").replace("float", "float32"))
    for batch in _checked(batches):
        for item in batch[:, np.newaxis]:  # one by one: every tensor of a batch of photos would fill the memory
            try:
                values = session.run(names, {source.name: item.astype(dtype)})
            except Exception as e:  # ONNX Runtime's own, which share no base class
                raise _does_not_take(e) from e
            for name, value in zip(names, values, strict=True):
                seen.add(name, value)
            seen.add(source.name, item)
    as_float = next((n.output[0] for n in graph.node if n.op_type == "Cast" and n.input[0] == source.name), source.name)
    return seen.ranges(as_float, input_range)


SMALLEST = 1e-4
"""A narrower range is widened to this: int16x8 kernels refuse a ReLU6 whose 6 overflows at so fine a scale
(`no_integer_overflow_from_quantization`), and a tensor that small is dead."""


class _Extremes:
    def __init__(self) -> None:
        self._low: dict[str, float] = {}
        self._high: dict[str, float] = {}

    def add(self, name: str, value: npt.NDArray[Any]) -> None:
        if value.size:
            self._low[name] = float(np.minimum(self._low.get(name, np.inf), value.min()))  # NaN stays, unlike with min
            self._high[name] = float(np.maximum(self._high.get(name, -np.inf), value.max()))

    def ranges(self, source: str, input_range: tuple[float, float] | None) -> Ranges:
        found = {name: (low, float(np.maximum(self._high[name], low + SMALLEST))) for name, low in self._low.items()}
        if input_range is not None:
            found[source] = input_range
        bad = [name for name, pair in found.items() if not np.isfinite(pair).all()]
        if bad:
            raise ConversionError(
                f"The tensor {bad[0]} is NaN or infinite on calibration data.",
                "Check the model's weights and its data.",
            )
        return found


def _does_not_take(error: Exception) -> ConversionError:
    message = f"The model does not take an item of the calibration data: {first_line(error)}."
    return ConversionError(message, "Give data like its training data.")


def _checked(batches: Batches) -> Iterable[npt.NDArray[np.float32]]:
    count = 0
    for batch in batches():
        count += len(batch)
        yield batch.astype(np.float32)
    if not count:
        raise ConversionError("There are no calibration items.", "Give data with a non-empty training split.")
