"""What quantization can't have made of a layer: weights, biases and zero points far from the float graph's."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from edgepress.converters.diagnosis.damage import Extent, fault_of_range, fitting, held_part, other_weights, sound_of
from edgepress.converters.diagnosis.matched import Matched, Rounding
from edgepress.converters.graph.step import Step

STEP = 0.01
OUTPUT = Rounding("static", 0.1, -128)
EXTENTS = {"x": Extent(0.0, 2.0, 1.0), "y": Extent(0.0, 25.5, 40.0)}
PLAIN = np.random.default_rng(0).uniform(-1, 1, (4, 50)).astype(np.float32)
BIAS = np.zeros(4, np.float32)


def layer(weights: Any = PLAIN, bias: Any = BIAS, **fields: Any) -> tuple[Step, Matched]:
    """A dense layer, and a file that holds its weights and its bias so."""
    shapes = ((1, 50), PLAIN.shape, (4,))
    constants = {1: PLAIN, 2: BIAS}
    step = Step("FULLY_CONNECTED", ("x", "w", "b"), ("y",), None, (1, 4), np.dtype(np.float32), shapes, constants)
    file: Any = SimpleNamespace(unactivated=set())
    stored = {"w": np.round(np.asarray(weights) / STEP) * STEP, "b": np.asarray(bias)}
    held = {"constants": stored, "scales": {"w": np.array([STEP])}, "roundings": {"y": OUTPUT}, "tensors": {}}
    return step, Matched(file, **(held | fields))


def test_rounding_is_no_damage() -> None:
    for weights in (PLAIN, PLAIN + STEP * np.random.default_rng(1).choice([-1, 1], PLAIN.shape)):
        found = sound_of(*layer(weights), EXTENTS, fixed=False)
        assert (found.constants, found.weights, found.bias) == ({}, 0.0, 0.0)


def test_one_weight_that_rounding_did_not_make_is_put_back() -> None:
    weights = PLAIN.copy()
    weights[2, 7] += 5 * STEP
    found = sound_of(*layer(weights), EXTENTS, fixed=False)
    assert found.weights == pytest.approx(5, abs=0.6)
    assert found.constants["w"][2, 7] == PLAIN[2, 7]
    assert np.abs(found.constants["w"] - PLAIN).max() <= STEP


def test_a_weight_that_only_fills_a_layout_is_damage_from_far_off_on() -> None:
    for steps, wrong in ((16.0, False), (17.0, True)):
        found = sound_of(*layer(fillers={"w": steps}), EXTENTS, fixed=False)
        assert (found.fillers, found.weights, found.constants) == (wrong, wrong * steps, {})


def test_a_wrong_scale_of_a_channel_is_damage_though_its_scale_is_wrong_too() -> None:
    for factor in (1 / 8, 8.0):
        step, held = layer()
        weights, scales = held.constants["w"].copy(), np.full(4, STEP)
        weights[1] *= factor
        scales[1] *= factor
        other = Matched(held.file, {}, held.roundings, {"w": weights}, {"w": scales})
        found = sound_of(step, other, EXTENTS, fixed=False)
        assert found.weights > 5
        assert np.abs(found.constants["w"] - PLAIN).max() < 2.5 * STEP * max(factor, 1)
        assert 0.1 < other_weights(step, other) < 0.3, "one of four channels"


def test_a_corrected_bias_is_no_damage_and_another_one_is() -> None:
    corrected, wrong = np.array([0.2, 0, 0, -0.2], np.float32), np.array([0, 0, 5.0, 0.2], np.float32)
    assert sound_of(*layer(bias=corrected), EXTENTS, fixed=False).bias == 0.0
    found = sound_of(*layer(bias=wrong), EXTENTS, fixed=False)
    assert found.bias == pytest.approx(50)
    assert found.constants["b"].tolist() == pytest.approx([0, 0, 0, 0.2]), "the corrected one stays"


@pytest.mark.parametrize(
    ("rounding", "extent", "excess", "cut", "fault"),
    [
        (Rounding("static", 0.1, -128), Extent(0, 25.5), 1.0, 0.0, ""),
        (Rounding("static", 0.4, -128), Extent(0, 25.5), 16.0, 0.0, "range"),
        (Rounding("static", 0.15, -128), Extent(0, 25.5), 2.3, 0.0, ""),
        (Rounding("static", 0.03, -128), Extent(0, 25.5), 900.0, 0.99, "clipped"),
        (Rounding("static", 0.08, -128), Extent(0, 25.5), 20.0, 0.9, ""),  # other items than the calibration's
        (Rounding("static", 0.1, -60), Extent(0, 25.5), 40.0, 0.9, "zero point"),
        (
            Rounding("static", 0.1, -60),
            Extent(0, 15.0),
            1.5,
            0.0,
            "zero point",
        ),  # nothing is cut, yet below 0 is nothing
        (Rounding("static", 0.1, 60), Extent(-12.8, 12.7), 40.0, 0.9, "zero point"),
        (Rounding("static", 0.1, 10), Extent(-12.8, 12.7), 2.0, 0.9, ""),
        (Rounding("static", 0.001, 0, -32768, 32767), Extent(0, 25.5), 2.0, 0.0, ""),  # 16 bits are symmetric
        (Rounding("static", 0.0007, 0, -32768, 32767), Extent(0, 25.5), 900.0, 0.99, ""),
    ],
)
def test_faults_of_ranges(rounding: Rounding, extent: Extent, excess: float, cut: float, fault: str) -> None:
    assert fault_of_range(rounding, extent, excess, cut) == fault


def test_a_value_or_two_beyond_a_range_are_of_other_items_and_no_fault() -> None:
    misplaced = (Rounding("static", 0.1, 60), Extent(-12.8, 12.7), 40.0, 0.9)
    assert [fault_of_range(*misplaced, beyond) for beyond in (1, 3, 4, 50)] == ["", "", "zero point", "zero point"]
    cut = (Rounding("static", 0.03, -128), Extent(0, 25.5), 900.0, 0.99)
    assert [fault_of_range(*cut, beyond) for beyond in (3, 4)] == ["", "clipped"]
    below = (Rounding("static", 0.1, -60), Extent(0, 15.0), 1.5, 0.9)
    assert fault_of_range(*below, 0) == "zero point", "codes below 0 that ReLU's values can't have need no value beyond"


def test_a_fitting_range_holds_the_values_and_no_more() -> None:
    for rounding in (OUTPUT, Rounding("static", 3.0, 7, 0, 255), Rounding("static", 0.1, 0, -32768, 32767)):
        for extent in (Extent(0, 9.0), Extent(-3.0, 6.0), Extent(-1e-3, 0.0)):
            found = fitting(rounding, extent)
            assert held_part(found, extent) > 0.99
            assert found.scale * 255 <= 2.02 * (extent.high - extent.low)
    assert fitting(OUTPUT, Extent()).scale > 0
