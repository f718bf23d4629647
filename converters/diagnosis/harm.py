"""How much errors of scores matter to the decisions that are made from them."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Choice = Literal["one", "each", "none"]
"""What is decided from scores: one label, each label by itself, or nothing."""
MOST = 2.0
"""Errors of more than this many margins do no more harm: the decision is lost before."""


def harm(truth: Array, found: Array, choice: Choice) -> Array:
    """The error of each item's scores, squared, shape (n,): in margins by which the decision is made, if there is one.

    An error that all scores share, or one in the scores of labels that are far from being chosen, does no harm. The
    median margin is added to each, or a few undecided items would decide which layer is the worst.

    Args:
        truth: Scores before softmax or sigmoid, (n, outputs).
        found: The same with the error.
        choice: What is decided from them.
    """
    truth, error = truth.astype(np.float64), (found - truth).astype(np.float64)
    if choice == "none" or (choice == "one" and truth.shape[1] == 1):
        return np.asarray(np.square(error).mean(axis=1))
    if choice == "each":
        margins, changes = np.abs(truth), error
        usual = np.median(margins)
    else:
        rows = np.arange(len(truth))
        best = truth.argmax(axis=1)
        margins = truth[rows, best][:, np.newaxis] - truth
        changes = np.maximum(error - error[rows, best][:, np.newaxis], 0.0)  # towards another label
        margins[rows, best] = np.inf
        usual = np.median(margins.min(axis=1))
    least = np.finfo(np.float64).tiny
    worst = np.minimum(np.abs(changes) / np.maximum(margins + usual, least), MOST).max(axis=1)
    return np.asarray(np.square(np.nan_to_num(worst, nan=MOST)))


def decided(scores: Array, choice: Choice) -> Array:
    """What is decided from scores (n, outputs): a label, shape (n,), or whether each is present, shape (n, outputs)."""
    if choice == "each":
        return np.asarray(scores > 0)
    return np.asarray(scores.argmax(axis=1) if scores.shape[1] > 1 else scores[:, 0] > 0)


def agreement(truth: Array, found: Array, choice: Choice) -> float:
    """Share of the decisions that are the same, 0-1."""
    return float((decided(truth, choice) == decided(found, choice)).mean())
