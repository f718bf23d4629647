"""A variant beside its parent: what is measured, what is refused, and on what items."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgepress.converters.proof.compare import (
    EXACT_DB,
    SEEDED,
    beside_rounded,
    compare,
    seeded_items,
    shortcoming,
    weighted_agreement,
)
from edgepress.converters.schemes import SCHEMES
from edgepress.converters.variant import Variant, across
from edgepress.runtime import InputSpec
from edgepress.runtime.model import softmax

N, C = 64, 10


def logits(seed: int = 0, *, common: float = 0.0) -> Any:
    """Logits of `N` items, of which `common` is the size of what is the same for all items."""
    rng = np.random.default_rng(seed)
    return (rng.normal(0, 3, (N, C)) + common * rng.normal(0, 3, C)).astype(np.float32)


def noise(size: float, seed: int = 9) -> Any:
    return np.random.default_rng(seed).normal(0, size, (N, C)).astype(np.float32)


def verdict(true: Any, other: Any, scheme: str, *, on: str = "x", rounded: Any = None) -> str:
    """The verdict on logits, given as what a file computes before softmax."""
    found = compare(softmax(true), softmax(other), on=on, end="softmax", before_end=other)
    if rounded is not None:
        found = beside_rounded(found, compare(softmax(rounded), softmax(other), on=on, end="softmax", before_end=other))
    return shortcoming(found, SCHEMES[scheme])


def test_what_verification_measures_and_refuses() -> None:
    parent = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]], np.float32)
    same = compare(parent, parent, on="x")
    assert (same.agreement, same.max_error, same.sqnr_db, same.spread_db) == (1.0, 0.0, None, EXACT_DB)
    assert (same.slope, same.correlation, same.weighted_agreement) == pytest.approx((1, 1, 1))
    assert all(shortcoming(same, scheme) == "" for scheme in SCHEMES.values())
    near = compare(parent, parent + np.float32(0.003), on="x")
    assert near.sqnr_db == pytest.approx(20 * np.log10(np.sqrt((parent**2).mean()) / 0.003), abs=0.05)
    assert near.spread_db == pytest.approx(20 * np.log10(parent.std(axis=0)[0] / 0.003), abs=0.05)
    assert "of the largest" in shortcoming(near, SCHEMES["tflite-float32"])
    assert shortcoming(near, SCHEMES["tflite-int8"]) == ""
    swapped = compare(parent, parent[:, ::-1], on="x")
    assert swapped.agreement == 0.0
    assert "top-1 agreement 0.0%" in shortcoming(swapped, SCHEMES["onnx-int8"])


def test_what_is_the_same_for_all_items_proves_nothing() -> None:
    """A file that loses the items, and keeps the pattern that all answers share, has a high SQNR."""
    true = logits(common=10)
    constant = np.repeat(true.mean(axis=0, keepdims=True), N, axis=0)
    found = compare(true, constant, on="x")
    assert found.sqnr_db is not None
    assert found.sqnr_db > 15
    assert found.spread_db == pytest.approx(0, abs=0.1)
    assert found.weighted_agreement is None or found.weighted_agreement <= 0
    assert "below their spread" in shortcoming(found, SCHEMES["tflite-int8"])


@pytest.mark.parametrize(("scheme", "size"), [("onnx-int8", 0.7), ("tflite-float16", 0.1), ("tflite-int16x8", 0.2)])
def test_noise_is_judged_by_the_scheme(scheme: str, size: float) -> None:
    true = logits()
    assert verdict(true, true + noise(size), scheme) == ""
    assert "below their spread" in verdict(true, true + noise(3 * size), scheme)


@pytest.mark.parametrize(
    ("figure", "refused", "accepted"),
    [
        ("spread_db", 6.9, 7.1),
        ("offset_db", 23.9, 24.1),
        ("weighted_agreement", 0.91, 0.93),
        ("end_error", 0.11, 0.09),
    ],
)
@pytest.mark.parametrize("scheme", ["onnx-int8", "tflite-dynamic"])
def test_bounds_of_eight_bits(figure: str, refused: float, accepted: float, scheme: str) -> None:
    true = logits()
    same = dataclasses.replace(compare(true, true, on="x"), agreement_error=0.0)
    for value, wrong in ((refused, True), (accepted, False)):
        assert bool(shortcoming(dataclasses.replace(same, **{figure: value}), SCHEMES[scheme])) == wrong
    if figure != "end_error":  # near the source model with rounded weights
        name = {"spread_db": "rounded_db", "offset_db": "rounded_offset_db"}.get(figure, "rounded_agreement")
        explained = dataclasses.replace(same, **{figure: refused, name: accepted})
        assert shortcoming(explained, SCHEMES[scheme]) == ""


@pytest.mark.parametrize(
    ("scheme", "bound"), [("tflite-float32", 60), ("onnx-float16", 24), ("tflite-int16x8", 20), ("tflite-int8", 7)]
)
def test_bounds_of_noise(scheme: str, bound: float) -> None:
    true = logits()
    same = compare(true, true, on="x")
    for value, wrong in ((bound - 0.1, True), (bound + 0.1, False)):
        assert bool(shortcoming(dataclasses.replace(same, spread_db=value), SCHEMES[scheme])) == wrong


def test_noise_that_rounding_the_weights_explains_is_no_fault() -> None:
    true, scheme = logits(), "tflite-dynamic"
    rounded = true + noise(1.5)
    assert "below their spread" in verdict(true, rounded, scheme)
    assert "rounding to eight bits does not explain" in verdict(true, rounded, scheme, rounded=true + noise(1, seed=8))
    assert verdict(true, rounded + noise(0.2, seed=7), scheme, rounded=rounded) == ""


def test_answers_that_rounding_destroys_are_refused_on_data_only() -> None:
    true, other = logits(0), logits(1)
    assert "eight bits are too few" in verdict(true, other, "tflite-int8", rounded=other)
    assert verdict(true, other, "tflite-dynamic", on="seeded", rounded=other) == ""


def test_wrong_labels_are_refused_where_the_noise_is_small() -> None:
    """An output that ends too early: large logits are cut off, and the labels on top are mixed up."""
    rng = np.random.default_rng(0)
    true = rng.normal(0, 3, (N, 100)).astype(np.float32)
    cut = np.minimum(true, np.float32(4.5))
    found = compare(true, cut, on="x")
    assert found.spread_db is not None
    assert found.spread_db > 13
    assert "does not explain" in shortcoming(found, SCHEMES["tflite-int8"])
    unsure = dataclasses.replace(found, agreement_error=0.5)  # few items: chance may be at fault
    assert shortcoming(unsure, SCHEMES["tflite-int8"]) == ""


@pytest.mark.parametrize("factor", [2.0, 0.5])
def test_a_wrong_scale_is_named(factor: float) -> None:
    true = logits()
    found = compare(softmax(true), softmax(true * factor), on="x", end="softmax", before_end=true * factor)
    assert (found.agreement, found.slope) == (1.0, pytest.approx(factor))
    assert f"{factor:.2f} times as large" in shortcoming(found, SCHEMES["onnx-int8"])


def test_disagreements_count_by_the_certainty_of_the_source() -> None:
    close = np.array([[5, 4.99, 0], [0, 5, 4.99], [5, 0, 4.99], [4.99, 0, 5]])
    certain = np.array([[5, 0, 4.99], [0, 5, 4.99], [5, 4.99, 0], [4.99, 5, 0]])
    swapped = close.copy()
    swapped[0, :2] = swapped[0, 1::-1]  # the second best label, nearly as good
    worst = close.copy()
    worst[0] = worst[0, ::-1] + [0, 0, 1]  # the worst label
    (mild, error), (severe, _) = (weighted_agreement(close, other, "") for other in (swapped, worst))
    assert mild is not None
    assert severe is not None
    assert severe < 0.7 < 0.99 < mild < 1
    assert error == pytest.approx((1 - mild) * 4 * np.sqrt(3) / 4 / 2)  # one item of four is wrong
    assert weighted_agreement(certain, np.zeros((4, 3)), "")[0] == pytest.approx(0)
    assert weighted_agreement(np.array([[3.0, 1.0]] * 4), np.array([[2.0, 1.0]] * 4), "") == (None, None)


def test_agreement_of_independent_labels() -> None:
    true = np.array([[3.0, -3.0], [-3.0, 3.0], [0.1, -2.0], [-2.0, 3.0]])
    nearly = np.where(np.abs(true) < 1, -true, true)
    agreement, _ = weighted_agreement(true, nearly, "sigmoid")
    assert agreement == pytest.approx(0.98, abs=0.02)
    assert weighted_agreement(true, -true, "sigmoid")[0] < 0  # type: ignore[operator]


def test_an_error_that_softmax_hides_is_seen() -> None:
    true = np.array([[30, 0, -5], [-8, 25, 1]], np.float32)
    wrong = true * np.float32(1.01)
    assert np.abs(softmax(true) - softmax(wrong)).max() < 1e-4
    assert "before softmax" in verdict(true, wrong, "tflite-float32")
    assert verdict(true, wrong, "tflite-float16") == ""
    assert verdict(true, true * np.float32(1 + 1e-6), "tflite-float32") == ""
    assert verdict(true, true + 1, "tflite-float32") == ""  # the same for all labels: softmax ignores it


def test_noise_that_softmax_hides_is_seen() -> None:
    rng = np.random.default_rng
    true = rng(0).normal(0, 1, (20, 3)).astype(np.float32) + np.array([0, 40, 0], np.float32)
    noisy = true + rng(1).uniform(-15, 15, true.shape).astype(np.float32)
    assert not compare(softmax(true), softmax(noisy), on="x").varies
    assert "below their" in verdict(true, noisy, "onnx-dynamic")


def test_other_labels_on_saturated_seeded_items_are_refused() -> None:
    rng = np.random.default_rng(0)
    source, other = (np.eye(10, dtype=np.float32)[rng.integers(0, 10, 64)] for _ in range(2))
    for scheme in ("tflite-int8", "tflite-dynamic"):
        assert shortcoming(compare(source, other, on=SEEDED, end="softmax"), SCHEMES[scheme])
        few = np.concatenate([source[:56], other[56:]])
        assert not shortcoming(compare(source, few, on=SEEDED, end="softmax"), SCHEMES[scheme])


def test_saturated_probabilities_are_no_proof() -> None:
    true = np.eye(3, dtype=np.float32)[[0, 1, 2, 0]]
    found = compare(true, true, on="x", end="softmax")
    assert found.saturated
    assert (found.sqnr_db, found.spread_db, found.agreement) == (None, None, 1.0)
    assert not compare(softmax(logits()), softmax(logits()), on="x", end="softmax").saturated


def test_a_shift_of_all_answers_is_seen() -> None:
    true, scheme = logits(), SCHEMES["onnx-int8"]
    shift = np.random.default_rng(5).normal(0, 0.45, C).astype(np.float32)
    found, scattered = (compare(true, true + error, on="x") for error in (shift, noise(0.45)))
    assert found.spread_db == pytest.approx(scattered.spread_db, abs=3)
    assert "shifted" in shortcoming(found, scheme)
    assert shortcoming(scattered, scheme) == ""
    explained = beside_rounded(found, compare(true + shift, true + shift + noise(0.3), on="x"))
    assert shortcoming(explained, scheme) == ""


@pytest.mark.parametrize("count", [4, 8, 16])
def test_few_items_with_independent_noise_are_not_shifted(count: int) -> None:
    """The mean of the noise of few items is large by chance."""
    kept = 0
    for seed in range(20):
        found = compare(logits(seed)[:count], (logits(seed) + noise(0.6, seed=100 + seed))[:count], on="x")
        kept += shortcoming(found, SCHEMES["onnx-int8"]) == ""
    assert kept >= 18


def test_a_wrong_last_operation_is_seen() -> None:
    true = logits()
    found = compare(softmax(true), softmax(true) + np.float32(0.2), on="x", end="softmax", before_end=true)
    assert found.end_error == pytest.approx(0.2, abs=1e-3)
    assert "last operation" in shortcoming(found, SCHEMES["tflite-int8"])


def test_a_model_without_labels_is_judged_by_its_noise() -> None:
    true = logits()
    found = compare(true, true + noise(0.3), on="x", labels=False)
    assert (found.agreement, found.weighted_agreement) == (None, None)
    assert shortcoming(found, SCHEMES["tflite-int8"]) == ""
    assert shortcoming(compare(true, true + noise(2), on="x", labels=False), SCHEMES["tflite-int8"])


def sigmoid(numbers: Any) -> Any:
    return (1 / (1 + np.exp(-numbers.astype(np.float64)))).astype(np.float32)


def test_an_error_that_a_sigmoid_hides_is_seen() -> None:
    numbers = np.linspace(-6, -3, 8, dtype=np.float32)[:, np.newaxis]
    scheme = SCHEMES["tflite-float32"]

    def reason(true: Any, other: Any) -> str:
        return shortcoming(compare(sigmoid(true), sigmoid(other), on="x", end="sigmoid", before_end=other), scheme)

    assert reason(numbers, 1.01 * numbers)
    assert reason(numbers, numbers) == ""
    both = np.concatenate([numbers - 100, numbers], axis=1)
    assert reason(both, np.concatenate([np.full_like(numbers, -18), numbers], axis=1)) == ""  # no one can tell


def test_small_probabilities_that_eight_bits_can_not_hold_are_no_noise() -> None:
    true = softmax(np.random.default_rng(0).normal(0, 4, (40, 5)).astype(np.float32))
    stored = (np.rint(true * 256) / 256).astype(np.float32)
    assert shortcoming(compare(true, stored, on="x", end="softmax"), SCHEMES["tflite-int8"]) == ""


def test_whether_answers_tell_items_apart() -> None:
    assert compare(*[np.array([[0.9, 0.1], [0.2, 0.8]], np.float32)] * 2, on="x").varies
    assert not compare(*[np.array([[1, 1e-6], [0.9999, 1e-4]], np.float32)] * 2, on="x").varies
    assert not compare(*[np.zeros((3, 2), np.float32)] * 2, on="x").varies
    nothing = compare(np.zeros((3, 2), np.float32), np.ones((3, 2), np.float32), on="x")
    assert "of the largest" in shortcoming(nothing, SCHEMES["tflite-float32"])


def test_rounding_of_probabilities_is_no_error_before_softmax() -> None:
    even = np.array([[1e-4, 0, -1e-4], [1, 2, 3]], np.float32)
    found = compare(softmax(even), np.nextafter(softmax(even), np.float32(1)), on="x", end="softmax", before_end=even)
    assert shortcoming(found, SCHEMES["onnx-float32"]) == ""


def test_seeded_items_differ_from_one_another() -> None:
    items = seeded_items(InputSpec.image(20, 30, "rgb"), 8)
    assert items.shape == (8, 20, 30, 3)
    assert items.dtype == np.uint8
    assert items.mean(axis=(1, 2, 3)).std() > 5
    np.testing.assert_array_equal(items, seeded_items(InputSpec.image(20, 30, "rgb"), 8))


def test_formats_are_compared_on_what_both_answered() -> None:
    """A file that is slow to answer is proven on fewer items than its peer."""
    variant = Variant("tflite-int8", Path("a.tflite"), 1, 0.0)
    answers = {"tflite-int8": np.zeros((4, 3), np.float32), "onnx-int8": np.full((64, 3), 0.25, np.float32)}
    assert across(variant, answers).other_format_error == 0.25
    assert across(variant, {"tflite-int8": answers["tflite-int8"]}).other_format_error is None


def test_a_large_net_is_proven_on_fewer_items(monkeypatch: pytest.MonkeyPatch) -> None:
    """By its work, not by a clock: their number stands in the file, and the same model gives the same bytes."""
    from edgepress.converters.proof import verify

    class Found:
        macs = 0

    def count(macs: float, scheme: str = "tflite-int8") -> int:
        Found.macs = int(macs)
        return verify.enough(Path("model.tflite"), SCHEMES[scheme])

    monkeypatch.setattr(verify, "read", lambda path: Found)
    assert count(0) > count(56e6) > count(300e6) > count(20e9) == verify.PROOF_LEAST
    assert count(56e6, "tflite-int16x8") == verify.PROOF_LEAST < count(56e6)
    assert [count(macs) for macs in (1e8, 3e8, 2e9)] == [100, 32, 8], "1e10 multiplications, in steps of 4, 8 at least"
    assert all(count(macs) % verify.PROOF_STEP == 0 for macs in (1e8, 2e8, 3e8))
