"""Post-training quantization: changes of a float graph's constants that make the files quantized from it more accurate.

`pipeline` tries them in order, once, before the rewrites, on the graph from which the files of both formats are made;
`score` tells whether one helps. What needs training is in `edgepress.converters.graph.distill`.
"""
