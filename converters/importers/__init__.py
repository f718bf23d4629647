"""Model files of other formats as functions of TensorFlow, from which the float graph is made: today, ONNX files.

One function an operation, in the table of `operations`, in files by kind of operation. Its modules import TensorFlow,
so others import them inside functions. What reads and checks files lives in `sources`.
"""
