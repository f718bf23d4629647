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
from edgepress.converters.freezing.fixes import fix
from edgepress.converters.freezing.forms import write_lookups
from edgepress.converters.process.system import free_memory

INPUT = "input"
"""Name of the input in files that are made here."""
OUTPUT = "scores"
"""Name of the output in files that are made here."""
LARGEST_BYTES = 1 << 31
"""Size limit of flatbuffers, protocol buffers and TensorFlow's graph definitions."""
_COPIES = ("Identity", "StopGradient", "Reshape", "Squeeze")


@dataclass(frozen=True)
class Frozen:
    """A graph without variables, of one output.

    Attributes:
        definition: A `GraphDef`.
        sources: The input tensors by name, such as "input:0", with their shapes; None where any size goes.
        sink: Name of the output tensor.
        names: What the inputs are called in files.
    """

    definition: Any
    sources: dict[str, tuple[int | None, ...]]
    sink: str
    names: tuple[str, ...] = (INPUT,)


def trace(infer: Callable[..., Any], shape: tuple[int | None, ...], dtype: str, *more: tuple[Any, str]) -> Any:
    """A function as a graph, with its variables beside it.

    Args:
        infer: Maps a tensor for each input to one tensor.
        shape: Of the input; a batch of 1 leaves no SHAPE/PACK operations in a TFLite file, None leaves it free.
        dtype: Of the input, such as "float32".
        more: Shape and type of each further input.

    Returns:
        A `ConcreteFunction` from these tensors to one.
    """
    import tensorflow as tf

    def named(*x: Any) -> Any:
        return tf.identity(infer(*x), name=OUTPUT)

    ends = [(shape, dtype), *more]
    specs = [tf.TensorSpec(*end, name=f"{INPUT}_{place}" if place else INPUT) for place, end in enumerate(ends)]
    eagerly = tf.config.functions_run_eagerly()
    # So that functions inside it are traced as part of it. One compiled by XLA, such as Keras' grouped convolution in
    # ConvNeXt, would stay a call that freezing does not inline and ONNX can't express.
    tf.config.run_functions_eagerly(True)
    try:
        return tf.function(named, input_signature=specs, autograph=False).get_concrete_function()
    finally:
        tf.config.run_functions_eagerly(eagerly)


def freeze(function: Any, names: tuple[str, ...] = ()) -> Frozen:
    """A traced function with its variables as constants, and all calls in it resolved.

    Args:
        function: The function.
        names: What several inputs are called in files.

    Raises:
        ConversionError: It is too large for any file.
    """
    # The only public route to a frozen graph is TFLiteConverter itself (tensorflow#48639); docs/architecture.md lists
    # this and other private interfaces. `convert_variables_to_constants_v2_as_graph` takes the same two steps and then
    # makes a function of the graph, which holds five more copies of all weights.
    from tensorflow.python.framework import convert_to_constants

    size = sum((variable.shape.num_elements() or 0) * variable.dtype.size for variable in function.variables)
    if size >= LARGEST_BYTES:
        raise ConversionError(
            f"The model's weights take {size / 1e9:.1f} GB; a TFLite or ONNX file holds less than "
            f"{LARGEST_BYTES / 1e9:.1f} GB.",
            "Use a smaller model.",
        )
    variables = convert_to_constants._FunctionConverterDataInEager(
        func=function, lower_control_flow=False, aggressive_inlining=False
    )
    definition, _ = convert_to_constants._replace_variables_by_constants(variables)
    del variables
    free_memory(definition.ByteSize())  # of the values of the variables
    write_lookups(definition, {placeholder.op.name: captured for captured, placeholder in function.graph.captures})
    fix(definition)
    captured = {placeholder.name for _, placeholder in function.graph.captures}
    sources = {each.name: tuple(each.shape.as_list()) for each in function.inputs if each.name not in captured}
    return Frozen(definition, sources, function.outputs[0].name, names or (INPUT,))


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
