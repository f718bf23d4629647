"""A variant beside its parent: what is measured, what is refused, and on what items."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kstest

from edgepress.converters.numeric.metrics import EXACT_DB
from edgepress.converters.proof.compare import SEEDED, allowed_loss, compare, seeded_items, shortcoming, unusual
from edgepress.converters.proof.labels import lost_labels
from edgepress.converters.schemes import SCHEMES, Scheme
from edgepress.converters.variant import Variant, across
from edgepress.runtime import InputSpec
from edgepress.runtime.decisions import softmax

N, C = 64, 10
INT8 = SCHEMES["tflite-int8"]
FLOAT = SCHEMES["tflite-float32"]


def logits(seed: int = 0, *, common: float = 0.0) -> Any:
    """Logits of `N` items, of which `common` is the size of what is the same for all items."""
    rng = np.random.default_rng(seed)
    return (rng.normal(0, 3, (N, C)) + common * rng.normal(0, 3, C)).astype(np.float32)


def noise(size: float, seed: int = 9) -> Any:
    return np.random.default_rng(seed).normal(0, size, (N, C)).astype(np.float32)


def verdict(true: Any, other: Any, scheme: str = "", *, on: str = "x") -> str:
    """The verdict on logits, given as what a file computes before softmax; of a scheme, also what is unusual."""
    found = compare(
        softmax(true), softmax(other), on=on, end="softmax", before_end=other, task="softmax", ends_in="Softmax"
    )
    of = SCHEMES[scheme or "tflite-int8"]
    return shortcoming(found, of) or (unusual(found, of) if scheme else "")


def test_what_verification_measures_and_refuses() -> None:
    parent = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]], np.float32)
    same = compare(parent, parent, on="x", task="softmax")
    assert (same.agreement, same.max_error, same.sqnr_db, same.spread_db) == (1.0, 0.0, None, EXACT_DB)
    assert (same.lost, same.lost_low) == (0, 0)
    assert shortcoming(same, INT8) == ""
    assert all(unusual(same, scheme) == "" for scheme in SCHEMES.values())
    near = compare(parent, parent + np.float32(0.003), on="x")
    assert near.sqnr_db == pytest.approx(20 * np.log10(np.sqrt((parent**2).mean()) / 0.003), abs=0.05)
    assert near.spread_db == pytest.approx(20 * np.log10(parent.std(axis=0)[0] / 0.003), abs=0.05)
    assert shortcoming(near, INT8) == ""
    assert "of the largest" in unusual(near, SCHEMES["tflite-float32"])
    assert "computes otherwise" in unusual(near, FLOAT)
    assert "of the largest" in shortcoming(near, FLOAT), "it has no labels that show what that costs"
    assert unusual(near, SCHEMES["tflite-int8"]) == ""
    swapped = compare(parent, parent[:, ::-1], on="x", task="softmax")
    assert swapped.agreement == 0.0
    assert "label for 0.0% of the items" in shortcoming(swapped, INT8)


def test_what_is_the_same_for_all_items_proves_nothing() -> None:
    """A file that loses the items, and keeps the pattern that all answers share, has a high SQNR."""
    true = logits(common=10)
    constant = np.repeat(true.mean(axis=0, keepdims=True), N, axis=0)
    found = compare(true, constant, on="x")
    assert found.sqnr_db is not None
    assert found.sqnr_db > 15
    assert found.spread_db == pytest.approx(0, abs=0.1)
    assert "below their spread" in shortcoming(found, INT8)


@pytest.mark.parametrize(("scheme", "size"), [("onnx-int8", 0.7), ("tflite-float16", 0.1), ("tflite-int16x8", 0.2)])
def test_what_is_unusual_depends_on_the_scheme(scheme: str, size: float) -> None:
    true = logits()
    assert verdict(true, true + noise(size), scheme) == ""
    assert verdict(true, true + noise(3 * size), scheme)


@pytest.mark.parametrize(("figure", "refused", "accepted"), [("spread_db", 6.9, 7.1), ("end_error", 0.11, 0.09)])
def test_bounds_of_all_schemes(figure: str, refused: float, accepted: float) -> None:
    true = logits()
    same = compare(true, true, on="x", task="none")
    for value, wrong in ((refused, True), (accepted, False)):
        assert bool(shortcoming(dataclasses.replace(same, **{figure: value}), INT8)) == wrong


@pytest.mark.parametrize(
    ("scheme", "bound"), [("tflite-float32", 60), ("onnx-float16", 24), ("tflite-int16x8", 20), ("tflite-int8", 7)]
)
def test_noise_that_is_usual(scheme: str, bound: float) -> None:
    true = logits()
    same = compare(true, true, on="x")
    for value, strange in ((bound - 0.1, True), (bound, False), (bound + 0.1, False)):
        assert bool(unusual(dataclasses.replace(same, spread_db=value), SCHEMES[scheme])) == strange


BETTER = {"agreement": 1, "spread_db": 1, "lost": -1, "lost_low": -1, "lost_high": -1, "end_error": -1}
"""Figures, and which way is better."""


@given(st.data())
def test_a_file_that_is_better_in_all_figures_is_not_refused_beside_one_that_is_accepted(data: Any) -> None:
    """One order of evidence, whatever the schemes: int16x8 at 94 % was refused beside int8 at 77 %."""
    true = logits()
    same = compare(true, true, on=data.draw(st.sampled_from(["x", SEEDED])), task="softmax")
    share = st.floats(0, 0.1)
    draw = {"agreement": st.floats(0, 1), "spread_db": st.floats(0, 40), "lost": share, "lost_low": share}
    draw |= {"lost_high": share, "end_error": st.floats(0, 0.2)}
    one, other = ({name: data.draw(values) for name, values in draw.items()} for _ in range(2))
    best = {name: max(one[name], other[name], key=lambda v, way=way: way * v) for name, way in BETTER.items()}
    if not shortcoming(dataclasses.replace(same, **one), INT8):
        assert shortcoming(dataclasses.replace(same, **best), INT8) == ""


@pytest.mark.parametrize("figure", ["max_error", "relative_error"])
@pytest.mark.parametrize("scheme", [each for each in SCHEMES.values() if each.max_relative_error is not None])
def test_usual_bounds_of_the_largest_error(figure: str, scheme: Scheme) -> None:
    """A share of the largest answer, of a file whose answers are of another size than 1."""
    true = 4 * logits()
    same = compare(true, true, on="x")
    whole = same.largest if figure == "max_error" else 1.0
    assert scheme.max_relative_error is not None
    for factor, wrong in ((0.9, False), (1.1, True)):
        error = factor * scheme.max_relative_error * whole
        assert bool(unusual(dataclasses.replace(same, **{figure: error}), scheme)) == wrong


def labelled(right: int, wrong: int, *, certain: float = 0.95, classes: int = 10) -> tuple[Any, Any]:
    """Answers of a source model that is certain, and of a file that chooses other labels for some items."""
    rng, count = np.random.default_rng(0), right + wrong
    labels = rng.integers(0, classes, count)
    source = np.full((count, classes), (1 - certain) / (classes - 1))
    source[np.arange(count), labels] = certain
    file = source.copy()
    file[:wrong] = np.roll(source[:wrong], 1, axis=1)
    return source.astype(np.float32), file.astype(np.float32)


@pytest.mark.parametrize(
    ("right", "wrong", "refused"),
    [(512, 0, False), (504, 8, False), (492, 20, True), (400, 112, True), (7, 1, False), (5, 3, True), (62, 2, False)],
)
def test_lost_labels_are_refused_beyond_doubt(right: int, wrong: int, refused: bool) -> None:
    found = compare(*labelled(right, wrong), on="x", task="softmax", ends_in="Softmax")
    quiet = dataclasses.replace(found, spread_db=40.0)  # so that labels alone decide
    assert found.lost == pytest.approx(wrong / (right + wrong) * (0.95 - 0.05 / 9), rel=1e-3)
    assert ("loses" in shortcoming(quiet, INT8)) == refused


def test_labels_that_are_kept_excuse_noise_but_not_nonsense() -> None:
    found = compare(*labelled(510, 2), on="x", task="softmax", ends_in="Softmax")
    few = compare(*labelled(16, 0), on="x", task="softmax", ends_in="Softmax")
    for spread, kept, undecided in ((5.0, True, False), (2.0, False, False), (8.0, True, True)):
        for figures, accepted in ((found, kept), (few, undecided)):
            reason = shortcoming(dataclasses.replace(figures, spread_db=spread), INT8)
            assert (reason == "") == accepted, (spread, figures.items)
    noisy = dataclasses.replace(found, spread_db=40.0, relative_error=0.01)
    assert "computes otherwise" in unusual(noisy, FLOAT)
    assert shortcoming(noisy, FLOAT) == "", "labels prove that it costs nothing"
    assert shortcoming(dataclasses.replace(noisy, on=SEEDED), FLOAT), "there, a float file equals its source"


@pytest.mark.parametrize("scale", [0.005, 0.1, 1.0])
@pytest.mark.parametrize("end", ["softmax", "sigmoid", "tanh", ""])
def test_what_is_lost_does_not_depend_on_how_scores_end(end: str, scale: float) -> None:
    """Saturated or tiny scores: a file that mixes up a third of the labels loses about a third."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, C, 512)
    numbers = rng.normal(0, 1, (512, C)) + 8 * np.eye(C)[labels]
    mixed = np.where(rng.random((512, 1)) < 1 / 3, np.roll(numbers, 1, axis=1), numbers)
    ends = {"softmax": softmax, "sigmoid": sigmoid, "tanh": np.tanh, "": lambda x: x}
    source, file = (ends[end]((scale * x).astype(np.float32)).astype(np.float32) for x in (numbers, mixed))
    share = lost_labels(source, file, "logits" if end in ("", "tanh") else "softmax", end).share
    assert 0.12 < share < 0.4
    assert lost_labels(source, source, "softmax", end).share == 0


