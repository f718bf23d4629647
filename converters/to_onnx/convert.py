"""Convert a frozen graph to float ONNX by tf2onnx, and derive every ONNX scheme from it by ONNX Runtime's tools.

The frozen graph takes uint8 and casts inside (images) or takes float32 (tensors), NHWC, with a free batch dimension;
the output is float32 in every scheme. Static quantization is QDQ (QuantizeLinear/DequantizeLinear pairs), 8 bits,
unsigned activations and signed per-channel weights; its statistics come from `calibration`, as TFLite's do.
"""

from __future__ import annotations

import copy
import logging
import tempfile
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgepress.converters.adapter import EXACT
from edgepress.converters.calibration import Batches, onnx_ranges
from edgepress.converters.errors import ConversionError
from edgepress.converters.frozen import INPUT, OUTPUT, Frozen
from edgepress.converters.memory import sweep
from edgepress.converters.schemes import Scheme
from edgepress.converters.to_onnx.graph import sort_nodes
from edgepress.converters.to_onnx.pixels import ranges_of_pixels
from edgepress.converters.to_onnx.weights import store_in_bytes

if TYPE_CHECKING:
    import onnx

InputRange = tuple[float, float] | None
OPSET = 17
"""ONNX Runtime 1.13 and newer read it, and it has all operations that the schemes need."""
ASIDE_BYTES = 1 << 20
"""Constants of this size and larger are hidden from TensorFlow's optimizer."""


def float_onnx(frozen: Frozen) -> onnx.ModelProto:
    """A frozen graph, which is consumed, as a float ONNX model with input "input" and output "scores".

    Raises:
        ConversionError: An operation can't be expressed in ONNX; the message names it.
    """
    try:
        with _quiet("tf2onnx"):
            definition, weights = _optimized(frozen)
            try:
                proto = _tf2onnx(definition, weights, frozen, careful=False)
            except Exception:  # in one of its many passes over the graph; it can skip those that fail
                log = logging.getLogger(__name__)
                log.warning("tf2onnx failed; retrying without the failing passes", exc_info=True)
                proto = _tf2onnx(definition, weights, frozen, careful=True)
    except Exception as e:  # tf2onnx raises ValueError, KeyError and others
        raise ConversionError(f"tf2onnx refused the model: {e}", "TFLite schemes may still work.") from e
    del weights
    sweep(proto.ByteSize())
    return finished(proto)


def _optimized(frozen: Frozen) -> tuple[Any, dict[str, bytes]]:
    """The graph after TensorFlow's optimizer, and the weights, which are stored separately from here on.

    Large ones are placeholders meanwhile, because the optimizer would hold many copies of them. `frozen` is consumed.
    """
    import tensorflow as tf
    from tensorflow.core.framework.attr_value_pb2 import AttrValue
    from tf2onnx import tf_loader, tf_utils

    weights: dict[str, bytes] = {}
    values: dict[str, AttrValue] = {}
    for node in frozen.definition.node:
        if node.op == "Const" and len(node.attr["value"].tensor.tensor_content) > ASIDE_BYTES:
            tensor = node.attr["value"].tensor
            weights[node.name] = tensor.tensor_content
            tensor.tensor_content = b""
            values[node.name] = AttrValue(tensor=tensor)
            node.op = "Placeholder"
            node.attr["shape"].shape.CopyFrom(tensor.tensor_shape)
            del node.attr["value"]
    sweep(sum(map(len, weights.values())))
    with tf.Graph().as_default():
        definition = tf_loader.tf_optimize([frozen.source], [frozen.sink], frozen.definition)
    for node in definition.node:
        if node.name in values:
            node.op = "Const"
            node.attr["value"].CopyFrom(values[node.name])
            del node.attr["shape"]
    weights |= tf_utils.compress_graph_def(definition)
    return definition, weights


def _tf2onnx(definition: Any, weights: dict[str, bytes], frozen: Frozen, *, careful: bool) -> onnx.ModelProto:
    """The steps of `tf2onnx.convert.from_graph_def`, with the weights stored separately.

    `careful` copies the graph with its weights before each pass and skips passes that fail, which is tf2onnx' default.
    Internals of tf2onnx 1.17.0 (tensorflow-onnx#885; docs/architecture.md).
    """
    import tensorflow as tf
    from tf2onnx import optimizer
    from tf2onnx.tfonnx import process_tf_graph

    with tf.Graph().as_default() as graph:
        tf.import_graph_def(definition, name="")
        converted = process_tf_graph(
            graph,
            const_node_values=weights,
            input_names=[frozen.source],
            output_names=[frozen.sink],
            opset=OPSET,
            tensors_to_rename={frozen.source: INPUT, frozen.sink: OUTPUT},
            custom_op_handlers={"Erfc": (_erfc, [])},
        )
    _scalars_as_vectors(converted)
    with _protos_unchanged(), _nodes_in_order():
        converted = optimizer.optimize_graph(converted, catch_errors=careful)
    return converted.make_model("edgepress")


