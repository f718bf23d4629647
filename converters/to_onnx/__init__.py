"""The float ONNX model, the quantized ones derived from it, and passes over foreign models."""
