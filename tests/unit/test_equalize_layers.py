"""Factors of channels that layers read and make, compared with a plain computation, and the steps that lead there."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from linking import step_of

from edgepress.converters.ptq import equalization as module
from edgepress.converters.ptq.equalization import (
    DEAD,
    LIMIT_ROUNDS,
    QUIET,
    ROOM,
    SWEEPS,
    equalizing_factors,
    limit_factors,
)
from edgepress.converters.to_tflite.grids import LARGEST

CHANNELS = 4


def renamed(step: Any, inputs: tuple[str, ...], output: str) -> Any:
    """A step with other names."""
    return SimpleNamespace(**{**step.__dict__, "inputs": inputs, "outputs": (output,), "output": output}, **{
        name: getattr(step, name) for name in ("weights", "bias", "input_shape")
    })  # fmt: skip


def dense(weights: np.ndarray, source: str, output: str) -> Any:
    step = step_of("FULLY_CONNECTED", [(1, weights.shape[1]), weights], [(1, len(weights))])
    return renamed(step, (source, f"weights of {output}"), output)


def conv(weights: np.ndarray, source: str, output: str) -> Any:
    channels = weights.shape[3]
    step = step_of("CONV_2D", [(1, 5, 3, channels), weights], [(1, 5, 3, len(weights))])
    return renamed(step, (source, f"weights of {output}"), output)


def groups_of(steps: list[Any], **of: list[int]) -> Any:
    count = max(max(ids) for ids in of.values()) + 1
    arrays = {name: np.array(ids) for name, ids in of.items()}
    program = SimpleNamespace(steps=steps, weighted=lambda: iter(steps))
    return SimpleNamespace(count=count, of=arrays, bounded=np.zeros(count, bool), program=program)


def expected_factors(
    widths: np.ndarray, reading: np.ndarray, making: np.ndarray | None, *, tensorwise: bool
) -> np.ndarray:
    """The factors of a tensor's channels, one by one: reading (outputs, channels), making (channels, inputs)."""
    factors = np.ones(len(widths))
    for _ in range(SWEEPS):
        scaled = widths / factors
        read = np.abs(reading) * factors
        made = np.zeros(len(widths)) if making is None else np.abs(making).max(axis=1) / factors
        new = factors.copy()
        for i in range(len(widths)):
            used = scaled[i] / scaled.max()
            share = max(row[i] / (read.max() if tensorwise else row.max()) for row in read)
            side = used if making is None else min(used, made[i] / made.max())
            if used * share < DEAD:
                new[i] *= min(1, QUIET / share) if making is None else np.sqrt(made[i] / made.max() / share)
            else:
                new[i] *= np.sqrt(side / share)
        factors = new * (widths / new).max() / widths.max()
    return factors


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("tensorwise", "make"), [(False, False), (False, True), (True, False), (True, True)])
def test_factors_balance_ranges_with_weights(seed: int, tensorwise: bool, make: bool) -> None:
    random = np.random.default_rng(seed)
    widths = np.exp2(random.uniform(-6, 3, CHANNELS))
    widths[-1] *= 1e-9 if seed == 2 else 1
    reading = random.normal(size=(3, CHANNELS)) * np.exp2(random.uniform(-5, 5, CHANNELS))
    making = random.normal(size=(CHANNELS, 2)) * np.exp2(random.uniform(-5, 5, (CHANNELS, 1)))
    steps = [dense(reading, "a", "b")] + ([dense(making, "source", "a")] if make else [])
    groups = groups_of(steps, source=[0, 0], a=[1, 2, 3, 4], b=[0, 0, 0])
    low = -0.25 * widths
    ranges = {"a": (low, low + widths), "b": (np.zeros(3), np.ones(3)), "source": (np.zeros(2), np.ones(2))}
    found = equalizing_factors(groups, ranges, ("FULLY_CONNECTED",) if tensorwise else ())
    expected = expected_factors(widths, reading, making if make and tensorwise else None, tensorwise=tensorwise)
    np.testing.assert_allclose(found[1:], expected, rtol=1e-5)
    assert found[0] == 1


