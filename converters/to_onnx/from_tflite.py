"""Convert a float TFLite file to float ONNX.

`Emission` writes the graph with the names of TFLite's tensors. tf2onnx converts the graph instead if `Emission` does
not know an operation, or if its ONNX model gives other answers than LiteRT. A TFLite file takes one item, and so does
its ONNX graph. The batch dimension is made free if a trial with several items gives the right answers.
"""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgepress.converters.arrays import Array
from edgepress.converters.errors import ConversionError
from edgepress.converters.process.scratch import ScratchFolder
from edgepress.converters.to_onnx.convert import OPSET, finish
from edgepress.converters.to_onnx.emission import Emission
from edgepress.converters.to_onnx.operations import TABLE, of_one
from edgepress.converters.to_tflite.graph import Graph
from edgepress.runtime.errors import first_line

if TYPE_CHECKING:
    import onnx

_UNSUPPORTED = "Unsupported ops: "
TRIAL_ITEMS = 3
"""Number of items in the trial of a free batch."""
SMALL = 1e-6
"""Size of some of them."""


def float_onnx_of(model: bytes) -> onnx.ModelProto:
    """A float TFLite model as ONNX, with the same input and output, and with a free batch where that answers correctly.

    Raises:
        ConversionError: It has operations that tf2onnx can't convert; the message names them.
    """
    return _by_emission(model) or _by_tf2onnx(model)


def _by_emission(model: bytes) -> onnx.ModelProto | None:
    """The model as `Emission` writes it, with a free batch where that answers correctly; None if it can't be used.

    It can't be used if it has an operation that `Emission` does not know, or if it gives other answers than LiteRT.
    """
    try:
        emitted = Emission(Graph(model), of_one).write(TABLE)
        items, expected = _items_and_litert_answers(model)
    except Exception:  # UnsupportedError; others because a foreign file may hold anything
        logging.getLogger(__name__).info("left to tf2onnx", exc_info=True)
        return None
    for batch in ("batch", 1):
        _set_batch(emitted, batch)
        if _gives_answers(emitted, items, expected, at_once=batch == "batch"):
            return emitted
    return None


def _set_batch(model: onnx.ModelProto, batch: str | int) -> None:
    """Set the first dimension of the input and of the output to a name, which makes it free, or to a number."""
    for value in (*model.graph.input, *model.graph.output):
        size = value.type.tensor_type.shape.dim[0]
        if isinstance(batch, str):
            size.dim_param = batch
        else:
            size.dim_value = batch


def _by_tf2onnx(model: bytes) -> onnx.ModelProto:
    """The model as tf2onnx writes it, with a free batch where that gives the same answers."""
    from tf2onnx.convert import from_tflite

    logged: list[str] = []
    try:
        with ScratchFolder() as folder, _capture_logs(logged):
            path = Path(folder) / "edgepress.tflite"  # its name goes into the graph
            path.write_bytes(model)
            proto, _ = from_tflite(str(path), opset=OPSET)
        if any(line.startswith(_UNSUPPORTED) for line in logged):
            raise ValueError
    except Exception as e:  # ValueError, KeyError and others, often because of an operation that was only logged
        operations = next((line.removeprefix(_UNSUPPORTED) for line in logged if line.startswith(_UNSUPPORTED)), "")
        lacking = ", ".join(re.findall(r"'(?:TFL_)?(\w+)'", operations))
        reason = f"it does not support {lacking}" if lacking else first_line(e) or type(e).__name__
        raise ConversionError(
            f"tf2onnx can't convert the .tflite file: {reason}.",
            "TFLite schemes may still work; or convert the Keras model or SavedModel that it was made from.",
        ) from e
    single = finish(_number_constants(proto))
    free = _with_free_batch(single)
    items = _random_items_for(single)
    return free if _gives_answers(free, items, _run(single, items, at_once=False), at_once=True) else single


def _number_constants(model: onnx.ModelProto) -> onnx.ModelProto:
    """Rename and sort the constants, in place, by first use.

    tf2onnx numbers them in the order of a set, which differs from run to run.
    """
    import onnx

    held = {tensor.name: tensor for tensor in model.graph.initializer}
    used = dict.fromkeys(name for node in model.graph.node for name in node.input if name in held)
    new = {name: f"tf2onnx_constant_{number}" for number, name in enumerate(used)}
    for node in model.graph.node:
        node.input[:] = [new.get(name, name) for name in node.input]
    tensors = [onnx.TensorProto.FromString(held[name].SerializeToString()) for name in used]
    for tensor, name in zip(tensors, new.values(), strict=True):
        tensor.name = name
    del model.graph.initializer[:]
    model.graph.initializer.extend(tensors)
    return model


