"""The normalization at the front of a graph: what counts as one, and when it is taken off."""

import numpy as np
import pytest

from edgepress.converters.to_tflite.front import Front


@pytest.mark.parametrize(
    ("mean", "std", "needed"),
    [
        ([0.0, 0.0], [1.0, 1.0], False),
        ([0.0, 0.0], [1.0, 1.5], False),
        ([0.0, 0.0], [1.0, 500.0], True),
        ([0.0, 0.0], [1e-4, 1.0], True),
        ([101_325.0], [50.0], True),  # the pressure of the air
        ([0.0], [1e-4], False),
        ([1.0], [1.0], False),
    ],
)
def test_channels_that_would_share_too_few_steps_need_it(mean, std, needed):
    assert Front(tuple(mean), tuple(std)).is_needed is needed


@pytest.mark.parametrize("seed", range(3))
def test_the_decision_follows_the_error_of_one_scale(seed):
    rng = np.random.default_rng(seed)
    std = 10 ** rng.uniform(-3, 3, 4)
    mean = rng.normal(size=4) * std
    x = rng.normal(mean, std, (4000, 4))
    step = 2 * np.max(np.abs(mean) + 4 * std) / 255
    lost = np.min(x.std(axis=0) / step) < 16
    assert Front(tuple(mean), tuple(std)).is_needed is bool(lost)
