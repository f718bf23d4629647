"""Whether a trained file still knows its task, or answers hardly better than a constant answer.

The constant answer is the most frequent class of the items. What a model knows is what it answers correctly beyond
that; of numbers, it is the spread of its answers that a file explains.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from edgepress.converters.arrays import Array

LEAST_KEPT = 0.25
"""Share of what the model knows below which a file has collapsed."""
CHANCE = 2
"""Standard errors by which the model itself must be better than the constant answer: else it has nothing to lose."""
Flags = npt.NDArray[np.bool_]


def constant_flags(truth: Array) -> Flags:
    """Which items the constant answer gets right.

    Args:
        truth: Labels (n,), or (n, outputs) of 0 and 1 where an item may have several.
    """
    rows = np.asarray(truth).reshape(len(truth), -1)
    constant = [values[np.argmax(counts)] for values, counts in (np.unique(c, return_counts=True) for c in rows.T)]
    return np.asarray(rows == np.array(constant)).reshape(np.shape(truth))


def kept_share(before: Flags, after: Flags, constant: Flags) -> float:
    """Share of what a model gets right beyond the constant answer that a file keeps; 1 if that is nothing.

    Args:
        before: Items that the model gets right.
        after: Those that the file gets right.
        constant: Those that the constant answer gets right.
    """
    gain = int(before.sum()) - int(constant.sum())
    if gain <= CHANCE * math.sqrt(int((before != constant).sum())):
        return 1.0
    return (int(after.sum()) - int(constant.sum())) / gain


def has_collapsed(before: Flags, after: Flags, constant: Flags) -> bool:
    """Whether a file keeps too little of what a model knows; the arguments are those of `kept_share`."""
    return kept_share(before, after, constant) < LEAST_KEPT


def why_collapsed(before: Flags, after: Flags, constant: Flags) -> str:
    """What was found of a file that has collapsed, in words; "" of one that has not."""
    if not has_collapsed(before, after, constant):
        return ""
    return (
        f"it is right on {after.mean():.1%} of the validation items, where the model is on {before.mean():.1%} and "
        f"always answering the most frequent class on {constant.mean():.1%}"
    )


def why_noise(snr_db: float) -> str:
    """The same of a file whose answers are numbers, by the spread of the model's to its error."""
    if 1 - 10 ** (-snr_db / 10) >= LEAST_KEPT:
        return ""
    return f"its error is {snr_db:.1f} dB below the spread of the model's answers, and that of a constant answer 0 dB"
