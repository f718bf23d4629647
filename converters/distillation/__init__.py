"""Distillation: training a graph to answer as the float graph does, for quantization and after pruning.

`distill` holds the student, which simulates the quantized file, the trainee, a float graph, and the training step. What
decides when to train, and on what, is in `edgepress.toolkit`.
"""
