"""Engines that run in a virtual environment of their own, beside TensorFlow's."""
