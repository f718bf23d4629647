"""Boards reached by ssh: described, supplied with bundles, and measured as further hosts of a benchmark.

`push` installs a bundle on one board, `fleet` on many.
`session` is one visit to one board, `bench` visits many at once, `journal` lets an interrupted run resume.
`remote_probe`, `remote_answer` and `remote_outputs` run on the board: they import the standard library, `remote_answer`
numpy and `edgepress.runtime`, and `remote_outputs` numpy and an interpreter, but nothing else of edgepress.
"""
