"""Read the batches of a split in threads while the model computes, a few batches ahead."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count, islice
from typing import Any

import numpy as np
import numpy.typing as npt

from edgepress.toolkit.data.threads import in_threads
from edgepress.toolkit.data.types import Split
from edgepress.toolkit.training import augment

Batch = tuple[npt.NDArray[np.float32], npt.NDArray[Any]]
Targets = Callable[[npt.NDArray[Any], npt.NDArray[np.int64], npt.NDArray[np.float32]], npt.NDArray[Any]]
"""What to learn from a batch: called with its augmented items, their rows in the split and their draws."""
WORKERS = 4
"""Maximum number of threads that read batches."""


def training_batches(
    split: Split,
    *,
    batch_size: int,
    augmentation: str,
    seed: int,
    epoch: int,
    deviation: npt.NDArray[np.float32] | None = None,
    targets: Targets | None = None,
) -> Iterator[Batch]:
    """The batches of one epoch, shuffled and augmented; both depend only on seed, epoch and item.

    Batch sizes differ by at most one item: a last batch of an item or two would disturb batch normalization.

    Args:
        split: The items.
        batch_size: Maximum size of a batch.
        augmentation: The result of `augment.resolve`.
        seed: Seed of the run.
        epoch: Number of the epoch, from 0.
        deviation: Per-feature standard deviation (last axis), for "noise".
        targets: What the items' labels are replaced by; called in the threads that read the batches.
    """
    order = np.random.default_rng([seed, epoch, 1]).permutation(len(split))
    draws = augment.draw(len(split), seed=seed, epoch=epoch)

    def prepare(rows: npt.NDArray[np.int64]) -> Batch:
        x = augment.augment(split.read(rows), draws[rows], name=augmentation, scale=deviation)
        y = split.y[rows] if targets is None else targets(x, rows, draws[rows])
        return x.astype(np.float32), y

    return in_threads(prepare, np.array_split(order, steps(len(split), batch_size)), most=WORKERS)


def endless(split: Split, *, batch_size: int, augmentation: str, seed: int, done: int = 0) -> Iterator[Batch]:
    """The batches of all epochs from a step on, without an end; they depend only on the seed and the step.

    Args:
        split: The items.
        batch_size: Maximum size of a batch.
        augmentation: The result of `augment.resolve`.
        seed: Seed of the run.
        done: Number of the first step.
    """
    each = steps(len(split), batch_size)
    deviation = np.sqrt(moments(split)[1]) if augmentation == "noise" else None
    for epoch in count(done // each):
        batches = training_batches(
            split, batch_size=batch_size, augmentation=augmentation, seed=seed, epoch=epoch, deviation=deviation
        )
        yield from islice(batches, max(done - epoch * each, 0), None)


def steps(items: int, batch_size: int) -> int:
    """Number of batches in an epoch."""
    return -(-items // batch_size)


def balanced_weights(y: npt.NDArray[np.int64], classes: int) -> npt.NDArray[np.float32]:
    """Class weights, shape (classes,), that give every class the same total weight, for labels of shape (N,)."""
    counts = np.bincount(y, minlength=classes)
    return (len(y) / (classes * np.maximum(counts, 1))).astype(np.float32)


def predict_scores(model: Any, split: Split, *, batch_size: int = 64) -> npt.NDArray[np.float32]:
    """A Keras model's outputs for all items of a split, in order: float32, shape (len(split), classes)."""

    def read(rows: slice) -> npt.NDArray[np.float32]:
        return split.read(rows).astype(np.float32)

    rows = [slice(start, start + batch_size) for start in range(0, len(split), batch_size)]
    batches = in_threads(read, rows, most=WORKERS)
    return np.concatenate([np.asarray(model.predict_on_batch(x), np.float32) for x in batches])


def moments(split: Split, *, batch_size: int = 256) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Per-feature mean and variance of float32 tensors, in one pass in float64: two arrays of shape (last axis,)."""
    items = 0
    mean = np.zeros(())
    square = np.zeros(())
    for x, _ in split.batches(batch_size):
        flat = x.reshape(-1, x.shape[-1]).astype(np.float64)
        total = items + len(flat)
        delta = flat.mean(axis=0) - mean
        square = square + ((flat - flat.mean(axis=0)) ** 2).sum(axis=0) + delta**2 * items * len(flat) / total
        mean = mean + delta * len(flat) / total
        items = total
    with np.errstate(over="ignore"):  # the caller checks for infinity
        return mean.astype(np.float32), (square / items).astype(np.float32)
