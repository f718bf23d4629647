"""The time of each operation and layer in one inference, as a table and as a plot.

The engine is traced in a child process by `edgepress.toolkit.workers.trace`; here the traces are summed up and drawn.
Latencies of whole files, and comparisons between them, do not belong here but in
`edgepress.toolkit.measurement.benchmarking`.
"""
