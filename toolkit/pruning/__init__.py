"""`prune`: remove channels of a model and train what is left, in a child process, resumable.

What leaves, and how, is in `edgepress.converters.pruning`; nothing here computes with tensors.
"""
