"""What a net learns of an item, one label or any number of them: its last operation, its loss, and what is right.

A net for one label an item ends in a softmax and learns by cross-entropy. One for multi-label data ends in a sigmoid
for each label and learns by the mean over the labels of their binary cross-entropy; it decides for labels from 0.5 on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from edgepress.runtime.contract import Task
from edgepress.runtime.decisions import decide, same_answers, sigmoid, softmax
from edgepress.toolkit.data.types import DataSet
from edgepress.toolkit.errors import InputError
from edgepress.toolkit.truth import is_multilabel

SMOOTHING = 0.1
"""Share of the target that all classes have equally (Szegedy et al. 2015, arXiv:1512.00567)."""
LEAST = 1e-7
"""Least probability in a loss, as in Keras."""
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class LabelKind:
    """A row of the two kinds.

    Attributes:
        task: The task of a model's contract.
        activation: The last operation, by its name in Keras.
        scores: Makes scores of what is in front of it, both of shape (n, labels).
        loss: Name of the loss in Keras.
    """

    task: Task
    activation: Literal["softmax", "sigmoid"]
    scores: Callable[[Floats], Floats]
    loss: str

    def losses(self, y: Any, logits: Any) -> Any:
        """The loss of each item, a tensor of shape (n,), of labels and what is in front of the last operation."""
        import tensorflow as tf

        if self is ANY_LABELS:
            labels = tf.cast(y, tf.float32)
            return tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(labels, logits), axis=1)
        classes = logits.shape[1]
        wanted = tf.one_hot(y, classes) * (1 - SMOOTHING) + SMOOTHING / classes
        return tf.nn.softmax_cross_entropy_with_logits(wanted, logits)

    def right(self, y: Any, logits: Any) -> Any:
        """Which items are answered correctly, a tensor of shape (n,), with the arguments of `losses`."""
        import tensorflow as tf

        if self is ANY_LABELS:
            return tf.reduce_all(tf.equal(logits >= 0, tf.cast(y, tf.bool)), axis=1)
        return tf.argmax(logits, axis=1) == y


ONE_LABEL = LabelKind("softmax", "softmax", softmax, "sparse_categorical_crossentropy")
ANY_LABELS = LabelKind("multilabel", "sigmoid", sigmoid, "binary_crossentropy")


def kind_of(data: DataSet) -> LabelKind:
    """What a net learns of the items of some data."""
    return ANY_LABELS if data.multilabel else ONE_LABEL


def refuse_for_multilabel(data: DataSet, **options: object) -> None:
    """Refuse options of `train` that need one label an item, where items have any number.

    Raises:
        InputError: One of them is given.
    """
    given = [f"--{name.replace('_', '-')}" for name, value in options.items() if value]
    if data.multilabel and given:
        raise InputError(
            f"{given[0]} needs one label an item, and items of {data.source} have any number.", f"Leave out {given[0]}."
        )


def smoothed_loss(y: Any, scores: Any) -> Any:
    """Cross-entropy with labels of which all classes have a share (`SMOOTHING`), a Keras tensor of shape (n,).

    Args:
        y: Labels, shape (n,) or (n, 1).
        scores: Probabilities, shape (n, classes).
    """
    import keras
    from keras import ops

    wanted = ops.one_hot(ops.cast(ops.reshape(y, (-1,)), "int32"), scores.shape[-1])
    return keras.losses.categorical_crossentropy(wanted, scores, label_smoothing=SMOOTHING)


def exact_match(y: Any, scores: Any) -> Any:
    """Whether all labels of an item are answered and no others, a Keras tensor of shape (n,)."""
    from keras import ops

    return ops.cast(ops.all(ops.equal(scores >= 0.5, ops.cast(y, "bool")), axis=-1), "float32")


def loss_and_accuracy(scores: Floats, y: npt.NDArray[np.int64]) -> dict[str, float]:
    """Cross-entropy and accuracy of validation items, of labels of either kind (`edgepress.toolkit.truth`).

    Args:
        scores: Scores, shape (N, labels).
        y: The true labels.
    """
    if is_multilabel(y):
        chosen = np.where(y == 1, scores, 1 - scores).astype(np.float64)
    else:
        chosen = scores[np.arange(len(y)), y].astype(np.float64)
    loss = -np.log(np.maximum(chosen, LEAST)).mean()  # NaN passes through
    decided, _ = decide(scores, multilabel=is_multilabel(y))
    return {"val_loss": float(loss), "val_accuracy": float(same_answers(decided, y).mean())}
