"""Changes of a float TFLite graph's constants that make the files quantized from it more accurate.

They are made once, before the rewrites, on the graph from which the files of both formats are made.
"""
