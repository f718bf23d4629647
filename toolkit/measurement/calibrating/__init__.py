"""Measure what a file's answers are worth: calibrated probabilities, and which answers are accepted with a promise.

`fit` computes what the contract stores from scores and labels, `calibrate` collects the scores and writes the files.
The arithmetic of promises is `edgepress.toolkit.stats.acceptance`; what a board computes is
`edgepress.runtime.acceptance`.
"""
