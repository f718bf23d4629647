"""What the tests of remarks share: the figures of a healthy model, and what is remarked on others."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from edgepress.toolkit.results.remarks.checks import remarks
from edgepress.toolkit.results.remarks.facts import Facts, ImageSizes

ARGUMENTS = {
    "arch": "lenet",
    "epochs": 20,
    "batch_size": 32,
    "learning_rate": 3e-3,
    "class_weights": False,
    "augmentation": "affine",
    "dropout": 0.0,
}


def matrix(supports: list[int], recalls: list[float]) -> Any:
    """A confusion matrix whose mistakes go to the first class, and those of the first to the second."""
    found = np.zeros((len(supports), len(supports)), np.int64)
    for i, (n, recall) in enumerate(zip(supports, recalls, strict=True)):
        found[i, i] = round(n * recall)
        found[i, 1 if i == 0 else 0] += n - round(n * recall)
    return found


def epochs(training: list[float], validation: list[float], losses: list[float] | None = None) -> list[dict[str, float]]:
    losses = losses or [1 - v for v in validation]
    return [
        {"accuracy": a, "val_accuracy": v, "val_loss": loss}
        for a, v, loss in zip(training, validation, losses, strict=True)
    ]


HEALTHY = Facts(
    labels=tuple("abcde"),
    confusion=matrix([72] * 5, [0.99] * 5),
    again=lambda changes: f"again {changes}",
    look="look",
    more="more",
    val_confusion=matrix([36] * 5, [0.98] * 5),
    train_counts=np.full(5, 250),
    history=epochs([0.5 + 0.49 * min(1, i / 10) for i in range(20)], [0.6 + 0.38 * min(1, i / 8) for i in range(20)]),
    arguments=ARGUMENTS,
    is_image=True,
    images=ImageSizes(stored=(28, 28), seen=(28, 28), count=64, resize="stretch"),
)


def facts(**changes: Any) -> Facts:
    return dataclasses.replace(HEALTHY, **changes)


def kinds(found: Facts) -> list[str]:
    return [remark.kind for remark in remarks(found)]
