"""Freeze a TensorFlow function to one graph, from which both the TFLite and the ONNX file are made.

Freezing, variables to constants, is what makes conversion of Keras 3 models dependable: neither
`TFLiteConverter.from_keras_model` (a SavedModel on the way, which takes most of its time) nor
`tf2onnx.convert.from_keras` (KeyError on Keras 3 models) is needed. It is separate from tracing and returns only the
graph's definition, because a TensorFlow function with constants holds several copies of all weights.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from edgepress.converters.errors import ConversionError
from edgepress.converters.system import sweep

INPUT = "input"
"""Name of the input in files that are made here."""
OUTPUT = "scores"
"""Name of the output in files that are made here."""
LARGEST_BYTES = 1 << 31
"""Size limit of flatbuffers, protocol buffers and TensorFlow's graph definitions."""
_COPIES = ("Identity", "StopGradient", "Reshape", "Squeeze")


@dataclass(frozen=True)
class Frozen:
    """A graph without variables, of one input and one output.

    Attributes:
        definition: A `GraphDef`.
        source: Name of the input tensor, such as "input:0".
        sink: Name of the output tensor.
        shape: Of the input; None where any size goes.
    """

    definition: Any
    source: str
    sink: str
    shape: tuple[int | None, ...]


def trace(infer: Callable[[Any], Any], shape: tuple[int | None, ...], dtype: str) -> Any:
    """A function as a graph, with its variables beside it.

    Args:
        infer: Maps one tensor to one tensor.
        shape: Of the input; a batch of 1 leaves no SHAPE/PACK operations in a TFLite file, None leaves it free.
        dtype: Of the input, such as "float32".

    Returns:
        A `ConcreteFunction` from one tensor to one.
    """
    import tensorflow as tf

    def named(x: Any) -> Any:
        return tf.identity(infer(x), name=OUTPUT)

    spec = tf.TensorSpec(shape, dtype, name=INPUT)
    eagerly = tf.config.functions_run_eagerly()
    # So that functions inside it are traced as part of it. One compiled by XLA, such as Keras' grouped convolution in
    # ConvNeXt, would stay a call that freezing does not inline and ONNX can't express.
    tf.config.run_functions_eagerly(True)
    try:
        return tf.function(named, input_signature=[spec], autograph=False).get_concrete_function()
    finally:
        tf.config.run_functions_eagerly(eagerly)


def freeze(function: Any) -> Frozen:
    """A traced function with its variables as constants, and all calls in it resolved.

    Raises:
        ConversionError: It is too large for any file.
    """
    # The only public route to a frozen graph is TFLiteConverter itself; tf2onnx imports from the same module.
    # tensorflow#48639; docs/architecture.md lists this and other private interfaces.
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2_as_graph

    size = sum((variable.shape.num_elements() or 0) * variable.dtype.size for variable in function.variables)
    if size >= LARGEST_BYTES:
        raise ConversionError(
            f"The model's weights take {size / 1e9:.1f} GB; a TFLite or ONNX file holds less than "
            f"{LARGEST_BYTES / 1e9:.1f} GB.",
            "Use a smaller model.",
        )
    definition = convert_variables_to_constants_v2_as_graph(function, lower_control_flow=False)[1]
    sweep(definition.ByteSize())  # of the function that came with it
    _replace_channels_first(definition)
    source = function.inputs[0]
    sink = function.outputs[0]
    return Frozen(definition, source.name, sink.name, tuple(source.shape.as_list()))


def _replace_channels_first(definition: Any) -> None:
    """Replace what TFLite's converter can't bring to the order channels last, in place; what is computed is the same.

    TensorFlow 2.21 fails at BiasAdd over axis 1 of anything but images, which Keras 3.15 makes of each sum with a
    constant of shape (N, 1) whose N is that of axis 1, such as the bias of an `EinsumDense` in the middle; and at the
    Squeeze behind a `Conv1D` with channels first.
    """
    import tensorflow as tf

    first = {n.name: n for n in definition.node if n.attr["data_format"].s == b"NCHW"}
    biases = [node for node in first.values() if node.op == "BiasAdd"]
    squeezes = [n for n in definition.node if n.op == "Squeeze" and n.input[0] in first]
    if not biases and not squeezes:
        return
    graph = tf.Graph()
    with graph.as_default():
        tf.import_graph_def(definition, name="")
    shapes = {node.name: graph.get_tensor_by_name(f"{node.name}:0").shape for node in (*biases, *squeezes)}
    for node in biases:
        rank = shapes[node.name].rank
        if rank not in (None, 4):
            column = definition.node.add(name=f"{node.name}/column", input=[node.input[1]])
            column.attr["T"].CopyFrom(node.attr["T"])
            _make_reshape(definition, column, [-1, *[1] * (rank - 2)])
            node.op = "AddV2"
            node.input[1] = column.name
            del node.attr["data_format"]
    for node in squeezes:
        sizes = [size or -1 for size in shapes[node.name].as_list()]
        if sizes.count(-1) <= 1:
            del node.attr["squeeze_dims"]
            _make_reshape(definition, node, sizes)


def _make_reshape(definition: Any, node: Any, sizes: list[int]) -> None:
    """Make a node with one input a Reshape to a shape, in place."""
    import tensorflow as tf

    shape = definition.node.add(name=f"{node.name}/shape", op="Const")
    shape.attr["dtype"].type = tf.int32.as_datatype_enum
    shape.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(sizes, tf.int32))
    node.op = "Reshape"
    node.input.append(shape.name)
    node.attr["Tshape"].type = tf.int32.as_datatype_enum


def last_operation(function: Any) -> str:
    """Type of the last operation of a traced function that computes, such as "Softmax"; "" if none does."""
    definition = function.graph.as_graph_def()
    functions = {f.signature.name: f for f in definition.library.function}
    nodes = {node.name: node for node in definition.node}
    end = function.outputs[0].name
    while (node := nodes.get(end.partition(":")[0])) is not None:
        if node.op.endswith("PartitionedCall"):  # a SavedModel's signature: go on in what it calls
            called = functions[node.attr["f"].func.name]
            index = int(end.rpartition(":")[2]) if ":" in end else 0
            nodes = {n.name: n for n in called.node_def}
            end = called.ret[called.signature.output_arg[index].name]
        elif node.op in _COPIES and node.input:
            end = node.input[0]
        else:
            return str(node.op)
    return ""