@pytest.mark.parametrize("end", ["sigmoid", "tanh"])
def test_saturated_scores_that_eight_bits_tie_are_lost(end: str) -> None:
    """A net decides between scores that eight bits store as the same number; the runtime takes the first."""
    rng = np.random.default_rng(1)
    numbers = (6 + rng.normal(0, 1.5, (512, C))).astype(np.float32)
    source = sigmoid(numbers) if end == "sigmoid" else np.tanh(numbers / 2).astype(np.float32)
    step = 1 / 256 if end == "sigmoid" else 2 / 255
    file = (np.floor(source / step) * step).astype(np.float32)
    assert np.mean(source.argmax(1) != file.argmax(1)) > 0.5
    found = compare(source, file, on="x", end="sigmoid" if end == "sigmoid" else "", task="softmax", ends_in=end)
    assert "loses" in shortcoming(found, INT8)


def test_ties_of_the_source_cost_nothing() -> None:
    source = np.tile(np.float32([0.45, 0.45, 0.1]), (64, 1))
    other = np.tile(np.float32([0.4, 0.5, 0.1]), (64, 1))
    assert lost_labels(source, other, "softmax", "softmax").share == 0
    worst = np.tile(np.float32([0.1, 0.1, 0.8]), (64, 1))
    assert lost_labels(source, worst, "softmax", "softmax").share > 0.3


