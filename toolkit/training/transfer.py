"""Transfer learning in two steps: a classifier on frozen features, then the whole net at a low rate.

The second step is left out with `freeze`, and where there are so few items of a class that it would do harm. If time is
short, it trains the last layers alone, or fewer epochs. What was decided is in the checkpoint, so a resumed run repeats
it. Recipe and figures: docs/training.md, `benchmarks/accuracy/transfer.py`.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from edgepress.toolkit.data.types import DataSet, Split
from edgepress.toolkit.training import features as few_items
from edgepress.toolkit.training import fitting
from edgepress.toolkit.training.batches import balanced_weights
from edgepress.toolkit.training.features import Body, FewItems, Floats, fit_head, frozen_features, spread_rows
from edgepress.toolkit.training.fitting import Fitting
from edgepress.toolkit.training.label_kinds import ONE_LABEL, LabelKind, kind_of, loss_and_accuracy
from edgepress.toolkit.training.learners import BODY_RATE, FineTuning, Weights

EPOCHS = 12
"""Default number of epochs of the second step."""
BATCH_SIZE = 32
"""Default of its batch size."""
LEARNING_RATE = 1e-3
"""Default of its highest learning rate, that of the classifier."""
SMALL = 1_000_000
"""Parameters below which a body is small: it learns little in an epoch and overfits little, so that it is trained for
longer, as fast as its classifier, and without dropout."""
SMALL_EPOCHS = 60
"""Most epochs of a small body."""
SMALL_ITEMS = 100_000
"""Training items that a small body sees by default, if these are no more than `SMALL_EPOCHS` nor less than `EPOCHS`."""
FEW = 50
"""Mean number of training items of a class up to which the first step is all: more lost test accuracy."""
WHOLE = 2 / 3
"""Share of the planned epochs that the time must allow for all layers; otherwise the last ones are trained alone."""


def is_few(data: DataSet) -> bool:
    """Whether a class has so few training items, in the mean, that only the classifier is trained."""
    return len(data.train) <= FEW * len(data.labels)


def small_defaults(items: int) -> dict[str, Any]:
    """What a small body is trained with, unless the user says otherwise, on so many training items."""
    epochs = max(EPOCHS, min(SMALL_EPOCHS, SMALL_ITEMS // max(items, 1)))
    return {"epochs": epochs, "dropout": 0.0}


def fit_classifier(
    body: Body, head: list[Any], data: DataSet, *, flipped: bool, weights: Weights
) -> tuple[dict[str, float], FewItems | None]:
    """The first step: set kernel and bias of a classifier.

    Args:
        body: The net up to its features.
        head: Kernel and bias, variables of TensorFlow.
        data: The data.
        flipped: Learn from mirrored images, too.
        weights: Weight of each class.

    Returns:
        Its row of the history, epoch 0; and what cross-validation of training and validation items says, if the test
        split is small, each class has enough items, and items have one label each.
    """
    started = time.monotonic()
    rows = spread_rows(data.train.y)
    y = data.train.y[rows]
    plain = frozen_features(body, data.train, rows=rows)
    mirrored = frozen_features(body, data.train, rows=rows, flipped=True) if flipped else None
    features = plain if mirrored is None else np.concatenate([plain, mirrored])
    again = np.arange(len(features)) % len(y)
    values = fit_head(features, y[again], classes=len(data.labels), weights=weights)
    for variable, value in zip(head, values, strict=True):
        variable.assign(value)
    val_features = frozen_features(body, data.val)
    kernel, bias = values
    kind = kind_of(data)
    train = loss_and_accuracy(kind.scores(plain @ kernel + bias), y)
    val = loss_and_accuracy(kind.scores(val_features @ kernel + bias), data.val.y)
    row = {"epoch": 0, "loss": train["val_loss"], "accuracy": train["val_accuracy"], **val, "learning_rate": 0.0}
    judged = None
    if len(data.test) < few_items.FEW and not data.multilabel:
        also = None if mirrored is None else np.concatenate([mirrored, frozen_features(body, data.val, flipped=True)])
        splits = data.train.take(rows), data.val
        judged = _judge(np.concatenate([plain, val_features]), also, splits, balanced=weights is not None)
    return row | {"seconds": round(time.monotonic() - started, 3)}, judged


def _judge(features: Floats, mirrored: Floats | None, splits: Sequence[Split], *, balanced: bool) -> FewItems | None:
    """What cross-validation says of the classifier on the features of these splits, one after the other.

    Args:
        features: Features of all their items, shape (n, f).
        mirrored: Those of the mirrored images, if these are learned from, too.
        splits: The splits.
        balanced: Weight each class by the inverse of its number of items, as in the training.
    """

    def fit(features: Floats, y: npt.NDArray[np.int64]) -> tuple[Floats, Floats]:
        classes = len(np.unique(y))
        return fit_head(features, y, classes=classes, weights=balanced_weights(y, classes) if balanced else None)

    y = np.concatenate([split.y for split in splits])
    rows = np.sort(np.random.default_rng(0).permutation(len(y))[: few_items.MOST])
    groups = [split.groups for split in splits if split.groups is not None]
    return few_items.judge_few_items(
        features[rows],
        y[rows],
        fit,
        groups=np.concatenate(groups)[rows] if groups else None,
        mirrored=None if mirrored is None else mirrored[rows],
    )


def last_layers(body: Body) -> Body:
    """The same body, of which the later half of the variables is trained."""
    return dataclasses.replace(body, variables=body.variables[len(body.variables) // 2 :])


def plan_time(make: Callable[[Body], Fitting], body: Body, *, epochs: int, seconds: float) -> dict[str, Any]:
    """What the second step does in a time: all layers in as many epochs as planned or nearly so, else the last layers.

    Args:
        make: Makes the fitting of a body.
        body: The whole body.
        epochs: Planned epochs.
        seconds: Time for it.
    """
    whole = fitting.epochs_in(make(body), seconds)
    if whole >= WHOLE * epochs:
        return {"epochs": min(epochs, whole), "layers": "all"}
    part = fitting.epochs_in(make(last_layers(body)), seconds)
    return {"epochs": max(0, min(epochs, part)), "layers": "last"}


def fine_tuning(
    body: Body,
    head: list[Any],
    arguments: dict[str, Any],
    *,
    weights: Weights,
    taught: bool,
    kind: LabelKind = ONE_LABEL,
) -> FineTuning:
    """The learner of the second step, with the arguments of a run."""
    options = {name: arguments[name] for name in ("learning_rate", "dropout", "seed")}
    options["body_rate"] = 1.0 if arguments.get("small") else BODY_RATE
    return FineTuning(body, head, weights=weights, has_teacher=taught, kind=kind, **options)
