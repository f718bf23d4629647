"""Rewrites of ONNX graphs, one a module: each has a function `rewrite` that takes an `onnx.ModelProto`.

No module opens or writes a file, or decides which files get it; `to_onnx.graph` reads and changes graphs for them.
"""
