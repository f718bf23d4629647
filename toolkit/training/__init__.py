"""Training of Keras classifiers: architectures, batches, augmentation, the loop, and the folder of a run.

`architectures` is the table of networks and `layers` their bodies; `loop` is resumable by `checkpoint`. Nothing here
converts or benchmarks: a run ends with `model.keras`, its contract and its metrics.
"""
