"""A frozen graph as float ONNX by tf2onnx, and every ONNX file in its final form, with short names.

The frozen graph takes uint8 and casts inside (images) or takes float32 (tensors), NHWC, with a free batch dimension;
the output is float32.

Short names for what ONNX Runtime's quantizer adds to a model.

Around each quantized tensor it puts two nodes, two values, a scale and a zero point, each of which repeats the tensor's
name: two thirds of a small file. Names of tensors, layers and weights stay, because a diagnosis finds them by these.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from edgepress.converters.errors import ConversionError
from edgepress.converters.freezing.frozen import OUTPUT, Frozen
from edgepress.converters.process.system import free_memory
from edgepress.converters.to_onnx.graph import OnnxGraph, sort_nodes

if TYPE_CHECKING:
    import onnx


OPSET = 17
"""ONNX Runtime 1.13 and newer read it, and it has all operations that the schemes need."""
ASIDE_BYTES = 1 << 20
"""Constants of this size and larger are hidden from TensorFlow's optimizer."""


def float_onnx(frozen: Frozen) -> onnx.ModelProto:
    """A frozen graph, which is consumed, as a float ONNX model with the inputs `frozen.names` and output "scores".

    Raises:
        ConversionError: An operation can't be expressed in ONNX; the message names it.
    """
    try:
        with quiet("tf2onnx"):
            definition, weights = _optimize(frozen)
            try:
                proto = _tf2onnx(definition, weights, frozen, careful=False)
            except Exception:  # in one of its many passes over the graph; it can skip those that fail
                log = logging.getLogger(__name__)
                log.warning("tf2onnx failed; retrying without the failing passes", exc_info=True)
                proto = _tf2onnx(definition, weights, frozen, careful=True)
    except Exception as e:  # tf2onnx raises ValueError, KeyError and others
        raise ConversionError(f"tf2onnx refused the model: {e}", "TFLite schemes may still work.") from e
    del weights
    free_memory(proto.ByteSize())
    return finish(proto)


def _optimize(frozen: Frozen) -> tuple[Any, dict[str, bytes]]:
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
    free_memory(sum(map(len, weights.values())))
    with tf.Graph().as_default():
        definition = tf_loader.tf_optimize([*frozen.sources], [frozen.sink], frozen.definition)
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
            input_names=[*frozen.sources],
            output_names=[frozen.sink],
            opset=OPSET,
            tensors_to_rename={**dict(zip(frozen.sources, frozen.names, strict=True)), frozen.sink: OUTPUT},
            custom_op_handlers={"Erfc": (_erfc, []), "Bucketize": (_bucketize, [])},
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
    shapes = node.output_shapes
    types = node.output_dtypes
    graph.remove_node(node.name)
    graph.make_node("Sub", [one.output[0], erf.output[0]], outputs=node.output, name=name, shapes=shapes, dtypes=types)


def _bucketize(graph: Any, node: Any, name: str, args: list[Any]) -> None:
    """Bucketize(x), of Keras' `Discretization`, which tf2onnx 1.17 lacks: the number of bounds up to x."""
    bounds = graph.make_const(f"{name}_bounds", np.array(node.get_attr_value("boundaries"), np.float32))
    last = graph.make_const(f"{name}_last", np.array([-1], np.int64))
    types = node.output_dtypes
    shapes = node.output_shapes
    floats = graph.make_node("Cast", node.input, attr={"to": 1}, name=f"{name}_floats")
    column = graph.make_node("Unsqueeze", [floats.output[0], last.output[0]], name=f"{name}_column")
    reached = graph.make_node("GreaterOrEqual", [column.output[0], bounds.output[0]], name=f"{name}_reached")
    ones = graph.make_node("Cast", reached.output, attr={"to": types[0]}, name=f"{name}_ones")
    graph.remove_node(node.name)
    graph.make_node(
        "ReduceSum",
        [ones.output[0], last.output[0]],
        attr={"keepdims": 0},
        outputs=node.output,
        name=name,
        shapes=shapes,
        dtypes=types,
    )


def finish(model: onnx.ModelProto) -> onnx.ModelProto:
    """Bring a converted graph to the standard's order, name its free dimension, and check it."""
    import onnx

    sort_nodes(model.graph)  # the quantizers append nodes at the end
    for value in (*model.graph.input, *model.graph.output):
        if (batch := value.type.tensor_type.shape.dim[0]).WhichOneof("value") != "dim_value":
            batch.dim_param = "batch"
    used = [entry for entry in model.opset_import if entry.domain in {"", *(node.domain for node in model.graph.node)}]
    del model.opset_import[:]
    model.opset_import.extend(used)
    missing = {node.op_type for node in model.graph.node if node.domain == "" and not onnx.defs.has(node.op_type)}
    if missing:
        raise ConversionError(
            f"The model needs operations that ONNX lacks: {', '.join(sorted(missing))}.",
            "Use a TFLite scheme, or compute them in front of the model.",
        )
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
def quiet(logger: str) -> Iterator[None]:
    """Hide log messages that are meant for users of the quantizer's own command line."""
    log = logging.getLogger(logger)
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(level)


def shorten_names(model: onnx.ModelProto) -> None:
    """Rename, in place, the scales, zero points and values of quantized activations."""
    graph = OnnxGraph(model)
    pairs = graph.nodes("QuantizeLinear", "DequantizeLinear")
    used_names = set(_all_names(model.graph))
    new: dict[str, str] = {}
    for number, node in enumerate(pairs):
        node.name = ""
        if graph.constant(node.input[0]) is not None:
            continue
        value = "q" if node.op_type == "QuantizeLinear" else "d"
        for letter, name in zip(("s", "z", value), (*node.input[1:3], node.output[0]), strict=False):
            short = f"{letter}{number}"
            if short not in used_names and len(short) < len(name) and None not in graph.readers(name):
                new.setdefault(name, short)
    for node in model.graph.node:
        node.input[:] = [new.get(name, name) for name in node.input]
        node.output[:] = [new.get(name, name) for name in node.output]
    for tensor in model.graph.initializer:
        tensor.name = new.get(tensor.name, tensor.name)
    others = [value for value in model.graph.value_info if value.name not in new]
    del model.graph.value_info[:]
    model.graph.value_info.extend(others)


def _all_names(graph: onnx.GraphProto) -> Iterator[str]:
    """The names of a graph's values, and of those of the graphs inside its nodes."""
    for value in (*graph.input, *graph.initializer):
        yield value.name
    for node in graph.node:
        yield from (*node.input, *node.output)
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                yield from _all_names(inner)
