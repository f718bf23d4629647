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
    results = [items.astype(np.float32)]
    two = {"add": np.add, "mul": np.multiply, "sub": np.subtract, "div": np.divide, "maximum": np.maximum}
    for step in adapter.steps:
        taken = [results[-back] for back in step.of] + ([] if step.values is None else [step.values])
        match step.kind:
            case "gather":
                results.append(taken[0][..., step.values])
            case "transpose":
                results.append(taken[0].transpose(step.values))
            case "reshape":
                results.append(taken[0].reshape(-1, *step.values))
            case "mean" | "min" | "max":
                results.append(getattr(taken[0], step.kind)(axis=tuple(step.values), keepdims=True))
            case "sqrt":
                results.append(np.sqrt(taken[0]))
            case _:
                results.append(two[step.kind](*taken))
        assert results[-1].shape[1:] == step.shape
    return results[-1]


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


@pytest.mark.parametrize("rule", ["standardize", "minmax"])
def test_an_image_is_scaled_by_its_own_values(rule: Any) -> None:
    adapter = InputAdapter(RGB, (3, 4, 6), bgr=True, channels_first=True, per_image=rule)
    items = np.random.default_rng(0).integers(0, 256, (5, 4, 6, 3), dtype=np.uint8)
    items[1] //= 50
    items[2] = 7
    expected = np.zeros((5, 4, 6, 3))
    for i, x in enumerate(items.astype(np.float64)):
        if rule == "standardize":  # as tf.image.per_image_standardization is documented
            expected[i] = (x - x.mean()) / max(x.std(), 1 / np.sqrt(72))
        elif i != 2:
            expected[i] = (x - x.min()) / (x.max() - x.min())
    expected = expected[..., ::-1].transpose(0, 3, 1, 2)
    np.testing.assert_allclose(adapter.apply(items), expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(run_steps(adapter, items), expected, rtol=1e-4, atol=1e-5)
    scaling, rest = adapter.split()
    np.testing.assert_array_equal(rest.apply(scaling.apply(items)), adapter.apply(items))


def test_flat_inputs_take_images() -> None:
    adapter = InputAdapter(InputSpec.image(2, 2, "rgb"), (12,), channels_first=True)
    item = np.arange(12, dtype=np.uint8).reshape(1, 2, 2, 3)
    np.testing.assert_array_equal(adapter.apply(item)[0], item[0].transpose(2, 0, 1).ravel())
    np.testing.assert_array_equal(run_steps(adapter, item), adapter.apply(item))


def test_grey_images_of_two_dimensions_are_reshaped() -> None:
    adapter = InputAdapter(InputSpec.image(4, 6, "grey"), (4, 6))
    assert [step.kind for step in adapter.steps] == ["reshape"]
    assert adapter.apply(np.ones((2, 4, 6, 1))).shape == run_steps(adapter, np.ones((2, 4, 6, 1))).shape == (2, 4, 6)


def test_the_end_turns_logits_into_probabilities() -> None:
    logits = np.array([[-2.0, 0.0, 3.0]], np.float32)
    adapter = InputAdapter(RGB, RGB.shape)
    assert adapter.finish(logits) is logits
    softmax = InputAdapter(RGB, RGB.shape, end=end_for(3, None)).finish(logits)
    np.testing.assert_allclose(softmax, np.exp(logits) / np.exp(logits).sum(), rtol=1e-6)
    sigmoid = InputAdapter(RGB, RGB.shape, end=end_for(1, None)).finish(np.array([[-200.0], [0.0], [3.0]], np.float32))
    np.testing.assert_allclose(sigmoid[:, 0], [0, 0.5, 1 / (1 + np.exp(-3))], rtol=1e-6)


def test_names_that_edgepress_added_before_are_not_added_again() -> None:
    assert free_prefix([]) == free_prefix(["edgepress", "other_input"]) == "edgepress"
    assert free_prefix({"edgepress_input"}) == "edgepress_again"
    assert free_prefix({"edgepress_input", "edgepress_again_input"}) == "edgepress_again_again"
