"""Functions that run in child processes, where a crash, a hang or another environment must not hurt the command.

Child processes start often, some in environments without TensorFlow. So these modules import the standard library,
numpy, `edgepress.runtime` and `edgepress.converters.process.worker`, and nothing else at import
(tests/integration/test_architecture.py).
"""
