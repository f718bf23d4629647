"""What stands in front of a model and behind it: the graph's steps do what the definition in NumPy does."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest

from edgepress.converters.adapter import InputAdapter, end_for, free_prefix
from edgepress.runtime import InputSpec

RGB = InputSpec.image(4, 6, "rgb")
SCALES = [((0.0,), (1.0,)), ((127.5,), (127.5,)), ((1.0, 2.0, 3.0), (4.0, 50.0, 60.0))]


def run_steps(adapter: InputAdapter, items: Any) -> Any:
    """A fifth back end, NumPy."""
    x = items.astype(np.float32)
    for step in adapter.steps:
        match step.kind:
            case "gather":
                x = x[..., step.values]
            case "mul":
                x = x * step.values
            case "add":
                x = x + step.values
            case "transpose":
                x = x.transpose(step.values)
            case "reshape":
                x = x.reshape(-1, *step.values)
        assert x.shape[1:] == step.shape
    return x


@pytest.mark.parametrize(("bgr", "scale", "first"), list(product([False, True], SCALES, [False, True])))
def test_steps_do_what_the_definition_does(bgr: bool, scale: Any, first: bool) -> None:
    shape = (3, 4, 6) if first else (4, 6, 3)
    adapter = InputAdapter(RGB, shape, bgr=bgr, mean=scale[0], std=scale[1], channels_first=first)
    items = np.random.default_rng(0).integers(0, 256, (5, 4, 6, 3), dtype=np.uint8)
    expected = items[..., ::-1] if bgr else items
    expected = (expected - np.array(scale[0])) / np.array(scale[1])
    expected = expected.transpose(0, 3, 1, 2) if first else expected
    np.testing.assert_allclose(adapter.apply(items), expected, rtol=1e-6, atol=1e-5)
    np.testing.assert_allclose(run_steps(adapter, items), expected, rtol=1e-6, atol=1e-4)
    assert bool(adapter.steps) == (bgr or first or scale != SCALES[0])


def test_grey_images_of_two_dimensions_are_reshaped() -> None:
    adapter = InputAdapter(InputSpec.image(4, 6, "grey"), (4, 6))
    assert [step.kind for step in adapter.steps] == ["reshape"]
    assert adapter.apply(np.ones((2, 4, 6, 1))).shape == run_steps(adapter, np.ones((2, 4, 6, 1))).shape == (2, 4, 6)


def test_the_end_turns_logits_into_probabilities() -> None:
    logits = np.array([[-2.0, 0.0, 3.0]], np.float32)
    adapter = InputAdapter(RGB, RGB.shape)
    assert adapter.finish(logits) is logits
    softmax = InputAdapter(RGB, RGB.shape, end=end_for(3)).finish(logits)
    np.testing.assert_allclose(softmax, np.exp(logits) / np.exp(logits).sum(), rtol=1e-6)
    sigmoid = InputAdapter(RGB, RGB.shape, end=end_for(1)).finish(np.array([[-200.0], [0.0], [3.0]], np.float32))
    np.testing.assert_allclose(sigmoid[:, 0], [0, 0.5, 1 / (1 + np.exp(-3))], rtol=1e-6)


def test_names_that_edgepress_added_before_are_not_added_again() -> None:
    assert free_prefix([]) == free_prefix(["edgepress", "other_input"]) == "edgepress"
    assert free_prefix({"edgepress_input"}) == "edgepress_again"
    assert free_prefix({"edgepress_input", "edgepress_again_input"}) == "edgepress_again_again"
