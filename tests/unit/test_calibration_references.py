"""References that tell unknown items, compared with a plain computation."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.stats import binom
from test_calibration_fit import clustered

from edgepress.runtime.acceptance import AnswerLimits
from edgepress.toolkit.measurement.calibrating import references as module
from edgepress.toolkit.measurement.calibrating.references import FIT_SHARE, Wish, divide_items, with_references

LABELS = 6


def known_and_unknown(items: int, seed: int = 0, strength: float = 5.5) -> tuple[np.ndarray, np.ndarray]:
    """Scores with zeros of items that confuse each class with another, and of others that confuse it with a third."""
    rng = np.random.default_rng(seed)
    y, other = rng.integers(0, LABELS, items), rng.integers(0, LABELS, 101)
    return clustered(rng, y, (y + 1) % LABELS, strength), clustered(rng, other, (other + 3) % LABELS, strength)


def directions(scores: np.ndarray, floor: float) -> np.ndarray:
    logits = np.log(np.maximum(scores.astype(np.float64), floor))
    centred = logits - logits.mean(axis=1, keepdims=True)
    return np.asarray(centred / np.linalg.norm(centred, axis=1, keepdims=True))


def share_above(known: np.ndarray, unknown: np.ndarray) -> float:
    """The share of pairs whose known item has the higher number, pairs of equal ones half."""
    return float((known[:, np.newaxis] > unknown).mean() + (known[:, np.newaxis] == unknown).mean() / 2)


def certainty(scores: np.ndarray) -> np.ndarray:
    limits = AnswerLimits()
    return np.asarray(limits.certainty(scores))


@pytest.mark.parametrize("wish", [Wish("error", 0.02, 0.95), Wish("rejected", 0.1, 0.9)], ids=lambda wish: wish.promise)
@pytest.mark.parametrize(
    ("items", "most_values", "stored"), [(2600, 1 << 20, 300), (900, 1 << 20, 112), (900, 245, 40)]
)
def test_references_are_those_of_a_plain_computation(
    monkeypatch: pytest.MonkeyPatch, wish: Wish, items: int, most_values: int, stored: int
) -> None:
    monkeypatch.setattr(module, "MAX_VALUES", most_values)
    scores, unknown = known_and_unknown(items)
    fits, measures = divide_items(items)
    limits, auroc = with_references(AnswerLimits(), scores, unknown, fits, measures, wish)
    floor = scores[fits][scores[fits] > 0].min() / 2
    assert (scores[fits] == 0).any()
    references = np.rint(127 * directions(scores[fits[:stored]], floor))
    references /= np.linalg.norm(references, axis=1, keepdims=True)

    def similarity(part: np.ndarray) -> np.ndarray:
        return np.asarray((directions(part, floor) @ references.T).max(axis=1))

    known, unlike = scores[fits[stored:]], unknown[divide_items(101, share=0.5)[0]]
    assert len(unlike) == 50
    assert auroc[0] == pytest.approx(share_above(certainty(known), certainty(unlike)), abs=1e-9)
    assert auroc[1] == pytest.approx(share_above(similarity(known), similarity(unlike)), abs=1e-3)
    assert auroc[1] > auroc[0]
    found: Any = limits.unknown
    assert found.floor == pytest.approx(floor)
    assert found.directions.shape == (stored, LABELS)
    np.testing.assert_allclose(found.directions, references, atol=1e-6)
    judged, limit, doubt = (known, 0.05, 0.05) if wish.promise == "error" else (scores[measures], 0.05, 0.05)
    below = binom.cdf(np.arange(len(judged)), len(judged), limit) <= doubt
    least = np.flatnonzero(below)[-1]
    assert found.at_least == pytest.approx(np.sort(similarity(judged))[least], abs=1e-5)
    own = float(np.sort(found.similarity(judged))[least])
    assert found.at_least == pytest.approx(own - 1e-6, abs=1e-8), "boards round logarithms in other ways"


@pytest.mark.parametrize(("limit", "confidence", "items", "given"), [
    (0.1, 0.9, 78, True), (0.1, 0.9, 77, False), (0.2, 0.6, 21, True), (0.2, 0.6, 20, False),
])  # fmt: skip
def test_half_of_a_promised_rejection_is_for_references(
    limit: float, confidence: float, items: int, given: bool
) -> None:
    """A share of 0.05 is promised with 0.95 from 59 measured items on, one of 0.1 with 0.8 from 16 on."""
    scores, unknown = known_and_unknown(items)
    fits, measures = divide_items(items)
    least = int(np.ceil(np.log((1 - confidence) / 2) / np.log(1 - limit / 2)))
    limits, auroc = with_references(
        AnswerLimits(), scores, unknown, fits, measures, Wish("rejected", limit, confidence)
    )
    assert (len(measures) >= least) is given
    assert (limits.unknown is not None) == (given and auroc[1] > auroc[0])


def test_a_promised_error_needs_enough_items_for_the_references() -> None:
    """A twentieth of those that are not references themselves."""
    wish = Wish("error", 0.1, 0.95)
    for items, given in ((4 * 118, True), (4 * 116, False)):
        scores, unknown = known_and_unknown(items)
        limits, auroc = with_references(AnswerLimits(), scores, unknown, *divide_items(items), wish)
        assert auroc[1] > auroc[0]
        assert (limits.unknown is not None) is given


def test_references_that_tell_less_than_certainty_are_left_out() -> None:
    """Unknown items that are unsure and look like known ones."""
    scores, _ = known_and_unknown(900, strength=7.5)
    unsure = scores[:100] ** np.float32(0.5)
    unsure /= unsure.sum(axis=1, keepdims=True)
    given = AnswerLimits()
    limits, auroc = with_references(given, scores, unsure, *divide_items(900), Wish("error", 0.1, 0.95))
    assert auroc[0] > auroc[1]
    assert limits is given


def test_scores_of_floats_have_a_least_floor() -> None:
    scores, unknown = known_and_unknown(900)
    scores = np.where(scores == 0, np.float32(1e-12), scores)
    limits, _ = with_references(AnswerLimits(), scores, unknown, *divide_items(900), Wish("error", 0.1, 0.95))
    assert limits.unknown is not None
    assert limits.unknown.floor == 1e-7


@pytest.mark.parametrize(
    ("items", "share", "fits"), [(8, 0.25, 2), (11, 0.5, 5), (3999, 0.25, 999), (4004, 0.25, 1000)]
)
def test_items_are_divided_by_a_share_of_at_most_a_thousand(items: int, share: float, fits: int) -> None:
    first, second = divide_items(items, share)
    assert (len(first), len(second)) == (fits, items - fits)
    assert sorted([*first, *second]) == list(range(items))
    if share == FIT_SHARE:
        assert divide_items(items)[0].tolist() == first.tolist()
