"""Factors of channels, computed for groups that are given here."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from edgepress.converters.ptq.equalization import BOUND, QUIET, _change, equalizing_factors


@pytest.mark.parametrize(("bounded", "widest"), [(False, 50.0), (True, BOUND)])
def test_free_channels_become_as_wide_as_pinned_ones_and_bounded_ones_as_their_bound(
    bounded: bool, widest: float
) -> None:
    of = {"a": np.array([1, 2]), "b": np.array([0, 1])}
    groups: Any = SimpleNamespace(
        count=3, of=of, bounded=np.array([False, bounded, bounded]), program=SimpleNamespace(steps=[])
    )
    highs = {"a": np.array([1.0, 2.0]), "b": np.array([50.0, 1.0])}
    factors = equalizing_factors(groups, {name: (np.zeros(2), high) for name, high in highs.items()})
    assert factors[0] == 1
    assert max(highs["a"] / factors[1:]) == pytest.approx(widest)


def test_a_channel_that_is_nearly_dead_keeps_a_share_of_the_weights() -> None:
    used, read = np.array([1e-7, 1e-7, 0.25, 0.25]), np.array([0.5, 0.01, 1.0, 0.0])
    np.testing.assert_allclose(_change(used, read, np.zeros(4)), [QUIET / 0.5, 1, 0.5, 0.25])


def test_the_row_that_makes_a_channel_limits_it_where_weights_have_one_scale() -> None:
    """Fewer levels of the two count; a channel that is never active is balanced by its weights alone."""
    used = np.array([0.04, 1.0, 1.0, 1e-9])
    read = np.array([1.0, 1.0, 0.25, 0.25])
    made = np.array([1.0, 0.04, 0.0, 1.0])
    np.testing.assert_allclose(_change(used, read, made), [0.2, 0.2, 2.0, 2.0])
