"""The items of a calibration: which fit and which measure, what is promised, and what known items look like."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from edgepress.runtime.acceptance import (
    MAX_VALUES,
    AnswerLimits,
    Promise,
    Unknown,
    certainty_of,
    directions_of,
    stored_directions,
)
from edgepress.toolkit.errors import InputError
from edgepress.toolkit.stats.acceptance import bound_rejection

LEAST_ITEMS = 8
"""Fewer items can't be divided."""
FIT_SHARE = 0.25
"""Share of the items that chooses thresholds and references; the rest measures the promise."""
MOST_FIT = 1000
"""Most items that choose them."""
ROUNDING = 1e-6
"""By how much thresholds are lowered, because boards round logarithms in other ways."""
SEED = 0
"""The seed by which items are divided, so that each command divides them alike."""


@dataclass(frozen=True)
class Wish:
    """What shall be promised.

    Attributes:
        promise: On the error of accepted answers, or on the share of rejected items.
        limit: The promised share, above 0 and below 1.
        confidence: Probability that the promise holds, 0-1.
    """

    promise: Promise
    limit: float
    confidence: float


def divide_items(items: int, share: float = FIT_SHARE, what: str = "items") -> tuple[Ints, Ints]:
    """Rows of items that fit, and of those that measure, int64, always the same.

    Raises:
        InputError: There are fewer than eight.
    """
    if items < LEAST_ITEMS:
        raise InputError(f"There are {items} {what}; at least {LEAST_ITEMS} are needed.", "Give more images.")
    rows = np.random.default_rng(SEED).permutation(items)
    count = min(MOST_FIT, int(share * items))
    return rows[:count], rows[count:]


REFERENCES = 300
"""Number of reference answers that are stored."""
KNOWN_REJECTED = 0.05
"""Share of known items that the references may reject, if no other limit is given."""
LEAST_FLOOR = 1e-7
"""Smaller scores of float files are taken for this."""

Scores = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]


def with_references(
    limits: AnswerLimits, scores: Scores, unknown: Scores, fits: Ints, measures: Ints, wish: Wish
) -> tuple[AnswerLimits, tuple[float, float]]:
    """The limits with references if they tell unknown items better than certainty does; the AUROC of both.

    Half of the items that fit become references, the other half is compared with them. The similarity that few known
    items fall below comes from the second half, too; that of a promised rejection from the items that measure.
    """
    chooses, _ = divide_items(len(unknown), share=0.5, what="unknown items")
    labels = scores.shape[1]
    stored = fits[: min(REFERENCES, MAX_VALUES // labels, len(fits) // 2)]
    known = scores[fits[len(stored) :]]
    unlike = unknown[chooses]
    positive = scores[fits][scores[fits] > 0]
    floor = max(LEAST_FLOOR, float(np.min(positive)) / 2) if len(positive) else LEAST_FLOOR
    references = Unknown(
        references=stored_directions(directions_of(scores[stored], floor)), labels=labels, at_least=-2.0, floor=floor
    )
    rejected = KNOWN_REJECTED
    confidence = wish.confidence
    judged = known
    if wish.promise == "rejected":
        rejected = wish.limit / 2
        confidence = 1 - (1 - wish.confidence) / 2
        judged = scores[measures]
    similarity = references.similarity(judged).astype(np.float64)
    threshold = bound_rejection(similarity, limit=rejected, confidence=confidence)
    if threshold is not None:
        references = replace(references, at_least=threshold - ROUNDING)
    certain = [certainty_of(part) for part in (known, unlike)]
    similar = [references.similarity(part) for part in (known, unlike)]
    auroc = (_auroc(*certain), _auroc(*similar))
    better = auroc[1] > auroc[0] and threshold is not None
    return (replace(limits, unknown=references) if better else limits), auroc


def _auroc(known: Scores, unknown: Scores) -> float:
    """The probability that a known item has a higher score than an unknown one."""
    from sklearn.metrics import roc_auc_score

    labels = np.concatenate([np.ones(len(known)), np.zeros(len(unknown))])
    return float(roc_auc_score(labels, np.concatenate([known, unknown])))
