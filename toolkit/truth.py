"""The labels that are true of items: one each, or any number of them.

The labels of items are `y`. Of single-label data it holds the number of each item's class, int64, shape (N,); of
multi-label data it holds a row of 0 and 1 for each item, int64, shape (N, labels). Answers to items
(`edgepress.runtime.decisions.decide`) have the shape of `y`, and an answer is right if it is `same_answers` as `y`: the
class, or the whole set of labels. Whatever counts items or labels takes both kinds through these functions.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from edgepress.runtime.answers import NO_LABEL

Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]


def is_multilabel(y: npt.NDArray[np.generic]) -> bool:
    """Whether labels are rows of 0 and 1, so that an item has any number of them."""
    return y.ndim == 2


def members(y: Ints, label: int) -> Flags:
    """Which items have a label, shape (N,)."""
    return np.asarray(y[:, label] == 1 if is_multilabel(y) else y == label, np.bool_)


def label_counts(y: Ints, count: int) -> Ints:
    """The number of items that have each of so many labels, int64, shape (count,)."""
    return y.sum(axis=0) if is_multilabel(y) else np.bincount(y, minlength=count)


def labels_by_item(y: Ints) -> tuple[Ints, Ints]:
    """The labels of all items one after the other: the row of the item and the label, each of shape (labels,)."""
    if not is_multilabel(y):
        return np.arange(len(y)), y
    rows, labels = np.nonzero(y)
    return rows.astype(np.int64), labels.astype(np.int64)


def label_hits(answers: Ints, y: Ints) -> Flags:
    """Whether answers have the labels of `labels_by_item(y)`, of its shape; both arguments have the same shape."""
    rows, labels = labels_by_item(y)
    return np.asarray(answers[rows, labels] == 1 if is_multilabel(y) else answers == y, np.bool_)


def numbered_sets(y: Ints) -> Ints:
    """A number for each item that is equal for items of the same labels, shape (N,): its class if it has one."""
    return np.unique(y, axis=0, return_inverse=True)[1].reshape(-1) if is_multilabel(y) else y


def strata(y: Ints) -> Ints:
    """The stratum by which each item is spread, shape (N,): its class, or the rarest of its labels.

    Of equally rare labels, it is the first; an item without labels is in a stratum behind those of all labels.
    """
    if not is_multilabel(y):
        return y
    counts = label_counts(y, y.shape[1])
    rarity = np.where(y == 1, counts, len(y) + 1)
    rarest: Ints = np.where(y.any(axis=1), rarity.argmin(axis=1), y.shape[1])
    return rarest


def label_text(answer: npt.ArrayLike, labels: Sequence[str]) -> str:
    """The labels of one item in words: the name of its class, or those of its labels with " and " between them.

    Args:
        answer: The number of a class, or a row of 0 and 1, shape (labels,).
        labels: The names.
    """
    row = np.asarray(answer)
    if row.ndim == 0:
        return labels[int(row)]
    return " and ".join(labels[i] for i in np.flatnonzero(row).tolist()) or NO_LABEL
