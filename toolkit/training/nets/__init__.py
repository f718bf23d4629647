"""The nets that are trained: architectures, their layers, and bodies and weights that others trained.

Nothing here reads data or takes a step of training.
"""
