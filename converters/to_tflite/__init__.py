"""TFLite files: the float model by TensorFlow, the variants quantized from it by litert-quantizer, and graph passes.

Everything that calls TensorFlow's converter or litert-quantizer is here, or that changes a flatbuffer. The modules work
on bytes in memory: they do not open source models and do not write files that a user sees.
"""