def test_uncertain_items_count_by_what_the_source_gives_up() -> None:
    rng = np.random.default_rng(0)
    true = rng.normal(0, 0.6, (512, 1001)).astype(np.float32)
    true[np.arange(512), rng.integers(0, 1001, 512)] += rng.uniform(0, 12, 512).astype(np.float32)
    other = (true + rng.normal(0, 0.15, true.shape)).astype(np.float32)
    found = compare(softmax(true), softmax(other), on="x", end="softmax", before_end=other, task="softmax")
    assert found.agreement is not None
    assert found.agreement < 0.95
    assert shortcoming(found, INT8) == ""


def test_a_file_that_ignores_rare_labels_is_refused() -> None:
    """One item of 50 is of the second label: a file that never gives it loses 2 %, which is all there is."""
    source = np.tile(np.float32([0.99, 0.01]), (500, 1))
    source[::50] = source[0, ::-1]
    found = compare(source, np.tile(source[1], (500, 1)), on="x", task="softmax", ends_in="Softmax")
    assert "loses" in shortcoming(found, INT8)


def test_wrong_labels_are_refused_where_the_noise_is_small() -> None:
    """An output that ends too early: large logits are cut off, and the labels on top are mixed up."""
    true = np.random.default_rng(0).normal(0, 3, (N, 100)).astype(np.float32)
    found = compare(true, np.minimum(true, np.float32(4.5)), on="x", task="logits")
    assert found.spread_db is not None
    assert found.spread_db > 13
    assert "loses" in shortcoming(found, INT8)


@pytest.mark.parametrize("factor", [3.0, 0.2])
def test_a_wrong_scale_is_refused_though_labels_are_kept(factor: float) -> None:
    assert "below their spread" in verdict(logits(), logits() * np.float32(factor), "onnx-int8")


