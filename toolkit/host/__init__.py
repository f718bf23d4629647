"""This machine: its description in results, the CPUs that are used for timing, and what is missing on it.

Only facts about the machine belong here. What a load or a temperature means for a latency is decided in
`edgepress.toolkit.benchmarking`; boards describe themselves by `edgepress.runtime.board`.
"""
