"""The float TFLite graph as a program that TensorFlow runs and differentiates, and its simulation in 8 bits.

`operations` computes each kind of operation, `program` reads a file and runs it, `simulate` rounds what a quantized
file rounds. What changes a program to keep its accuracy is in `edgepress.converters.ptq`.
"""
