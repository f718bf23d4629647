"""Conversion: from a source model and calibration items to TFLite and ONNX files.

Nothing here knows data sets or the command line: imports go to `edgepress.runtime` only. This module imports nothing,
so that a child process that needs `edgepress.converters.process.worker` loads nothing else.
"""
