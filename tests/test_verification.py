"""A variant beside its parent: what is measured, what is refused, and on what items."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgepress.converters.convert import Variant, _across
from edgepress.converters.schemes import SCHEMES
from edgepress.converters.verification import compare, seeded_items, shortcoming, shortcoming_before_softmax
from edgepress.runtime import InputSpec


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


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def test_an_error_that_softmax_hides_is_seen() -> None:
    logits = np.array([[30, 0, -5], [-8, 25, 1]], np.float32)
    true, wrong, scheme = softmax(logits), softmax(logits * np.float32(1.01)), SCHEMES["tflite-float32"]
    assert shortcoming(compare(true, wrong, on="x"), scheme) == ""
    assert "before softmax" in shortcoming_before_softmax(true, wrong, scheme)
    assert shortcoming_before_softmax(true, wrong, SCHEMES["tflite-float16"]) == ""
    assert shortcoming_before_softmax(true, softmax(logits * np.float32(1 + 1e-6)), scheme) == ""


def test_rounding_of_probabilities_is_no_error_before_softmax() -> None:
    scheme = SCHEMES["onnx-float32"]
    even = softmax(np.array([[1e-4, 0, -1e-4]], np.float32))
    assert shortcoming_before_softmax(even, np.nextafter(even, np.float32(1)), scheme) == ""
    saturated, nearly = np.array([[1, 0]], np.float32), np.array([[1, 1e-38]], np.float32)
    assert shortcoming_before_softmax(saturated, nearly, scheme) == ""


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
    assert _across(variant, answers).other_format_error == 0.25
    assert _across(variant, {"tflite-int8": answers["tflite-int8"]}).other_format_error is None


def test_a_slow_file_is_proven_on_fewer_items(monkeypatch: pytest.MonkeyPatch) -> None:
    from edgepress.converters import jobs

    class Slow:
        def scores(self, items: np.ndarray) -> np.ndarray:
            return np.ones((len(items), 2), np.float32)

    work = object.__new__(jobs._Work)
    monkeypatch.setattr(jobs._Work, "once", lambda self, step: np.zeros((64, 3), np.uint8))
    assert len(work._answers(Slow())) == 64  # type: ignore[arg-type]
    monkeypatch.setattr(jobs, "PROOF_S", -1.0)
    assert len(work._answers(Slow())) == jobs.PROOF_STEP  # type: ignore[arg-type]