def test_several_labels_an_item() -> None:
    rng = np.random.default_rng(0)
    true = np.where(rng.random((200, 20)) < 0.1, 0.97, 0.02).astype(np.float32)
    same = lost_labels(true, true, "multilabel", "sigmoid")
    assert (same.share, same.low) == (0, 0)
    never = lost_labels(true, np.zeros_like(true), "multilabel", "sigmoid")
    assert never.share > 0.6
    unsure = np.where(rng.random((200, 20)) < 0.1, 0.501, 0.02).astype(np.float32)
    assert lost_labels(unsure, np.minimum(unsure, 0.499), "multilabel", "sigmoid").share < 0.01


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
    assert shortcoming(compare(source, other, on=SEEDED, end="softmax", task="softmax"), INT8)
    half = np.concatenate([source[:36], other[36:]])
    assert shortcoming(compare(source, half, on=SEEDED, end="softmax", task="softmax"), INT8)
    few = np.concatenate([source[:56], other[56:]])
    assert not shortcoming(compare(source, few, on=SEEDED, end="softmax", task="softmax"), INT8)


def test_saturated_probabilities_are_no_proof() -> None:
    true = np.eye(3, dtype=np.float32)[[0, 1, 2, 0]]
    found = compare(true, true, on="x", end="softmax", task="softmax")
    assert found.saturated
    assert (found.sqnr_db, found.spread_db, found.agreement) == (None, None, 1.0)
    assert not compare(softmax(logits()), softmax(logits()), on="x", end="softmax").saturated


@pytest.mark.parametrize(("steps", "saturated"), [(1, True), (2, False)])
def test_probabilities_of_eight_bits_are_saturated_at_their_least_step(steps: int, *, saturated: bool) -> None:
    answers = np.tile(np.float32([1 - 2 * steps / 256, steps / 256, steps / 256]), (4, 1))
    assert compare(answers, answers, on="x", end="softmax", task="softmax").saturated == saturated


@pytest.mark.parametrize(("chance", "allowed"), [(0.9, 0.0125), (0.025, 0.0125), (0.02, 0.01), (0.0, 0.0)])
def test_half_of_what_is_lost_by_chance_may_be_lost_and_never_more_than_a_hundredth_and_a_quarter(
    chance: float, allowed: float
) -> None:
    answers = logits()
    measured = dataclasses.replace(compare(answers, answers, on="x"), lost_by_chance=chance)
    assert allowed_loss(measured) == pytest.approx(allowed)
    assert allowed_loss(dataclasses.replace(measured, on=SEEDED)) == pytest.approx(0.3 * chance)
    assert allowed_loss(dataclasses.replace(measured, lost_by_chance=None)) == 0


def test_a_shift_that_changes_no_label_is_no_fault() -> None:
    """Calibration on other data shifts answers as a lost bias does; what counts is what that costs."""
    rng = np.random.default_rng(0)
    true = (rng.normal(0, 1, (512, C)) + 8 * np.eye(C)[rng.integers(0, C, 512)]).astype(np.float32)
    small, large = (rng.normal(0, size, C).astype(np.float32) for size in (0.5, 6))
    assert verdict(true, true + small, "onnx-int8") == ""
    assert verdict(true, true + large, "onnx-int8")


@pytest.mark.parametrize("count", [4, 8, 16])
def test_few_items_with_little_noise_are_accepted(count: int) -> None:
    """The mean of the noise of few items is large by chance."""
    kept = 0
    for seed in range(20):
        found = compare(logits(seed)[:count], (logits(seed) + noise(0.6, seed=100 + seed))[:count], on="x")
        kept += shortcoming(found, INT8) == ""
    assert kept >= 18


def test_a_wrong_last_operation_is_seen() -> None:
    true = logits()
    found = compare(softmax(true), softmax(true) + np.float32(0.2), on="x", end="softmax", before_end=true)
    assert found.end_error == pytest.approx(0.2, abs=1e-3)
    assert "last operation" in shortcoming(found, INT8)


def test_a_model_without_labels_is_judged_by_its_noise() -> None:
    true = logits()
    found = compare(true, true + noise(0.3), on="x")
    assert (found.agreement, found.lost) == (None, None)
    assert shortcoming(found, INT8) == ""
    assert shortcoming(compare(true, true + noise(2), on="x"), INT8)


def sigmoid(numbers: Any) -> Any:
    return (1 / (1 + np.exp(-numbers.astype(np.float64)))).astype(np.float32)


