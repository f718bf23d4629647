"""A TensorFlow function as one frozen graph, in operations that both converters take.

The formats themselves are in `to_tflite` and `to_onnx`.
"""
