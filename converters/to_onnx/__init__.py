"""ONNX files: the float model by tf2onnx, the variants quantized from it by ONNX Runtime, and graph passes.

Everything that calls tf2onnx or ONNX Runtime's quantizers is here. The modules work on models in memory: they do
not open source models and do not write files that a user sees.
"""
