"""Train classifiers: architectures, input batches, augmentation, the training loop, and the folder of a run."""
