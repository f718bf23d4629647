"""Fit what the contract says of a file's answers, from its scores of items with labels.

A promised error is measured on all items, in an order of thresholds that no label has chosen (`by_rank`). Where items
must choose references, and for a promised rejection, they are divided once: a quarter fits, and the rest, which chose
nothing, measures the promise. The promise does not depend on the temperature of the contract, which all items fit: what
is accepted follows from the scores themselves.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from edgepress.converters.numeric.metrics import LEAST_FIT, NONE, cross_fit, negative_log_likelihood
from edgepress.runtime.acceptance import Acceptance, AnswerLimits
from edgepress.runtime.drift import DriftReference, edges_of
from edgepress.toolkit.measurement.calibrating.references import ROUNDING, Wish, divide_items, with_references
from edgepress.toolkit.stats.acceptance import (
    Accepted,
    bound_error,
    bound_rejection,
    by_rank,
    least_items_to_promise,
    outcome_at,
    upper_bound,
)

LIMITS = (0.002, 0.005, *(n / 100 for n in range(1, 10)), 0.1, 0.12, 0.15, 0.2, 0.25, *(n / 10 for n in range(3, 10)))
"""Errors that are tried, if the wanted one can't be promised."""

Scores = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Fit:
    """What was fitted, and what it is worth.

    Attributes:
        limits: What the contract gets; without `accept` if nothing can be promised.
        items: Number of items that measured the promise.
        accuracy: Share of right answers among them, 0-1.
        ece: Expected calibration error of all items before and after, 0-1: after, by fits to other items.
        nll: Mean negative log-likelihood of the same before and after.
        reachable: Without `accept`, the smallest limit that could be promised, 0-1.
        drift: How certain the answers are, for a board to notice that images change; None without `accept`.
        tied: Without `accept`, if that is why no error can be promised: the number of answers that have the highest
            certainty of all, so that no threshold lies between them.
        tied_wrong: How many of these are wrong.
        missing: Without `accept`: for a promised error, the least number of accepted items that it needs; for a
            promised rejection, the number of further items that it needs.
        auroc: With unknown items, how well each score tells them from known ones, 0-1: the certainty, and the
            similarity to references; None without.
        unknown_accepted: Share of unknown items that are accepted, 0-1; None without unknown items.
    """

    limits: AnswerLimits
    items: int
    accuracy: float
    ece: tuple[float, float]
    nll: tuple[float, float]
    reachable: float | None = None
    missing: int | None = None
    auroc: tuple[float, float] | None = None
    unknown_accepted: float | None = None
    tied: int | None = None
    tied_wrong: int | None = None
    drift: DriftReference | None = None


def fit(
    scores: Scores,
    y: Ints,
    wish: Wish,
    *,
    engine: str,
    data: str = "",
    decided: Ints | None = None,
    unknown: Scores | None = None,
) -> Fit:
    """Fit temperature, references and threshold.

    Args:
        scores: Scores of items, float32, shape (N, labels).
        y: Their labels, int64, shape (N,).
        wish: What shall be promised.
        engine: The engine that answered.
        data: Where the items came from.
        decided: The class that the file decides for each item; None: the one with the highest score.
        unknown: Scores of items that are of none of the labels, shape (M, labels).

    Raises:
        InputError: There are too few items to divide.
    """
    decided = scores.argmax(axis=1) if decided is None else decided
    wrong = decided != y
    fits, others = divide_items(len(y))
    limits = AnswerLimits()
    auroc = None
    if unknown is not None and scores.shape[1] > 1:
        limits, auroc = with_references(limits, scores, unknown, fits, others, wish)
    measures = rows_that_measure(limits, len(y), wish)
    limits, missing = with_acceptance(limits, scores, y, wish, engine=engine, data=data, decided=decided)
    tied, tied_wrong = _count_ties(limits, scores[measures], wrong[measures], wish) or (None, None)
    limits, ece, nll = _with_temperature(limits, scores, y, decided)
    return Fit(
        limits,
        len(measures),
        float(1 - wrong[measures].mean()),
        ece,
        nll,
        reachable=None if missing is None else missing[0],
        missing=None if missing is None else missing[1],
        auroc=auroc,
        unknown_accepted=_share_accepted(limits, unknown),
        tied=tied,
        tied_wrong=tied_wrong,
        drift=None if limits.accept is None else _drift(limits, scores[fits], scores[others], engine),
    )


def rows_that_measure(limits: AnswerLimits, items: int, wish: Wish) -> Ints:
    """The rows of the items that measure a promise: those that have chosen nothing for it.

    Args:
        limits: The references, if there are any.
        items: Number of all items.
        wish: What shall be promised.
    """
    none_chose = wish.promise == "error" and limits.unknown is None
    return np.arange(items) if none_chose else divide_items(items)[1]


def _with_temperature(
    limits: AnswerLimits, scores: Scores, y: Ints, decided: Ints
) -> tuple[AnswerLimits, tuple[float, float], tuple[float, float]]:
    """The limits with the temperature of all items, and calibration error and likelihood before and after."""
    if len(y) < LEAST_FIT:
        before = after = NONE.probabilities(scores)
    else:
        fitted = cross_fit(scores, y)
        limits = replace(limits, probability=fitted.temperature)
        before = NONE.probabilities(scores)
        after = fitted.held_out
    return (
        limits,
        (expected_error(before, y, decided), expected_error(after, y, decided)),
        (negative_log_likelihood(before, y), negative_log_likelihood(after, y)),
    )