def test_an_error_that_a_sigmoid_hides_is_seen() -> None:
    numbers = np.linspace(-6, -3, 8, dtype=np.float32)[:, np.newaxis]
    scheme = SCHEMES["tflite-float32"]

    def reason(true: Any, other: Any) -> str:
        return unusual(compare(sigmoid(true), sigmoid(other), on="x", end="sigmoid", before_end=other), scheme)

    assert reason(numbers, 1.01 * numbers)
    assert reason(numbers, numbers) == ""
    for sign in (1, -1):
        both = sign * np.concatenate([numbers - 100, numbers], axis=1)
        other = sign * np.concatenate([np.full_like(numbers, -18), numbers], axis=1)
        assert reason(both, other) == "", "no one can tell"
        assert reason(both, sign * np.concatenate([np.full_like(numbers, -6), numbers], axis=1))


def test_small_probabilities_that_eight_bits_can_not_hold_are_no_noise() -> None:
    true = softmax(np.random.default_rng(0).normal(0, 4, (40, 5)).astype(np.float32))
    stored = (np.rint(true * 256) / 256).astype(np.float32)
    assert shortcoming(compare(true, stored, on="x", end="softmax"), INT8) == ""


def test_whether_answers_tell_items_apart() -> None:
    assert compare(*[np.array([[0.9, 0.1], [0.2, 0.8]], np.float32)] * 2, on="x").varies
    assert not compare(*[np.array([[1, 1e-6], [0.9999, 1e-4]], np.float32)] * 2, on="x").varies
    assert not compare(*[np.zeros((3, 2), np.float32)] * 2, on="x").varies
    nothing = compare(np.zeros((3, 2), np.float32), np.ones((3, 2), np.float32), on="x")
    assert "wrong by up to 1" in shortcoming(nothing, INT8)


def test_rounding_of_probabilities_is_no_error_before_softmax() -> None:
    even = np.array([[1e-4, 0, -1e-4], [1, 2, 3]], np.float32)
    found = compare(softmax(even), np.nextafter(softmax(even), np.float32(1)), on="x", end="softmax", before_end=even)
    assert shortcoming(found, INT8) == ""


def test_seeded_items_are_smooth_fields_with_noise_and_are_clipped() -> None:
    found = seeded_items(InputSpec.image(9, 13, "rgb"), 16, seed=4)
    random = np.random.default_rng(4)
    coarse, noise = random.uniform(0, 255, (16, 5, 5, 3)), random.normal(0, 8, (16, 9, 13, 3))
    for row, column in ((0, 0), (-1, -1), (0, -1), (-1, 0)):
        exact = coarse[:, row, column] + noise[:, row, column]
        np.testing.assert_array_equal(found[:, row, column], np.clip(np.rint(exact), 0, 255))
    middle = coarse[:, 2, 2] + noise[:, 4, 6]
    np.testing.assert_array_equal(found[:, 4, 6], np.clip(np.rint(middle), 0, 255))
    dark = seeded_items(InputSpec.image(9, 13, "rgb"), 16, seed=4, scale=0.1)
    assert dark.max() <= 29, "numbers below 0 are 0"


def test_seeded_items_differ_from_one_another() -> None:
    items = seeded_items(InputSpec.image(20, 30, "rgb"), 8)
    assert items.shape == (8, 20, 30, 3)
    assert items.dtype == np.uint8
    assert items.mean(axis=(1, 2, 3)).std() > 5
    np.testing.assert_array_equal(items, seeded_items(InputSpec.image(20, 30, "rgb"), 8))


@pytest.mark.parametrize("scale", [1.0, 0.25])
def test_seeded_tensors_are_normal_numbers_of_a_scale(scale: float) -> None:
    items = seeded_items(InputSpec(shape=(40,), dtype="float32"), 200, scale=scale)
    assert (items.shape, items.dtype) == ((200, 40), np.float32)
    assert kstest(items.ravel() / scale, "norm").pvalue > 1e-3


def test_seeded_integers_are_uniform_over_their_range() -> None:
    items = seeded_items(InputSpec(shape=(40,), dtype="int32", value_range=(-2, 5)), 200)
    assert np.unique(items).tolist() == [*range(-2, 6)]


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
        return verify.proof_items(Path("model.tflite"), SCHEMES[scheme])

    monkeypatch.setattr(verify, "read", lambda path: Found)
    assert count(0) > count(56e6) > count(300e6) > count(20e9) == verify.PROOF_LEAST
    assert count(56e6, "tflite-int16x8") == verify.PROOF_LEAST < count(56e6)
    assert [count(macs) for macs in (1e8, 3e8, 2e9)] == [100, 32, 8], "1e10 multiplications, in steps of 4, 8 at least"
    assert all(count(macs) % verify.PROOF_STEP == 0 for macs in (1e8, 2e8, 3e8))