def _scalars_as_vectors(graph: Any) -> None:
    """Give added scalar constants an axis: tf2onnx 1.17 fails on scalars that are added after a convolution.

    Its pass that removes Transposes ends with "max() arg is an empty sequence" (`_add_handler`), so that MobileNetV3,
    whose hard sigmoid adds 3, keeps a hundred of them.
    """
    for node in graph.get_nodes():
        if node.type == "Add" and node.inputs[1].is_const() and graph.get_shape(node.input[1]) == []:
            if not graph.get_shape(node.input[0]):  # the sum of two scalars must stay a scalar
                continue
            value = node.inputs[1].get_tensor_value(as_list=False)
            graph.replace_input(node, node.input[1], graph.make_const(f"{node.name}_1d", value.reshape(1)).output[0], 1)


def _erfc(graph: Any, node: Any, name: str, args: list[Any]) -> None:
    """Erfc(x), which TensorFlow's exact GELU uses and tf2onnx 1.17 lacks (tensorflow-onnx#2347), as 1 - Erf(x)."""
    one = graph.make_const(f"{name}_one", np.array(1, np.float32))
    erf = graph.make_node("Erf", node.input, name=f"{name}_erf")
    shapes, types = node.output_shapes, node.output_dtypes
    graph.remove_node(node.name)
    graph.make_node("Sub", [one.output[0], erf.output[0]], outputs=node.output, name=name, shapes=shapes, dtypes=types)


def with_scheme(
    float_model: onnx.ModelProto,
    scheme: Scheme,
    batches: Batches,
    input_range: InputRange,
    rewrites: Collection[str] = (),
) -> onnx.ModelProto:
    """Derive a model of the scheme table from a float one.

    Args:
        float_model: What `float_onnx` returned.
        scheme: An ONNX scheme.
        batches: Calibration items; read for calibrated schemes only.
        input_range: Range of the input, if it is known beforehand.
        rewrites: Names of the rewrites that the recipe makes.
    """
    try:
        made = RECIPES[scheme.precision](float_model, batches, input_range, rewrites)
        return made if made is float_model else finished(made)
    except ConversionError:
        raise
    except Exception as e:  # onnx, protobuf and ONNX Runtime share no base class
        raise ConversionError(f"ONNX Runtime's quantizer refused the model: {e}", "Try another scheme.") from e


def _float16(
    model: onnx.ModelProto, batches: Batches, input_range: InputRange, rewrites: Collection[str]
) -> onnx.ModelProto:
    import onnx
    from onnxruntime.transformers.float16 import convert_float_to_float16

    kept = [model.graph.output[0].name]
    if model.graph.input[0].type.tensor_type.elem_type == onnx.TensorProto.FLOAT:
        kept.append(model.graph.input[0].name)
    blocked, float_model = _exact_nodes(model), copy.deepcopy(model)
    result: onnx.ModelProto = convert_float_to_float16(float_model, keep_io_types=kept, node_block_list=blocked)
    return result


def _dynamic(
    model: onnx.ModelProto, batches: Batches, input_range: InputRange, rewrites: Collection[str]
) -> onnx.ModelProto:
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic
    from onnxruntime.quantization.registry import IntegerOpsRegistry

    with _quiet("root"), tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "dynamic.onnx"
        in_float = "onnx-convolution-weights" in rewrites
        kinds = sorted(IntegerOpsRegistry.keys() - ({"Conv"} if in_float else set()))
        # uint8 weights: ConvInteger with int8 ones has no kernel on a CPU (microsoft/onnxruntime#15888).
        quantize_dynamic(_prepared(model, folder), target, weight_type=QuantType.QUInt8, op_types_to_quantize=kinds)
        made = onnx.load(target)
    return store_in_bytes(made) if in_float else made


def _static(
    model: onnx.ModelProto, batches: Batches, input_range: InputRange, rewrites: Collection[str]
) -> onnx.ModelProto:
    # quantize_static of onnxruntime 1.32.0 takes no ranges (onnxruntime#21908; docs/architecture.md).
    from onnxruntime.quantization import CalibrationMethod, QuantType
    from onnxruntime.quantization.calibrate import TensorsData
    from onnxruntime.quantization.qdq_quantizer import QDQQuantizer
    from onnxruntime.quantization.registry import QDQRegistry, QLinearOpsRegistry

    ready = _with_flat_biases(prepared(model))
    ranges = onnx_ranges(ready, batches, input_range)
    if input_range is not None and "onnx-input-zero" in rewrites:
        ranges |= ranges_of_pixels(ready, input_range)
    limits = {name: (np.array(low, np.float32), np.array(high, np.float32)) for name, (low, high) in ranges.items()}
    with _quiet("root"):
        quantizer = QDQQuantizer(
            ready,
            per_channel=True,
            reduce_range=False,
            weight_qType=QuantType.QInt8,
            activation_qType=QuantType.QUInt8 if "uint8-activations" in rewrites else QuantType.QInt8,
            tensors_range=TensorsData(CalibrationMethod.MinMax, limits),
            nodes_to_quantize=[],
            nodes_to_exclude=_exact_nodes(ready),
            # Softmax stays float: otherwise, eight bits are all that remains of a probability. So does what has no
            # kernel of 8 bits: only its factors would be rounded.
            op_types_to_quantize=sorted({*QLinearOpsRegistry, *QDQRegistry} - {"Softmax", "LayerNormalization"}),
            extra_options={},
        )
        quantizer.quantize_model()
    result: onnx.ModelProto = quantizer.model.model
    return result