@pytest.mark.parametrize("seed", range(2))
def test_the_largest_weight_of_a_kernel_counts(seed: int) -> None:
    random = np.random.default_rng(seed)
    widths = np.exp2(random.uniform(-3, 3, CHANNELS))
    weights = random.normal(size=(3, 3, 2, CHANNELS)) * np.exp2(random.uniform(-3, 3, CHANNELS))
    groups = groups_of([conv(weights, "a", "b")], a=[1, 2, 3, 4], b=[0, 0, 0])
    found = equalizing_factors(groups, {"a": (np.zeros(CHANNELS), widths)})
    expected = expected_factors(widths, np.abs(weights).max(axis=(1, 2)), None, tensorwise=False)
    np.testing.assert_allclose(found[1:], expected, rtol=1e-5)


def test_the_output_of_a_layer_is_scaled_with_what_it_reads() -> None:
    """Weights of an output whose factor grows become smaller, so the shares of what it reads stay."""
    weights = np.array([[1.0, 4.0], [8.0, 8.0]])
    groups = groups_of([dense(weights, "a", "b")], a=[1, 2], b=[3, 4])
    sizes, factors = np.abs(weights), np.array([1.0, 2.0, 3.0, 5.0, 7.0])
    found = module._scale_sizes(groups.program.steps[0], sizes, groups, factors)
    np.testing.assert_allclose(found, [[1 * 2 / 5, 4 * 3 / 5], [8 * 2 / 7, 8 * 3 / 7]])
    assert module._by_output(groups.program.steps[0], found).tolist() == [12 / 5, 24 / 7]
    np.testing.assert_allclose(module._reading(groups.program.steps[0], found, ()), [2 / 3, 1])
    np.testing.assert_allclose(module._reading(groups.program.steps[0], found, ("FULLY_CONNECTED",)), [16 / 24, 1])


def test_layers_whose_weights_fit_no_channel_do_not_count() -> None:
    step = dense(np.ones((2, 3)), "a", "b")
    step.input_shape = (1, 4)
    groups = groups_of([step], a=[1, 2, 3, 4], b=[0, 0])
    assert not module._scale_sizes(step, np.ones((2, 3)), groups, np.ones(5)).any()
    assert module._reading(step, np.ones((2, 3)), ()).tolist() == [0] * 4


def test_the_widest_of_several_tensors_and_readers_counts() -> None:
    """The same channels in two tensors, each with a reader."""
    steps = [dense(np.array([[8.0, 1.0]]), "a", "x"), dense(np.array([[1.0, 2.0]]), "b", "y")]
    groups = groups_of(steps, a=[1, 2], b=[1, 2], x=[0], y=[0])
    ranges = {"a": (np.zeros(2), np.array([1.0, 1.0])), "b": (np.zeros(2), np.array([4.0, 8.0]))}
    found = equalizing_factors(groups, ranges)
    np.testing.assert_allclose(found[1:], [1, 1], rtol=1e-12)


def test_tensors_that_share_a_group_are_one_cluster() -> None:
    of = {"a": [0, 1], "b": [2, 3], "c": [3, 4], "d": [5], "e": [0, 6]}
    groups = groups_of([], **of)
    found = module._clusters(groups, list(of))
    assert len({*found[[2, 3, 4]]}) == 1
    assert len({*found[[0, 1, 2, 5, 6]]}) == 5
    assert len(found) == 7 + 5
    assert len({*found}) == 5
    for number, group in enumerate((1, 2, 3, 5, 6)):
        assert found[7 + number] == found[group]


