"""Metrics of answers: what is decided from scores, how often two models agree, and how large an error is."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np

from edgepress.converters.arrays import Array

Decision = Literal["one", "each", "none"]
"""What is decided from scores: one label, each label by itself, or nothing."""
EXACT_DB = 200.0
"""SNR of answers without an error."""
MOST_MARGINS = 2.0
"""Errors of more than this many margins count no more: the decision is lost before."""


def decibels(signal: float, noise: float) -> float | None:
    """Ratio of two powers in dB; None where one of them is 0."""
    return 10 * math.log10(signal / noise) if signal > 0 and noise > 0 else None


def decisions_of(scores: Array, decision: Decision = "one", threshold: float = 0.5) -> Array:
    """What is decided from scores (n, outputs): a label, shape (n,), or whether each is present, shape (n, outputs).

    Args:
        scores: Scores; a single one is that of the second of two labels.
        decision: What is decided from them; of "none", the label is what a user would see first.
        threshold: The score above which a label counts where it does not compete with others; 0 for logits.
    """
    if decision == "each":
        return np.asarray(scores > threshold)
    return np.asarray(scores.argmax(axis=1) if scores.shape[1] > 1 else scores[:, 0] > threshold)


def agreement(reference: Array, scores: Array, decision: Decision = "one", threshold: float = 0.5) -> float:
    """Share of the decisions that are the same, 0-1."""
    return float((decisions_of(reference, decision, threshold) == decisions_of(scores, decision, threshold)).mean())


def squared_margins(reference: Array, scores: Array, decision: Decision) -> Array:
    """The error of each item's logits, squared, shape (n,): in margins by which the decision is made, if there is one.

    An error that all logits share, or one in the logits of labels that are far from being chosen, does not count. The
    median margin is added to each, or a few undecided items would decide which layer is the worst.

    Args:
        reference: Logits, (n, outputs).
        scores: The same with the error.
        decision: What is decided from them.
    """
    reference, error = reference.astype(np.float64), (scores - reference).astype(np.float64)
    if decision == "none" or (decision == "one" and reference.shape[1] == 1):
        return np.asarray(np.square(error).mean(axis=1))
    if decision == "each":
        margins = np.abs(reference)
        changes = error
        usual = np.median(margins)
    else:
        rows = np.arange(len(reference))
        best = reference.argmax(axis=1)
        margins = reference[rows, best][:, np.newaxis] - reference
        changes = np.maximum(error - error[rows, best][:, np.newaxis], 0.0)  # towards another label
        margins[rows, best] = np.inf
        usual = np.median(margins.min(axis=1))
    least = np.finfo(np.float64).tiny
    worst = np.minimum(np.abs(changes) / np.maximum(margins + usual, least), MOST_MARGINS).max(axis=1)
    return np.asarray(np.square(np.nan_to_num(worst, nan=MOST_MARGINS)))
