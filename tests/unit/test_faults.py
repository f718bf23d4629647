"""What is called a fault of a layer: its size, and what it costs."""

from __future__ import annotations

from typing import Any

import pytest
from quantized_layers import PLAIN

from edgepress.converters.diagnosis.layer import (
    FLAGRANT,
    MIN_ERROR_SHARE,
    OUTLIER,
    TRACE,
    WIDE,
    QuantizedLayer,
    fault_of,
)


@pytest.mark.parametrize(
    ("figures", "cost", "fault"),
    [
        ({}, 1.0, ""),
        ({"spread": OUTLIER + 1}, MIN_ERROR_SHARE, "outlier"),
        ({"spread": OUTLIER + 1}, MIN_ERROR_SHARE / 2, ""),
        ({"spread": FLAGRANT * OUTLIER + 1}, MIN_ERROR_SHARE / 2, "outlier"),
        ({"spread": FLAGRANT * OUTLIER + 1}, TRACE / 2, ""),
        ({"range_used": WIDE - 0.01}, MIN_ERROR_SHARE, "range"),
        ({"range_used": WIDE - 0.01}, MIN_ERROR_SHARE / 2, ""),
        ({"range_used": WIDE / FLAGRANT}, MIN_ERROR_SHARE / 2, "range"),
        ({"range_used": WIDE / FLAGRANT, "kind": "SOFTMAX"}, MIN_ERROR_SHARE / 2, ""),
        ({"excess": MIN_ERROR_SHARE, "weights_error": 0.6}, MIN_ERROR_SHARE, "weights"),
        ({"excess": MIN_ERROR_SHARE, "weights_steps": 9.0}, MIN_ERROR_SHARE, "weights"),
        ({"excess": MIN_ERROR_SHARE, "bias_steps": 9.0}, MIN_ERROR_SHARE, "bias"),
        ({"excess": MIN_ERROR_SHARE / 2, "weights_steps": 9.0, "bias_steps": 9.0}, 1.0, ""),
        ({"excess": MIN_ERROR_SHARE, "spread": OUTLIER + 1, "weights_steps": 9.0}, MIN_ERROR_SHARE, "weights"),
        ({"spread": 1000.0, "stored": "float32"}, 1.0, ""),
    ],
)
def test_a_fault_costs_something_unless_it_is_flagrant(figures: dict[str, Any], cost: float, fault: str) -> None:
    assert fault_of(QuantizedLayer(**PLAIN | figures | {"cost": cost}), tied=False, blamed=False) == fault


@pytest.mark.parametrize("fault", ["range", "zero point", "clipped"])
def test_a_fault_of_a_range_counts_if_a_fitting_one_costs_less(fault: Any) -> None:
    for excess, said in ((MIN_ERROR_SHARE, fault), (MIN_ERROR_SHARE / 2, "")):
        assert fault_of(QuantizedLayer(**PLAIN | {"excess": excess}), fault, tied=False, blamed=False) == said


def test_ranges_that_kernels_tie_are_not_too_wide() -> None:
    layer = QuantizedLayer(**PLAIN | {"range_used": 0.01})
    assert (fault_of(layer, tied=False, blamed=False), fault_of(layer, tied=True, blamed=False)) == ("range", "")
