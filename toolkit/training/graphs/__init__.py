"""`tune` and `prune`: train the float graph of a model, in a child process, resumable.

`run` is the folder, the child process and the report of both, `trainer` what both do in that process. How to distil and
which channels leave is in `edgepress.converters.graph.distill` and `edgepress.converters.pruning`.
"""
