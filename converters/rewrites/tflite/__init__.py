"""Rewrites of TFLite graphs, one a module: each has a function `rewrite` that takes a `to_tflite.graph.Graph`.

No module opens or writes a file, or decides which files get it; what several of them use is in `windows`.
"""
