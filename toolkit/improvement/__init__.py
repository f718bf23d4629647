"""A model in use, and better with new pictures: `play` shows its answers, `label` labels, `improve` trains on.

Training itself is in `training`, and the figures of files in `measurement`.
"""
