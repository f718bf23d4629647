"""Numbers in NumPy alone: ranges of tensors, grids of weights, metrics of answers, counts of operations.

Nothing here reads or writes a model's file.
"""
