"""`tune`: train a model's constants and ranges for quantization, in a child process, resumable.

The steps of the distillation are in `edgepress.converters.tuning`; nothing here computes with tensors.
"""
