"""An integer-only TFLite file as self-contained C99, with the answers of TensorFlow Lite for Microcontrollers (TFLM).

In order: `read` makes a small integer graph of the file; `lowering` turns each operation into a step, a kernel and its
numbers, by `arithmetic` (the rounding of TFLM in NumPy, and what accumulators can be); `placement` puts
tensors into one arena; `emission` writes the C from `kernels/`. What is not exactly supported is refused. Nothing here
compiles or runs C, decodes images, or writes files.
"""