def _with_free_batch(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy with a free batch dimension, which callers have to test.

    Operations other than Reshape and Slice may depend on batch 1. A constant shape of Reshape states all sizes. Its
    first size is replaced by -1, for which ONNX Runtime computes the size: the batch is the outermost dimension, even
    where it was merged with a dimension of the item. A Slice of the whole batch states where it ends.
    """
    import onnx

    free = onnx.shape_inference.infer_shapes(model, data_prop=True)
    graph = free.graph
    sizes = {v.name: [d.dim_value for d in v.type.tensor_type.shape.dim] for v in (*graph.value_info, *graph.output)}
    constants = {tensor.name for tensor in graph.initializer}
    for node in (n for n in graph.node if n.op_type == "Reshape" and n.input[1] in constants):
        _, *rest = sizes.get(node.output[0]) or [0]
        if node.input[0] not in constants and all(rest):
            name = f"{node.output[0]}_free_shape"
            graph.initializer.append(onnx.numpy_helper.from_array(np.array([-1, *rest], np.int64), name))
            node.input[1] = name
    _slice_whole_batches(graph)
    used = {name for node in graph.node for name in node.input}
    read = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.initializer[:], graph.value_info[:]
    graph.initializer.extend(read)
    _set_batch(free, "batch")
    return free


def _slice_whole_batches(graph: onnx.GraphProto) -> None:
    """Let each Slice from 0 to 1 of the first axis go to its end, in place."""
    import onnx

    constants = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    for node in (n for n in graph.node if n.op_type == "Slice" and n.input[0] not in constants):
        starts, ends, axes, steps = (constants.get(name) for name in (*node.input[1:], "", "")[:4])
        if starts is None or ends is None:
            continue
        first = np.arange(len(starts)) == 0 if axes is None else axes == 0
        forwards = True if steps is None else steps == 1
        whole = first & (starts == 0) & (ends == 1) & forwards
        if whole.any():
            name = f"{node.output[0]}_free_ends"
            free = np.where(whole, np.iinfo(np.int32).max, ends).astype(ends.dtype)
            graph.initializer.append(onnx.numpy_helper.from_array(free, name))
            node.input[2] = name


def _random_items_for(model: onnx.ModelProto) -> list[Array]:
    """Random items for the inputs of a model."""
    import onnx

    types = [value.type.tensor_type for value in model.graph.input]
    dtypes = [onnx.helper.tensor_dtype_to_np_dtype(each.elem_type) for each in types]
    shapes = [[d.dim_value for d in each.shape.dim][1:] for each in types]
    return [_random_items(shape, dtype) for shape, dtype in zip(shapes, dtypes, strict=True)]


def _random_items(shape: Sequence[int], dtype: Any) -> Array:
    """Random items, the same in each call: some are at least 0, as roots need; of floats, others are not.

    Of floats, some are almost 0: operations may compare items with the largest one of their batch, as Keras'
    `MelSpectrogram` does, and leave alone those of one size.
    """
    normal = np.random.default_rng(0).normal(size=(2 * TRIAL_ITEMS, *shape))
    normal[TRIAL_ITEMS - 1 :: TRIAL_ITEMS] *= SMALL if np.issubdtype(dtype, np.floating) else 1
    positive = np.abs(normal[:TRIAL_ITEMS]).astype(dtype)
    is_float = np.issubdtype(dtype, np.floating)
    return np.concatenate([positive, normal[TRIAL_ITEMS:].astype(dtype)]) if is_float else positive


def _items_and_litert_answers(model: bytes) -> tuple[list[Array], Array]:
    """Random items for the inputs of a TFLite model, and LiteRT's answers to them."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=model, num_threads=1)
    interpreter.allocate_tensors()
    sources = interpreter.get_input_details()
    sink = interpreter.get_output_details()[0]
    items = [_random_items(source["shape"][1:], source["dtype"]) for source in sources]
    answers = []
    for item in zip(*items, strict=False):
        for source, values in zip(sources, item, strict=True):
            interpreter.set_tensor(source["index"], values[np.newaxis])
        interpreter.invoke()
        answers.append(interpreter.get_tensor(sink["index"]))
    return items, np.concatenate(answers)


def _session(model: onnx.ModelProto) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # no errors of models that do not run
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(model.SerializeToString(), options)


def _run(model: onnx.ModelProto, items: Sequence[Array], *, at_once: bool) -> Array:
    """Answers to items, an array for each input, in one batch or one by one."""
    session = _session(model)
    names = [value.name for value in model.graph.input]
    batches = [items] if at_once else zip(*(np.split(array, len(array)) for array in items), strict=False)
    return np.concatenate([session.run(None, dict(zip(names, batch, strict=True)))[0] for batch in batches])


def _gives_answers(model: onnx.ModelProto, items: Sequence[Array], expected: Array, *, at_once: bool) -> bool:
    """Whether a model, after `finish`, which changes it in place, gives the expected answers.

    Args:
        model: The model.
        items: An array for each input.
        expected: The answers to them.
        at_once: Whether to run it with all items in one batch, or with one item at a time.
    """
    try:
        answers = _run(finish(model), items, at_once=at_once)
    except Exception:  # ONNX Runtime's errors share no base class, and finish() refuses wrong shapes
        return False
    largest = np.abs(expected[np.isfinite(expected)]).max(initial=0)
    return answers.shape == expected.shape and np.allclose(answers, expected, 0, 1e-4 * largest, equal_nan=True)


@contextmanager
def _capture_logs(lines: list[str]) -> Iterator[None]:
    """Collect what tf2onnx logs instead of printing it, and hide TensorFlow's notice about its interpreter."""

    class Collector(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(record.getMessage())

    log: Any = logging.getLogger("tf2onnx")
    handler = Collector()
    propagate = log.propagate
    log.addHandler(handler)
    log.propagate = False
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.removeHandler(handler)
        log.propagate = propagate
