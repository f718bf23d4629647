"""A function of TensorFlow as one frozen graph, from which both the TFLite and the ONNX file are made.

Freezing first, variables to constants, is what makes conversion of Keras 3 models dependable: neither
`TFLiteConverter.from_keras_model` (a SavedModel on the way, which takes most of its time) nor
`tf2onnx.convert.from_keras` (KeyError on Keras 3 models) is needed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

INPUT, OUTPUT = "input", "scores"
_COPIES = ("Identity", "StopGradient", "Reshape", "Squeeze")


def freeze(infer: Callable[[Any], Any], shape: tuple[int | None, ...], dtype: str) -> Any:
    """A function with its variables as constants.

    Args:
        infer: Takes one tensor and gives one.
        shape: Of the input; a batch of 1 leaves no SHAPE/PACK operations in a TFLite file, None leaves it free.
        dtype: Of the input, "float32" or "uint8".

    Returns:
        A `ConcreteFunction` with one input named "input" and one output named "scores".
    """
    import tensorflow as tf

    # The only public route to a frozen function is TFLiteConverter itself; tf2onnx imports the same name.
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    def named(x: Any) -> Any:
        return tf.identity(infer(x), name=OUTPUT)

    spec = tf.TensorSpec(shape, dtype, name=INPUT)
    eagerly = tf.config.functions_run_eagerly()
    # So that functions inside it are traced as part of it. One compiled by XLA, such as Keras' grouped convolution in
    # ConvNeXt, would stay a call that freezing does not inline and ONNX can't express.
    tf.config.run_functions_eagerly(True)
    try:
        function = tf.function(named, input_signature=[spec], autograph=False).get_concrete_function()
    finally:
        tf.config.run_functions_eagerly(eagerly)
    return convert_variables_to_constants_v2(function, lower_control_flow=False)


def last_operation(frozen: Any) -> str:
    """Type of the last operation of a frozen graph that computes, such as "Softmax" or "BiasAdd"."""
    operation = frozen.outputs[0].op
    while operation.type in _COPIES and operation.inputs:
        operation = operation.inputs[0].op
    return str(operation.type)
