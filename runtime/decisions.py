"""Turn a model's outputs into answers: softmax and sigmoid, and the class that is predicted for each item.

Boards, evaluations and comparisons of boards all use these functions, so they cannot disagree about an item.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from edgepress.runtime.contract import Contract, Task

if TYPE_CHECKING:
    import numpy.typing as npt  # for type checkers only: importing it is a tenth of the runtime's start on a board

    from edgepress.runtime.arrays import Run


def softmax(logits: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """Convert logits to probabilities, both of shape (N, classes)."""
    powers = np.exp(logits - np.max(logits, axis=1, keepdims=True))  # exponents <= 0 cannot overflow
    return np.asarray(powers / np.sum(powers, axis=1, keepdims=True), np.float32)


def sigmoid(logits: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """Convert logits to independent probabilities, of the same shape."""
    return np.asarray(np.exp(-np.logaddexp(0, -logits)), np.float32)


def two_columns(positive: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """Probabilities of both labels, shape (N, 2), the negative one first, from those of the positive one, (N, 1)."""
    return np.concatenate([1 - positive, positive], axis=1)


def with_probabilities(run: Run, task: Task | None) -> Run:
    """The call of an engine followed by what turns its outputs into probabilities; the call itself if nothing must."""
    if task == "logits":
        return lambda batch: softmax(run(batch))
    if task == "sigmoid":
        return lambda batch: two_columns(run(batch))
    return run


def threshold_of(contract: Contract | None) -> float | None:
    """Probability from which on a label counts as present; None where the best label is the answer."""
    if contract is None or contract.task not in ("sigmoid", "multilabel"):
        return None
    return 0.5 if contract.threshold is None else contract.threshold


def decide(
    scores: npt.NDArray[np.float32], contract: Contract | None = None, *, multilabel: bool = False
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """The answer to each item, int64, and its score, float32.

    The answer is the class with the highest score, the first among equals, and both results have the shape (N,). For
    the task "sigmoid", it is the second class if its score reaches the threshold, else the first. For the task
    "multilabel", it is the best label if items have one label each. Where they have any number of labels, the answer
    is 1 for each label whose score reaches the threshold and 0 for the others, and the score of an absent label is 1
    minus that of the label; both results have the shape (N, labels).

    Args:
        scores: Score of each item and label, float32, shape (N, labels), as `Model.scores` returns them.
        contract: The model's contract; None decides by the highest score.
        multilabel: Whether items have any number of labels.
    """
    if multilabel:
        least = threshold_of(contract)
        present = scores >= (0.5 if least is None else least)
        return present.astype(np.int64), np.where(present, scores, 1 - scores).astype(np.float32)
    threshold = threshold_of(contract) if contract is not None and contract.task == "sigmoid" else None
    best = np.argmax(np.nan_to_num(scores, nan=-np.inf), axis=1)  # NaN is never the highest score
    classes = (best if threshold is None else scores[:, 1] >= threshold).astype(np.int64)
    return classes, np.take_along_axis(scores, classes[:, np.newaxis], axis=1)[:, 0].astype(np.float32)


def same_answers(some: npt.NDArray[Any], others: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """For which items two answers are the same, shape (N,): the same class, or the same set of labels.

    Args:
        some: Classes of items, shape (N,), or 0 and 1 for each of their labels, shape (N, labels).
        others: The same of other answers, or what is true.
    """
    same = np.asarray(some == others, np.bool_)
    return same if same.ndim == 1 else np.asarray(same.all(axis=1), np.bool_)


def decided_rows(scores: npt.NDArray[np.float32], contract: Contract | None) -> npt.NDArray[np.int64]:
    """Numbers of the labels that the scores of one item, shape (labels,), decide for.

    For "multilabel", all labels that reach the threshold, best first, possibly none; else one, as `decide` says. The
    threshold is one of scores as the file returns them, not of calibrated probabilities.
    """
    threshold = threshold_of(contract)
    if threshold is None or contract is None or contract.task == "sigmoid":
        return decide(scores[np.newaxis], contract)[0]
    rows = np.argsort(-scores, kind="stable")
    return rows[scores[rows] >= threshold]
