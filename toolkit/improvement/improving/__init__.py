"""`improve`: trains a model on with new pictures, and proves on held-out items what that brought.

`improve` does the steps one after another, `proof` compares the two models. Training, conversion and calibration are
those of `training`, `conversion` and `calibrating`.
"""
