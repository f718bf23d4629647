"""Accuracy, latency, size and memory of many files on many engines, and which file to ship.

`plan` chooses the candidates, `collect` and `cache` get their answers, `accuracy` and `timing` turn these into
figures, `explain` says what limits a latency, `advice` recommends. What runs in a child process belongs in
`edgepress.toolkit.workers`, formulas belong in `stats`, and nothing here prints.
"""
