"""Features of a frozen net, and the classifier that logistic regression puts on them: the first step of a transfer.

Photos of a few hundred items are classified from features in seconds, while a net that is trained from nothing needs
thousands. Recipe and figures: docs/training.md.
"""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from edgepress.toolkit.data.threads import in_threads
from edgepress.toolkit.data.types import Split
from edgepress.toolkit.truth import is_multilabel, strata

Floats = npt.NDArray[np.float32]
INVERSE_PENALTY = 0.01
"""Inverse of the weight of the squared coefficients, for standardized features."""
LEAST_DEVIATION = 0.05
"""What is added to the standard deviation of a feature, so that one that hardly varies stays small."""
ITERATIONS = 100
"""Most iterations of the solver."""
HEAD_ITEMS = 20_000
"""Most training items that the classifier is fitted to, so that features and time stay bounded."""
SURE = 4.0
"""Logit of a label that all training items have; its probability is 0.98."""
BATCH = 32
"""Items whose features are computed at once."""
WORKERS = 4
"""Threads that read items."""


@dataclasses.dataclass(frozen=True)
class Body:
    """A net from its input to the features before its classifier, in inference mode.

    Attributes:
        run: From float32 items, shape (n, *item shape), to features, shape (n, f): operations of TensorFlow.
        variables: What the second step trains, variables of TensorFlow in order from the input to the features.
    """

    run: Callable[[Any], Any]
    variables: Sequence[Any]


def keras_body(model: Any) -> tuple[Body, list[Any]]:
    """The body of a Keras model whose last layer is its classifier, and that layer's kernel and bias.

    Batch normalization uses its moving statistics also while the body is trained; only its scale and shift are learned.
    """
    import keras

    head = model.layers[-1]
    inner = keras.Model(model.inputs[0], head.input)
    variables, head_variables = ([v.value for v in layer.trainable_variables] for layer in (inner, head))
    return Body(lambda items: inner(items, training=False), variables), head_variables


def frozen_features(body: Body, split: Split, *, flipped: bool = False, rows: npt.ArrayLike | None = None) -> Floats:
    """The features of items of a split, in order: float32, shape (n, f).

    Args:
        body: The net.
        split: The items, images if they are to be flipped.
        flipped: Mirror each image from left to right.
        rows: The items by row of the split, int64, shape (n,); None for all.
    """
    import tensorflow as tf

    shape = split.read(slice(0, 1)).shape[1:]
    run = tf.function(body.run, input_signature=[tf.TensorSpec((None, *shape), tf.float32)], autograph=False)

    def read(part: npt.NDArray[np.int64]) -> Floats:
        x = split.read(part).astype(np.float32)
        return np.ascontiguousarray(x[:, :, ::-1]) if flipped else x

    chosen = np.arange(len(split)) if rows is None else np.asarray(rows)
    parts = [chosen[start : start + BATCH] for start in range(0, len(chosen), BATCH)]
    return np.concatenate([run(x).numpy() for x in in_threads(read, parts, most=WORKERS)])


def spread_rows(y: npt.NDArray[np.int64], most: int = HEAD_ITEMS) -> npt.NDArray[np.int64]:
    """Rows of at most so many items, as evenly over the classes or labels as these allow, in order."""
    if len(y) <= most:
        return np.arange(len(y))
    y = strata(y)
    place = np.empty(len(y), np.int64)  # of each item in its class
    for label in np.unique(y):
        rows = np.flatnonzero(y == label)
        place[rows] = np.arange(len(rows))
    return np.sort(np.argsort(place, kind="stable")[:most])


def fit_head(
    features: Floats, y: npt.NDArray[np.int64], *, classes: int, weights: Floats | None = None
) -> tuple[Floats, Floats]:
    """Fit logistic regression to standardized features; returns it for the features as they are.

    Labels that do not exclude each other have one of their own each.

    Args:
        features: Shape (n, f).
        y: Classes, shape (n,), every one of which occurs; or rows of 0 and 1 for each label, shape (n, classes).
        classes: Number of classes, >= 2.
        weights: Weight of each class, shape (classes,); None if all weigh the same.

    Returns:
        Kernel (f, classes) and bias (classes,) of a dense layer before softmax, or before sigmoids.
    """
    if is_multilabel(y):
        return _fit_labels(features, y)
    from sklearn.linear_model import LogisticRegression

    mean = features.mean(axis=0)
    deviation = features.std(axis=0) + LEAST_DEVIATION
    model = LogisticRegression(C=INVERSE_PENALTY, max_iter=ITERATIONS)
    with warnings.catch_warnings(action="ignore"):  # it need not converge: more iterations change no answer
        model.fit((features - mean) / deviation, y, None if weights is None else weights[y])
    kernel = model.coef_ / deviation
    bias = model.intercept_ - kernel @ mean
    if classes == 2:  # one row of coefficients, which is the difference of both classes
        kernel, bias = (np.concatenate([-a / 2, a / 2]) for a in (kernel, bias))
    return kernel.T.astype(np.float32), bias.astype(np.float32)


def _fit_labels(features: Floats, y: npt.NDArray[np.int64]) -> tuple[Floats, Floats]:
    """Kernel and bias of a dense layer before sigmoids; a label that all items have, or none, depends on no feature.

    Args:
        features: Shape (n, f).
        y: Rows of 0 and 1 for each label, shape (n, labels).
    """
    kernel = np.zeros((features.shape[1], y.shape[1]), np.float32)
    bias = np.where(y[0] == 1, SURE, -SURE).astype(np.float32)
    for label in np.flatnonzero(y.min(axis=0) != y.max(axis=0)).tolist():
        absent_and_present, biases = fit_head(features, y[:, label], classes=2)
        kernel[:, label] = absent_and_present[:, 1] - absent_and_present[:, 0]
        bias[label] = biases[1] - biases[0]
    return kernel, bias