def test_depthwise_layers_and_those_of_unknown_ranges_do_not_count() -> None:
    """Depthwise weights have a scale for each channel."""
    weights = np.array([1.0, 9.0, 0.1]).reshape(1, 1, 1, 3)
    step = step_of("DEPTHWISE_CONV_2D", [(1, 5, 3, 3), weights], [(1, 5, 3, 3)])
    depthwise = renamed(step, ("a", "w"), "b")
    unknown = dense(np.array([[1.0, 5.0]]), "source", "c")
    groups = groups_of([depthwise, unknown], source=[0, 0], a=[1, 2, 3], b=[0, 0, 0], c=[0])
    found = equalizing_factors(groups, {"a": (np.zeros(3), np.array([1.0, 4, 8]))})
    np.testing.assert_allclose(found, [1, 1 / 8, 1 / 2, 1])


def test_without_tensors_each_group_is_a_cluster_of_its_own() -> None:
    assert len({*module._clusters(groups_of([], a=[0, 1, 2]), [])}) == 3


def test_channels_that_are_always_0_have_finite_factors() -> None:
    groups = groups_of([dense(np.array([[1.0, 2.0]]), "a", "x")], a=[1, 2], b=[3], x=[0])
    found = equalizing_factors(groups, {"a": (np.zeros(2), np.zeros(2)), "b": (np.zeros(1), np.ones(1))})
    assert np.isfinite(found).all()
    assert (found > 0).all()


@pytest.mark.parametrize(
    ("fixed", "widths", "expected"),
    [
        # Free channels only: as wide as before; each cluster by itself.
        ((), {"a": [2, 8], "b": [10]}, [1, 0.5 / 2, 8 / 2, 1]),
        # One of them fixed: the other becomes as wide.
        ((1,), {"a": [2, 4], "b": [10]}, [1, 0.5, 4 / 2, 1]),
        ((2,), {"a": [2, 4], "b": [10]}, [1, 2 / 4, 8, 1]),
        ((1, 2, 3), {"a": [2, 4], "b": [10]}, [1, 0.5, 8, 3]),
        ((), {"a": [0, 0], "b": [10]}, [1, 0.5, 8, 1]),
        ((1,), {"a": [0, 4], "b": [10]}, [1, 0.5, 1, 1]),
        ((1,), {"a": [0.5, 0.25], "b": [10]}, [1, 0.5, 0.5, 1]),
    ],
)
def test_factors_of_tied_tensors_keep_their_width(fixed: Any, widths: Any, expected: list[float]) -> None:
    groups = groups_of([], a=[1, 2], b=[3])
    is_fixed = np.isin(np.arange(4), (0, *fixed))
    arrays = {name: np.array(values, float) for name, values in widths.items()}
    factors = np.array([1, 0.5, 8, 3.0])
    clusters = module._clusters(groups, ["a", "b"])
    found = module._level(groups, factors, widths=arrays, clusters=clusters, fixed=is_fixed)
    np.testing.assert_allclose(found, expected)


def test_the_widest_channel_of_several_tied_tensors_keeps_its_width() -> None:
    groups = groups_of([], a=[1, 2], b=[2, 3], c=[0, 3])
    clusters = module._clusters(groups, ["a", "b", "c"])
    free = np.arange(4) == 0
    widths = {"a": np.array([2.0, 1]), "b": np.array([8.0, 4]), "c": np.array([5.0, 1])}
    found = module._level(groups, np.array([1.0, 1, 2, 4]), widths=widths, clusters=clusters, fixed=free)
    np.testing.assert_allclose(found, np.array([1, 4 / 5, 8 / 5, 16 / 5]))
    fixed = np.arange(4) < 2
    found = module._level(groups, np.array([1.0, 1, 2, 4]), widths=widths, clusters=clusters, fixed=fixed)
    np.testing.assert_allclose(found, np.array([1, 1, 8 / 5, 16 / 5]))


@pytest.mark.parametrize(("kind", "scaled"), [("CONCATENATION", True), ("RELU", False)])
def test_tensors_with_the_scale_of_another_do_not_count_alone(kind: str, scaled: bool) -> None:
    program: Any = SimpleNamespace(
        steps=[
            SimpleNamespace(kind=kind, inputs=("a", "b"), outputs=("c",)),
            SimpleNamespace(kind="SPLIT_V", inputs=("d",), outputs=("e", "f")),
            SimpleNamespace(kind="SLICE", inputs=("g",), outputs=("h",)),
        ]
    )
    assert module._with_scales_of_others(program) == ({"a", "b"} if scaled else set()) | {"e", "f", "h"}


