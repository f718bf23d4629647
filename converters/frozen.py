"""A Keras model as one frozen TensorFlow graph, from which both the TFLite and the ONNX file are made.

Freezing first, variables to constants, is what makes conversion of Keras 3 models dependable: neither
`TFLiteConverter.from_keras_model` (a SavedModel on the way; 4 times slower on MobileNetV2, see
benchmarks/conversion_time.py) nor `tf2onnx.convert.from_keras` (KeyError on Keras 3 models) is needed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import keras

INPUT, OUTPUT = "input", "scores"


def freeze(model: keras.Model, *, batch: int | None, dtype: str) -> Any:
    """The inference function of a model with its weights as constants.

    Args:
        model: A Keras model with one float32 input and one output.
        batch: Batch size; 1 leaves no SHAPE/PACK operations in a TFLite file, None leaves the batch free.
        dtype: "float32", or "uint8" for an input that is cast inside.

    Returns:
        A `ConcreteFunction` with one input named "input" and one output named "scores".
    """
    import tensorflow as tf

    # The only public route to a frozen function is TFLiteConverter itself; tf2onnx imports the same name.
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    def infer(x: Any) -> Any:
        scores = model(tf.cast(x, tf.float32), training=False)
        return tf.identity(scores, name=OUTPUT)

    spec = tf.TensorSpec((batch, *model.input_shape[1:]), dtype, name=INPUT)
    function = tf.function(infer, input_signature=[spec], autograph=False).get_concrete_function()
    return convert_variables_to_constants_v2(function, lower_control_flow=False)
