"""One conversion: a model and calibration data in, a proven file of each scheme out.

`conversion` runs in the parent process and `processes` starts its child processes, in which the others work:
`float_graph` opens the model, `encode` makes the bytes of a file, `make` proves and writes it. How a graph is quantized
is in `edgepress.converters.to_tflite` and `edgepress.converters.to_onnx`.
"""
