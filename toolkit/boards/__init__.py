"""Boards reached by ssh: described, supplied with bundles, and measured as further hosts of a benchmark.

`push` installs a bundle on one board, `fleet` on many.
`session` is one visit to one board, `bench` visits many at once, `journal` lets an interrupted run resume.
`remote_probe` and `remote_answer` run on the board: they import the standard library, and `remote_answer` numpy and
`edgepress.runtime`, but nothing else of edgepress.
"""
