"""Two results, or two files, compared: what changed, how certain that is, and the limits of a CI gate.

`match` pairs the rows, `figures` and `latency` compute the changes with their intervals, `gates` evaluates
`--fail-if`, `text` formats. Nothing here measures: files that are given instead of results are benchmarked first.
"""