RECIPES: dict[str, Callable[[onnx.ModelProto, Batches, InputRange, Collection[str]], onnx.ModelProto]] = {
    "float32": lambda model, batches, input_range, rewrites: model,
    "float16": _float16,
    "dynamic": _dynamic,
    "int8": _static,
}
"""From a float model, calibration items, the range of the input and the rewrites to make to a quantized one, by
`Scheme.precision`."""


def _exact_nodes(model: onnx.ModelProto) -> list[str]:
    """Names of the nodes that stay float."""
    return [node.name for node in model.graph.node if EXACT.match(node.name)]


def prepared(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model as it is quantized: with shapes inferred and constants folded."""
    import onnx

    with _quiet("root"), tempfile.TemporaryDirectory() as folder:
        return onnx.load(_prepared(model, folder))


def _prepared(model: onnx.ModelProto, folder: str) -> Path:
    """Infer shapes and fold constants, as ONNX Runtime's quantizer requires."""
    from onnxruntime.quantization.shape_inference import quant_pre_process

    source, target = Path(folder) / "float.onnx", Path(folder) / "prepared.onnx"
    source.write_bytes(model.SerializeToString())  # of a model in memory, the weights would go to another file
    quant_pre_process(source, target, skip_symbolic_shape=True)
    return target


def _with_flat_biases(model: onnx.ModelProto) -> onnx.ModelProto:
    """Biases of shape (1, N), which exporters before opset 7 wrote, as (N,): the quantizer accepts no others."""
    biases = {node.input[2] for node in model.graph.node if node.op_type in ("Gemm", "Conv") and len(node.input) > 2}
    for tensor in model.graph.initializer:
        if tensor.name in biases and len(tensor.dims) == 2 and tensor.dims[0] == 1:
            del tensor.dims[0]
    return model


def finished(model: onnx.ModelProto) -> onnx.ModelProto:
    """Bring a converted graph to the standard's order, name its free dimension, and check it."""
    import onnx

    sort_nodes(model.graph)  # the quantizers append nodes at the end
    for value in (*model.graph.input, *model.graph.output):
        if (batch := value.type.tensor_type.shape.dim[0]).WhichOneof("value") != "dim_value":
            batch.dim_param = "batch"
    kept = [entry for entry in model.opset_import if entry.domain in {"", *(node.domain for node in model.graph.node)}]
    del model.opset_import[:]
    model.opset_import.extend(kept)
    try:
        onnx.checker.check_model(model, full_check=True)
    except Exception as e:  # ValidationError and InferenceError share no base class
        raise ConversionError(f"The converted file fails onnx.checker: {e}", "Try another scheme.") from e
    return model


@contextmanager
def _protos_unchanged() -> Iterator[None]:
    """Keep passes from rewriting every node's protobuf; `make_model` writes them in the end.

    Protobuf's arenas free nothing before their message is deleted, so that each pass would leave one more copy of all
    weights: ResNet101, of 180 MB, took 15 GB with tf2onnx 1.17.
    """
    from tf2onnx.graph import Graph

    written = Graph.update_proto
    Graph.update_proto = lambda self, external_tensor_storage=None: None
    try:
        yield
    finally:
        Graph.update_proto = written


@contextmanager
def _nodes_in_order() -> Iterator[None]:
    """Hash nodes by their names, so that passes which walk sets of nodes do so in the same order in every process.

    By default, Python hashes an object by its address: tf2onnx 1.17 numbers what it adds, and keeps one of several
    equal nodes, differently each time (`transpose_optimizer`). `worker` fixes the hashes of names.
    """
    from tf2onnx.graph import Node

    Node.__hash__ = lambda self: hash(self.name)
    try:
        yield
    finally:
        Node.__hash__ = object.__hash__


@contextmanager
def _quiet(logger: str) -> Iterator[None]:
    """Hide log messages that are meant for users of the quantizer's own command line."""
    log = logging.getLogger(logger)
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(level)