def _drift(limits: AnswerLimits, fits: Scores, measures: Scores, engine: str) -> DriftReference:
    """The reference for drift: items that fit set the bins, the others are counted."""
    return DriftReference.of(edges_of(limits.certainty(fits)), limits.certainty(measures), engine)


def _count_ties(
    limits: AnswerLimits, scores: Scores, wrong: npt.NDArray[np.bool_], wish: Wish
) -> tuple[int, int] | None:
    """Number of answers with the highest certainty, and of wrong ones, if these alone rule a promised error out."""
    certainty = limits.certainty(scores).astype(np.float64)
    if limits.accept is not None or wish.promise != "error" or not np.isfinite(certainty).any():
        return None
    top = outcome_at(float(np.max(certainty)), certainty, wrong, wish.confidence)
    enough = least_items_to_promise(wish.limit, wish.confidence)
    return (top.accepted, top.errors) if top.accepted >= enough and top.upper > wish.limit else None


def _share_accepted(limits: AnswerLimits, unknown: Scores | None) -> float | None:
    """Share of the unknown items that chose nothing that is accepted."""
    if unknown is None or limits.accept is None:
        return None
    _, reports = divide_items(len(unknown), share=0.5, what="unknown items")
    accepted = limits.accepted(unknown[reports])
    assert accepted is not None
    return float(accepted.mean())


def with_acceptance(
    limits: AnswerLimits,
    scores: Scores,
    y: Ints,
    wish: Wish,
    *,
    engine: str,
    data: str = "",
    decided: Ints | None = None,
) -> tuple[AnswerLimits, tuple[float, int] | None]:
    """The limits with what is accepted, or why nothing can be: the reachable limit, and the missing items.

    Args:
        limits: The references, of items that fit (`divide_items`), if there are any.
        scores: Scores of all items, shape (N, labels).
        y: Their labels, shape (N,).
        wish: What shall be promised.
        engine: The engine that answered.
        data: Where the items came from.
        decided: The class that the file decides for each item, shape (N,); None: the one with the highest score.
    """
    decided = scores.argmax(axis=1) if decided is None else decided
    measures = rows_that_measure(limits, len(y), wish)
    certainty = limits.certainty(scores[measures]).astype(np.float64)
    wrong = (decided != y)[measures]
    if wish.promise == "rejected":
        outcome = _rejection(certainty, wrong, limits, wish)
        problem = None if outcome else _rejection_missing(len(y), limits, wish)
    else:

        def bounded(limit: float) -> Accepted | None:
            thresholds = by_rank(certainty, limit=limit, confidence=wish.confidence) - ROUNDING
            return bound_error(certainty, wrong, thresholds, limit=limit, confidence=wish.confidence)

        outcome = bounded(wish.limit)
        problem = None if outcome else _error_missing(bounded, wish)
    if outcome is None:
        return limits, problem
    accept = Acceptance(
        at_least=max(-1.0, outcome.at_least),
        promise=wish.promise,
        limit=wish.limit,
        confidence=wish.confidence,
        items=outcome.items,
        accepted=outcome.accepted,
        errors=outcome.errors,
        upper=min(wish.limit, outcome.upper),
        engine=engine,
        data=data,
    )
    return replace(limits, accept=accept), None


def _rejection(certainty: Floats, wrong: npt.NDArray[np.bool_], limits: AnswerLimits, wish: Wish) -> Accepted | None:
    """The threshold that rejects few items, if there are enough to promise it."""
    limit, confidence = _certainty_share(limits, wish)
    finite = np.where(np.isfinite(certainty), certainty, 1.0)
    threshold = bound_rejection(finite, limit=limit, confidence=confidence)
    if threshold is None:
        return None
    outcome = outcome_at(threshold - ROUNDING, certainty, wrong, wish.confidence)
    return replace(outcome, upper=upper_bound(outcome.items - outcome.accepted, outcome.items, wish.confidence))


def _certainty_share(limits: AnswerLimits, wish: Wish) -> tuple[float, float]:
    """The limit and the confidence of what certainty rejects; half of limit and doubt is for references."""
    parts = 1 if limits.unknown is None else 2
    return wish.limit / parts, 1 - (1 - wish.confidence) / parts


def _rejection_missing(items: int, limits: AnswerLimits, wish: Wish) -> tuple[float, int]:
    """The smallest rejection that so many items can promise, and how many items are missing."""
    limit, confidence = _certainty_share(limits, wish)
    parts = wish.limit / limit
    reachable = parts * upper_bound(0, len(divide_items(items)[1]), confidence)
    least = least_items_to_promise(limit, confidence)
    enough = items
    while len(divide_items(enough)[1]) < least:
        enough += least - len(divide_items(enough)[1])
    return reachable, enough - items


def _error_missing(bounded: Callable[[float], Accepted | None], wish: Wish) -> tuple[float, int]:
    """The smallest larger limit that holds, or 1; and the least number of accepted items that the limit needs."""
    larger = [limit for limit in LIMITS if limit > wish.limit]
    reachable = next((limit for limit in larger if bounded(limit) is not None), 1.0)
    return reachable, least_items_to_promise(wish.limit, wish.confidence)


def expected_error(probabilities: Scores, y: Ints, decided: Ints) -> float:
    """The expected calibration error, 0-1, of the class that is decided for each item, int64, shape (N,)."""
    from edgepress.toolkit.stats.metrics import calibration_error

    own = np.take_along_axis(probabilities, decided[:, np.newaxis], axis=1)[:, 0]
    return calibration_error(own, decided == y)