def limited(factors: list[float], weights: np.ndarray, ranges: Any, **of: list[int]) -> list[float]:
    """Factors after limits, of one layer from "a" to "b" whose weights are divided by the factors of its outputs."""
    step = dense(weights, "a", "b")
    groups = groups_of([step], **of)

    def scale_constants(by: np.ndarray) -> dict[str, np.ndarray]:
        return {step.weights: weights / by[groups.of["b"]][:, np.newaxis]}

    groups.scale_constants = scale_constants
    return list(limit_factors(groups, np.array(factors), ranges))


def test_factors_grow_until_sums_are_multiplied_by_little_enough() -> None:
    """By the largest weight of each output and the ranges with 0, exactly."""
    weights = np.array([[1.0, -127.0], [12.7, 2.0], [0.5, 1.0]])
    limit = LARGEST / ROOM
    ranges = {"a": (1.0, 6.0), "b": (-1.5, -0.5)}  # 6 and 1.5 with 0
    found = limited([1, 1e-2, 1e-2, 10.0], weights, ranges, a=[0, 0], b=[1, 2, 3])
    needed = np.array([127, 12.7, 1]) / 127 * 6 / 1.5 / limit
    np.testing.assert_allclose(found, [1, *np.maximum(needed, [1e-2, 1e-2, 10])], rtol=1e-9)
    assert found[2] == 1e-2


def test_factors_are_left_where_an_output_is_constant_or_pinned() -> None:
    weights = np.array([[1.0], [127.0]])
    assert limited([1, 1e-9, 1e-9], weights, {"a": (0.0, 1.0), "b": (0.0, 0.0)}, a=[0], b=[1, 2]) == [1, 1e-9, 1e-9]
    pinned = limited([1, 1e-9, 1.0], weights, {"a": (0.0, 1e9), "b": (0.0, 1.0)}, a=[0], b=[0, 2])
    assert pinned[:2] == [1, 1e-9]
    assert pinned[2] == pytest.approx(1e9 * ROOM / LARGEST)


def test_layers_of_other_numbers_of_channels_are_not_limited() -> None:
    step = dense(np.array([[1e9], [1e9]]), "a", "b")
    groups = groups_of([step], a=[0], b=[1, 2, 3])
    groups.scale_constants = lambda by: {}
    assert limit_factors(groups, np.ones(4), {"a": (0.0, 1.0), "b": (0.0, 1.0)}).tolist() == [1] * 4


def test_layers_behind_one_whose_range_is_not_known_are_limited() -> None:
    first, second = dense(np.array([[127.0]]), "none", "a"), dense(np.array([[127.0]]), "a", "b")
    groups = groups_of([first, second], none=[0], a=[1], b=[2])
    groups.scale_constants = lambda by: {second.weights: np.array([[127.0]]) / by[2]}
    found = limit_factors(groups, np.ones(3), {"a": (0.0, 2 * LARGEST / ROOM), "b": (0.0, 1.0)})
    np.testing.assert_allclose(found, [1, 1, 2])


def test_limits_end_after_some_rounds() -> None:
    """Where weights do not follow, each round multiplies again."""
    step = dense(np.array([[127.0]]), "a", "b")
    groups = groups_of([step], a=[0], b=[1])
    groups.scale_constants = lambda by: {}
    found = limit_factors(groups, np.ones(2), {"a": (0.0, 2 * LARGEST / ROOM), "b": (0.0, 1.0)})
    assert found.tolist() == [1, 2.0**LIMIT_ROUNDS]
    found = limit_factors(groups, np.ones(2), {"a": (0.0, LARGEST / ROOM), "b": (0.0, 1.0)})
    assert found.tolist() == [1, 1]
