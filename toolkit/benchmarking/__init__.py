"""Accuracy, latency, size and memory of many files on many engines, and which file to ship.

`plan` chooses the candidates, `collect` and `cache` get their answers, `accuracy` and `timing` turn these into
figures, `roofline` and `explain` say what limits a latency, `advice` and `best_engine` recommend. What runs in a child
process belongs in `edgepress.toolkit.workers`, formulas belong in `stats`, and nothing here prints.
"""
