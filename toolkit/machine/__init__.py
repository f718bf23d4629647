"""This machine: its description, the CPUs that are timed on, and environments of engines apart from TensorFlow's.

What runs in these environments is in `workers`.
"""
