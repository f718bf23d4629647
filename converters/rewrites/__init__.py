"""Rewrites: changes of a graph that make the engines run it faster, by what they change, and the table of all.

`table` says which rewrites a scheme and a target get, and applies them. What they do depends on the graph alone, never
on a clock, so that the same model gives the same bytes. Reading and writing of graphs is not here: see
`to_tflite.graph` and `to_onnx.graph`.
"""
