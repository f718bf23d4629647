"""Evidence that a converted file answers like its source model, and the self-test that boards repeat.

`compare` measures the difference, `selftest` chooses the test vectors, `verify` lists what a quantizer skipped.
Accuracy on a data set does not belong here: it is measured by `edgepress.toolkit.measurement.benchmarking`.
"""
