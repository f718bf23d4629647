"""Repeat the promise of an old file for a new one, and count how often the new file is right on new items."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgepress.runtime.acceptance import Acceptance
from edgepress.toolkit.calibrating.calibrate import Calibrated, answers_to, calibrate
from edgepress.toolkit.data.types import DataSet
from edgepress.toolkit.stats.acceptance import upper_bound


@dataclass(frozen=True)
class NewAnswers:
    """The answers of a file with a promise to held-out new items, a part of the items that the promise was measured on.

    Attributes:
        file: The calibrated file.
        items: Number of these items.
        accepted: How many of the answers it accepts.
        wrong: How many of these are wrong.
        at_most: Upper bound of the share of wrong ones among the accepted, 0-1.
        confidence: Confidence of the promise, 0-1.
    """

    file: Path
    items: int
    accepted: int
    wrong: int
    at_most: float
    confidence: float


def promise_again(file: Path, accept: Acceptance, data: DataSet) -> Calibrated:
    """A new file with the promise of an old one, measured anew on old and new items."""
    wish: dict[str, Any] = {"max_error" if accept.promise == "error" else "max_rejected": accept.limit}
    results: list[Calibrated] = calibrate(file, data=data, confidence=accept.confidence, engine=accept.engine, **wish)
    return results[0]


def new_answers(calibrated: Calibrated, fresh: DataSet) -> NewAnswers:
    """What a calibrated file answers to held-out new items."""
    path = calibrated.path
    accept = calibrated.fit.limits.accept
    assert path is not None and accept is not None  # noqa: PT018
    right, accepted = answers_to(path, fresh, engine=calibrated.engine)
    wrong = int((accepted & ~right).sum())
    bound = upper_bound(wrong, int(accepted.sum()), accept.confidence)
    return NewAnswers(path, len(right), int(accepted.sum()), wrong, bound, accept.confidence)
