"""Samples of a layer's inputs, and its rounding, compared with plain loops."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from linking import step_of

from edgepress.converters.ptq import layer_rounding
from edgepress.converters.ptq.layer_rounding import CLIPS, best_steps, nearest, sampler

SIZE = 9, 7
LEVELS = 7


def conv(kernel: tuple[int, int], stride: tuple[int, int], dilation: tuple[int, int], *, valid: bool) -> Any:
    """A convolution of two channels, with the shape of its output."""
    spans = [(k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True)]
    sizes = [(n - span) // s + 1 if valid else -(-n // s) for n, span, s in zip(SIZE, spans, stride, strict=True)]
    return step_of(
        "CONV_2D", [(1, *SIZE, 2), np.zeros((3, *kernel, 2), np.float32)], [(1, *sizes, 3)], padding=int(valid),
        strideH=stride[0], strideW=stride[1], dilationHFactor=dilation[0], dilationWFactor=dilation[1],
    )  # fmt: skip


def patches(step: Any, values: np.ndarray) -> np.ndarray:
    """What each output multiplies, one by one: TFLite's SAME puts the larger half of the zeros behind."""
    o = step.options
    _, height, width, _ = step.constants[1].shape
    starts = []
    for axis, taps, stride, dilation in (
        (1, height, o.strideH, o.dilationHFactor),
        (2, width, o.strideW, o.dilationWFactor),
    ):
        span = (taps - 1) * dilation + 1
        missing = 0 if o.padding else max(0, (step.shape[axis] - 1) * stride + span - values.shape[axis])
        starts.append(missing // 2)
    rows = []
    for item in values:
        for y in range(step.shape[1]):
            for x in range(step.shape[2]):
                row = []
                for i in range(height):
                    for j in range(width):
                        at = y * o.strideH - starts[0] + i * o.dilationHFactor
                        across = x * o.strideW - starts[1] + j * o.dilationWFactor
                        inside = 0 <= at < SIZE[0] and 0 <= across < SIZE[1]
                        row.extend(item[at, across] if inside else [0, 0])
                rows.append(row)
    return np.array(rows, np.float32)


CONVOLUTIONS = [
    ((1, 1), (1, 1), (1, 1), True),
    ((3, 2), (1, 1), (1, 1), False),
    ((3, 2), (2, 3), (1, 1), False),
    ((2, 4), (3, 2), (1, 1), True),
    ((2, 3), (1, 1), (3, 2), False),
    ((3, 2), (1, 1), (2, 4), True),
    ((1, 2), (4, 4), (1, 1), False),
]


@pytest.mark.parametrize("shape", CONVOLUTIONS)
def test_samples_of_a_convolution_are_what_each_output_multiplies(shape: Any) -> None:
    *shapes, valid = shape
    step = conv(*shapes, valid=valid)
    values = np.random.default_rng(0).normal(size=(3, *SIZE, 2)).astype(np.float32)
    assert sampler(step, 3)(values).tolist() == patches(step, values).tolist()


@pytest.mark.parametrize("shape", CONVOLUTIONS)
def test_of_many_places_some_are_drawn(monkeypatch: pytest.MonkeyPatch, shape: Any) -> None:
    *shapes, valid = shape
    monkeypatch.setattr(layer_rounding, "FEWEST_SAMPLES", 9)
    monkeypatch.setattr(layer_rounding, "SAMPLE_BYTES", 1)
    step = conv(*shapes, valid=valid)
    values = np.random.default_rng(0).normal(size=(5, *SIZE, 2)).astype(np.float32)
    every = patches(step, values).tolist()
    drawn = sampler(step, 5)(values).tolist()
    assert len(drawn) == 9
    places = [every.index(row) for row in drawn]
    assert places == sorted(places)
    assert max(places) >= len(every) / 2, "also of the last items"
    assert sampler(step, 5, seed=1)(values).tolist() != drawn


def test_an_image_is_rows_of_a_dense_layer() -> None:
    """Each of which the layer multiplies by itself."""
    step = step_of("FULLY_CONNECTED", [(1, 2, 3, 4), np.zeros((5, 12), np.float32)], [(2, 5)])
    values = np.random.default_rng(0).normal(size=(6, 2, 3, 4)).astype(np.float32)
    assert sampler(step, 6)(values).tolist() == values.reshape(12, 12).tolist()


@pytest.mark.parametrize("seed", range(3))
def test_the_step_has_the_least_error_of_those_tried(seed: int) -> None:
    random = np.random.default_rng(seed)
    weights = random.normal(size=(6, 5)).astype(np.float32) * np.float32([[1], [9], [0.1], [4], [1], [1]])
    power = np.exp(random.normal(size=5)).astype(np.float32)
    found = best_steps(weights, power, LEVELS)
    assert found.shape == (6, 1)
    for row, step in zip(weights, found[:, 0], strict=True):
        tried = CLIPS * np.abs(row).max() / LEVELS
        costs = [float(((nearest(row, one, LEVELS) - row) ** 2) @ power) for one in tried]
        assert float(((nearest(row, step, LEVELS) - row) ** 2) @ power) == pytest.approx(min(costs), rel=1e-4)
        assert np.abs(tried / step - 1).min() < 1e-6
    assert (len(CLIPS), CLIPS[0], CLIPS[-1]) == (25, np.float32(0.4), 1)


def test_weights_are_rounded_to_the_nearest_step_of_the_grid() -> None:
    weights = np.array([[0.24, 0.26, -0.26, 9.0, -9.0, 3.4]], np.float32)
    assert nearest(weights, np.float32([[0.5]]), LEVELS).tolist() == [[0, 0.5, -0.5, 3.5, -3.5, 3.5]]


@pytest.mark.parametrize(("size", "drawn"), [(16_384, 4096), (65_536, 1024), (1000, 5000), (1 << 20, 256)])
def test_samples_take_256_mebibytes_at_most(size: int, drawn: int) -> None:
    """But for the fewest."""
    assert len(layer_rounding._draw_rows(5000, size, 0)) == drawn
