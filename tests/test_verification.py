"""A variant beside its parent: what is measured, what is refused, and on what items."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgepress.converters.contract.outputs import looks, refuse_other_outputs
from edgepress.converters.proof.compare import compare, seeded_items, shortcoming, shortcoming_before
from edgepress.converters.schemes import SCHEMES
from edgepress.converters.variant import Variant, across
from edgepress.runtime import InputError, InputSpec
from edgepress.runtime.model import softmax


def test_what_verification_measures_and_refuses() -> None:
    parent = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]], np.float32)
    same = compare(parent, parent, on="x")
    assert (same.agreement, same.max_error, same.sqnr_db) == (1.0, 0.0, None)
    assert all(shortcoming(same, scheme) == "" for scheme in SCHEMES.values())
    near = compare(parent, parent + np.float32(0.003), on="x")
    assert near.sqnr_db == pytest.approx(20 * np.log10(np.sqrt((parent**2).mean()) / 0.003), abs=0.05)
    assert "must stay within" in shortcoming(near, SCHEMES["tflite-float32"])
    assert shortcoming(near, SCHEMES["tflite-int8"]) == ""
    swapped = compare(parent, parent[:, ::-1], on="x")
    assert swapped.agreement == 0.0
    assert "top-1 agreement 0.0%" in shortcoming(swapped, SCHEMES["onnx-int8"])


def test_an_error_that_softmax_hides_is_seen() -> None:
    logits = np.array([[30, 0, -5], [-8, 25, 1]], np.float32)
    true, wrong, scheme = softmax(logits), softmax(logits * np.float32(1.01)), SCHEMES["tflite-float32"]
    assert shortcoming(compare(true, wrong, on="x"), scheme) == ""
    assert "before softmax" in shortcoming_before(true, wrong, scheme, "softmax")
    assert shortcoming_before(true, wrong, SCHEMES["tflite-float16"], "softmax") == ""
    assert shortcoming_before(true, softmax(logits * np.float32(1 + 1e-6)), scheme, "softmax") == ""


def test_noise_that_softmax_hides_is_seen() -> None:
    logits = np.random.default_rng(0).normal(0, 1, (20, 3)).astype(np.float32) + np.array([0, 40, 0], np.float32)
    noisy = logits + np.random.default_rng(1).uniform(-15, 15, logits.shape).astype(np.float32)
    found, scheme = compare(softmax(logits), softmax(noisy), on="x"), SCHEMES["onnx-dynamic"]
    assert shortcoming(found, scheme) == ""
    assert not found.varies
    assert "before softmax, the noise" in shortcoming_before(softmax(logits), softmax(noisy), scheme, "softmax")
    assert shortcoming_before(softmax(logits), softmax(logits + 1), scheme, "softmax") == ""


def sigmoid(logits: Any) -> Any:
    return (1 / (1 + np.exp(-logits.astype(np.float64)))).astype(np.float32)


def test_an_error_that_a_sigmoid_hides_is_seen() -> None:
    logits = np.linspace(-6, -3, 8, dtype=np.float32)[:, np.newaxis]
    true, wrong, scheme = sigmoid(logits), sigmoid(1.01 * logits), SCHEMES["tflite-float32"]
    assert "before the sigmoid" in shortcoming_before(true, wrong, scheme, "sigmoid")
    assert shortcoming_before(true, true, scheme, "sigmoid") == ""
    saturated = sigmoid(logits - 100)
    assert shortcoming_before(saturated, np.full_like(saturated, 1e-8), scheme, "multilabel") == ""


def test_sigmoids_may_be_said_to_have_one_label_and_nothing_more() -> None:
    scores = np.array([[0.9, 0.2, 0.1]], np.float32)
    refuse_other_outputs(scores, "softmax", softmax=False, ends_in="Sigmoid")
    with pytest.raises(InputError, match="--task multilabel"):
        refuse_other_outputs(scores, "logits", softmax=False, ends_in="LOGISTIC")
    with pytest.raises(InputError, match="Leave --softmax out"):
        refuse_other_outputs(scores, "logits", softmax=True, ends_in="Sigmoid")


def test_small_probabilities_that_float16_can_not_hold_are_no_noise() -> None:
    true = softmax(np.random.default_rng(0).normal(0, 12, (40, 5)).astype(np.float32))
    half = true.astype(np.float16).astype(np.float32)
    assert shortcoming_before(true, half, SCHEMES["onnx-float16"], "softmax") == ""
    assert "before softmax" in shortcoming_before(true, half, SCHEMES["onnx-dynamic"], "softmax")


def test_whether_answers_tell_items_apart() -> None:
    assert compare(*[np.array([[0.9, 0.1], [0.2, 0.8]], np.float32)] * 2, on="x").varies
    assert not compare(*[np.array([[1, 1e-6], [0.9999, 1e-4]], np.float32)] * 2, on="x").varies
    assert not compare(*[np.zeros((3, 2), np.float32)] * 2, on="x").varies
    nothing = compare(np.zeros((3, 2), np.float32), np.ones((3, 2), np.float32), on="x")
    assert "must stay within" in shortcoming(nothing, SCHEMES["tflite-float32"])


@pytest.mark.parametrize(
    ("rows", "seen"),
    [
        ([[0.2, 0.8], [1, 0]], "softmax"),
        ([[0.2, 0.7], [1, 1]], "unit"),
        ([[2, -1], [0.5, 0.5]], "any"),
        ([[0.3], [1]], "unit"),
        ([[np.nan, 1], [0.5, 0.5]], "softmax"),
        ([[np.nan, 1]], ""),
    ],
)
def test_what_answers_look_like(rows: list[list[float]], seen: str) -> None:
    assert looks(np.array(rows, np.float32)) == seen


@pytest.mark.parametrize(
    ("row", "task", "softmax", "refused"),
    [
        ([0.9], "sigmoid", True, "Leave --softmax out"),
        ([3, -1], "softmax", False, "--task logits"),
        ([0.9, 0.9], "softmax", False, "--task multilabel"),
        ([0.9, 0.1], "logits", False, "--task softmax"),
        ([0.9, 0.1], "logits", True, "Leave --softmax out"),
        ([-7], "sigmoid", False, "--softmax"),
        ([3, -1], "multilabel", False, "--task logits"),
        ([0.9, 0.1], "softmax", False, ""),
        ([0.9, 0.9], "multilabel", False, ""),
        ([3, -1], "logits", True, ""),
        ([-7], "sigmoid", True, ""),
    ],
)
def test_outputs_that_contradict_their_contract(row: list[float], task: Any, softmax: bool, refused: str) -> None:
    scores = np.array([row], np.float32)
    if not refused:
        refuse_other_outputs(scores, task, softmax=softmax)
        return
    with pytest.raises(InputError) as error:
        refuse_other_outputs(scores, task, softmax=softmax)
    assert refused in str(error.value)


def test_rounding_of_probabilities_is_no_error_before_softmax() -> None:
    scheme = SCHEMES["onnx-float32"]
    even = softmax(np.array([[1e-4, 0, -1e-4]], np.float32))
    assert shortcoming_before(even, np.nextafter(even, np.float32(1)), scheme, "softmax") == ""
    saturated, nearly = np.array([[1, 0]], np.float32), np.array([[1, 1e-38]], np.float32)
    assert shortcoming_before(saturated, nearly, scheme, "softmax") == ""


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


def test_a_slow_file_is_proven_on_fewer_items(monkeypatch: pytest.MonkeyPatch) -> None:
    from edgepress.converters import make_files

    class Slow:
        def answer(self, items: np.ndarray) -> np.ndarray:
            return np.ones((len(items), 2), np.float32)

    work, items = object.__new__(make_files._Work), np.zeros((64, 3), np.uint8)
    assert len(work._answers(Slow(), items)) == 64  # type: ignore[arg-type]
    monkeypatch.setattr(make_files, "PROOF_S", -1.0)
    assert len(work._answers(Slow(), items)) == make_files.PROOF_STEP  # type: ignore[arg-type]
