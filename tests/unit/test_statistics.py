"""Streamed statistics of tensors, and the ranges that follow from them."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from edgepress.converters.errors import ConversionError
from edgepress.converters.numeric.histogram import BINS, SAMPLE, TAIL, Histogram
from edgepress.converters.numeric.statistics import METHODS, SMALLEST, CalibrationMethods, Statistics

Values = npt.NDArray[np.float32]
floats = st.floats(-1e6, 1e6, width=32).map(lambda x: x if abs(x) > 1e-20 else 0.0)  # smaller ones underflow in a bin
values_of_a_tensor = arrays(np.float32, st.integers(1, 300), elements=floats)


def histogram_of(*parts: npt.NDArray[Any]) -> Histogram:
    found = Histogram()
    for part in parts:
        found.add(part)
    return found


def statistics_of(values: npt.NDArray[Any], name: str = "x") -> Statistics:
    found = Statistics()
    found.add(name, values)
    return found


def rounded(values: Values, low: float, high: float, bits: int = 8) -> Values:
    """Values as integers of a range stand for them, without moving the range to meet 0."""
    step = (high - low) / (2**bits - 1)
    return np.asarray(np.rint((np.clip(values, low, high) - low) / step) * step + low, np.float32)


def error(values: Values, low: float, high: float, bits: int = 8) -> float:
    return float(np.mean((rounded(values, low, high, bits) - values) ** 2))


@given(values_of_a_tensor, st.integers(1, 50), st.randoms(use_true_random=False))
def test_batches_and_their_order_do_not_matter(values: Values, size: int, random: Any) -> None:
    parts = [values[i : i + size] for i in range(0, len(values), size)]
    random.shuffle(parts)
    streamed, whole = histogram_of(*parts), histogram_of(values)
    assert (streamed.low, streamed.high) == (whole.low, whole.high) == (values.min(), values.max())
    assert streamed.width == whole.width
    np.testing.assert_array_equal(streamed.counts, whole.counts)
    for method in METHODS[1:]:
        assert getattr(streamed, method)(8) == getattr(whole, method)(8)


@given(values_of_a_tensor)
def test_every_value_is_in_its_bin(values: Values) -> None:
    found = histogram_of(values)
    edges = (np.arange(2 * BINS + 1) - BINS) * found.width
    np.testing.assert_array_equal(found.counts, np.histogram(values.astype(np.float64), edges)[0])
    if (largest := float(np.abs(values).max())) > 1e-30:
        assert largest < BINS * found.width <= 2 * largest, "the width is the least"


@given(values_of_a_tensor, st.sampled_from(METHODS))
def test_ranges_hold_zero_and_nothing_that_was_not_seen(values: Values, method: Any) -> None:
    (low, high) = statistics_of(values).ranges(CalibrationMethods(method))["x"]
    assert min(values.min(), 0) <= low <= 0 <= high <= max(values.max(), low + SMALLEST, 0) * (1 + 1e-6)
    assert high - low >= SMALLEST * 0.999
    if values.min() >= 0:
        assert low == 0, "behind a ReLU"


@given(st.integers(0, 2**32 - 1), st.floats(-5, 5), st.floats(0.1, 100))
def test_percentiles_clip_the_tails_within_a_bin(seed: int, middle: float, scale: float) -> None:
    values = (np.random.default_rng(seed).standard_t(3, 40_000) + middle).astype(np.float32) * np.float32(scale)
    found = histogram_of(*np.array_split(values, 10))
    low, high = found.percentile(8)
    for side, end in ((values, high), (-values, -low)):
        assert np.mean(side >= end) <= TAIL or end == side.max()
        assert end == 0 or np.mean(side >= end - found.width) > TAIL


SHAPES = {
    "normal": lambda rng: rng.normal(size=20_000),
    "relu": lambda rng: np.maximum(rng.normal(size=20_000), 0),
    "tails": lambda rng: rng.standard_t(3, 20_000),
    "outliers": lambda rng: np.concatenate([rng.normal(size=20_000), [40, 35]]),
    "low outliers": lambda rng: np.concatenate([rng.normal(size=20_000), [-40, -35]]),
    "uniform": lambda rng: rng.uniform(-1, 3, 20_000),
    "swish": lambda rng: (lambda x: x / (1 + np.exp(-x)))(rng.normal(size=20_000) * 4),
}


@pytest.mark.parametrize("bits", [8, 6])
@pytest.mark.parametrize("shape", SHAPES)
def test_the_squared_error_is_as_small_as_any_search_finds(shape: str, bits: int) -> None:
    values = SHAPES[shape](np.random.default_rng(0)).astype(np.float32)
    low, high = histogram_of(*np.array_split(values, 10)).mse(bits)
    least = min(
        error(values, min(values.min(), 0) * i / 24, max(values.max(), 0) * j / 24, bits)
        for i in (range(1, 25) if values.min() < 0 else [24])
        for j in range(1, 25)
    )
    assert error(values, low, high, bits) <= least * 1.05


@pytest.mark.parametrize(("lower", "upper"), [(1, 1), (0.4, 1), (1, 0.4), (0.3, 0.6), (0.05, 0.1)])
def test_the_squared_error_is_that_of_rounding_and_clipping(lower: float, upper: float) -> None:
    values = (np.random.default_rng(4).standard_t(4, 20_000) + 0.5).astype(np.float32)
    found = histogram_of(*np.array_split(values, 10))
    first, last = round(found.low * lower / found.width), round(found.high * upper / found.width)
    low, high = np.float64(first * found.width), np.float64(last * found.width)
    computed = found.squared_error(low, high, 8, first=np.intp(first + BINS), last=np.intp(last + BINS))
    assert computed == pytest.approx(error(values, low, high), rel=0.05)


def test_zeros_of_a_relu_cost_nothing() -> None:
    values = np.concatenate([np.zeros(4000), np.linspace(0.1, 1, 96)]).astype(np.float32)
    found = histogram_of(values)
    last = np.intp(BINS + round(found.high / found.width))
    computed = found.squared_error(np.float64(0), np.float64(1), 8, first=np.intp(BINS), last=last)
    assert computed == pytest.approx(error(values, 0, 1), rel=0.2)


def test_zeros_of_a_relu_do_not_decide_on_the_threshold_of_the_others() -> None:
    parts = np.abs(np.random.default_rng(6).standard_t(4, (20, 4000))).astype(np.float32)
    expected = histogram_of(*parts).entropy(8)
    assert histogram_of(*parts, *np.zeros((60, 4000), np.float32)).entropy(8) == pytest.approx(expected, rel=0.1)


def test_the_side_with_rare_outliers_is_clipped() -> None:
    normal = np.random.default_rng(1).normal(size=(100, 4000)).astype(np.float32)
    for outlier in (30.0, -30.0):
        found = histogram_of(*normal, np.float32([outlier]))
        for method in ("percentile", "mse", "entropy"):
            low, high = getattr(found, method)(8)
            assert abs(low if outlier > 0 else high) > 2.5, "what has none is kept"
            assert max(-low, high) < 20


def test_without_outliers_little_is_clipped() -> None:
    values = np.random.default_rng(2).uniform(-1, 3, 4000).astype(np.float32)
    for method in METHODS:
        low, high = getattr(histogram_of(values), method)(8) if method != "minmax" else (-1, 3)
        assert low < -0.93
        assert high > 2.8


def test_extremes_count_wherever_they_are_and_all_channels_are_sampled() -> None:
    values = np.zeros((1, 64, 64, 32), np.float32)
    values[..., 5] = 7.0
    values[0, 31, 17, 3] = 100.0
    found = histogram_of(values)
    assert (found.low, found.high) == (0.0, 100.0)
    taken = found.counts
    assert SAMPLE // 2 < taken.sum() <= SAMPLE * 1.05
    assert taken[BINS + int(7 / found.width)] == pytest.approx(taken.sum() / 32, rel=0.05)


def test_methods_by_tensor_and_what_no_method_clips() -> None:
    parts = [*np.random.default_rng(3).normal(size=(100, 4000)).astype(np.float32), np.float32([50])]
    found = Statistics()
    for name in ("a", "b", "end", "input"):
        for part in parts:
            found.add(name, part)
    found.protect(["end"])
    found.know("input", 0.0, 255.0)
    assert set(found.names) == {"a", "b"}
    ranges = found.ranges(CalibrationMethods("mse", {"b": "minmax"}))
    whole = (float(min(part.min() for part in parts)), 50.0)
    assert ranges["a"][1] < 40
    assert ranges["b"] == ranges["end"] == whole
    assert ranges["input"] == (0.0, 255.0)
    assert found.ranges(CalibrationMethods("mse"), bits=16)["a"] == whole, "16 bits round finely enough"
    found.add("a", np.float32([60]))
    assert found.ranges()["a"][1] == 60, "nothing is kept of an earlier call"


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_a_number_is_refused_by_name(bad: float) -> None:
    for values in ([1.0, bad], [bad, 1.0]):
        found = statistics_of(np.float32(values), "conv_3")
        found.add("conv_3", np.float32([1]))
        with pytest.raises(ConversionError, match="conv_3"):
            found.ranges()
        found.know("conv_3", -1, 1)
        assert found.ranges() == {"conv_3": (-1, 1)}


def test_choices_are_values() -> None:
    one = CalibrationMethods("mse").with_tensors(["a"], "minmax")
    assert one == CalibrationMethods("mse", {"a": "minmax"})
    assert hash(one) == hash(CalibrationMethods("mse", {"a": "minmax"}))
    assert (one.method("a"), one.method("b")) == ("minmax", "mse")


def test_learned_ranges_count_for_eight_bits_where_they_can_be_of_the_same_tensor():
    found = Statistics()
    for name in ("near", "wide", "moved", "input"):
        found.add(name, np.linspace(-1, 3, 100, dtype=np.float32))
    found.know("input", 0.0, 255.0)
    learned = {
        "near": (-0.5, 1.5),
        "wide": (-120.0, 127.0),
        "moved": (1.5, 5.5),
        "input": (0.0, 1.0),
        "gone": (0.0, 1.0),
    }
    found.learn(learned)
    ranges = found.ranges()
    assert ranges["near"] == (-0.5, 1.5)
    assert {ranges["wide"], ranges["moved"]} == {(-1.0, 3.0)}
    assert ranges["input"] == (0.0, 255.0)
    assert "gone" not in ranges
    assert found.ranges(bits=16)["near"] == (-1.0, 3.0)
