"""Which net `train` chooses for items of a shape: one that takes them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgepress.runtime import InputSpec
from edgepress.toolkit.data.types import DataSet, Split
from edgepress.toolkit.training.choosing import AUTO, choose
from edgepress.toolkit.training.nets.architectures import ARCHITECTURES


def data_of(spec: InputSpec) -> DataSet:
    split = Split(None, np.arange(3), np.arange(3))  # type: ignore[arg-type]
    return DataSet("", ("a", "b", "c"), spec, split, split, split, "")


@given(st.lists(st.integers(1, 300), min_size=1, max_size=4))
def test_the_net_takes_the_items(shape: list[int]) -> None:
    spec = InputSpec(shape=tuple(shape))
    choice = choose(data_of(spec), AUTO, AUTO)
    assert ARCHITECTURES[choice.arch].takes(spec.shape)
    assert choice.weights is None


@pytest.mark.parametrize(
    ("shape", "arch"),
    [
        ((28, 28, 1), "lenet"),
        ((224, 224, 2), "lenet"),
        ((27, 28, 1), "dense"),
        ((28, 225, 1), "dense"),
        ((128, 6), "conv1d"),
        ((7, 6), "dense"),
        ((24,), "dense"),
    ],
)
def test_small_images_and_windows_get_a_net_for_any_shape(shape: tuple[int, ...], arch: str) -> None:
    assert choose(data_of(InputSpec(shape=shape)), AUTO, AUTO).arch == arch
    if len(shape) == 3:
        grey = InputSpec.image(shape[0], shape[1], "grey")
        assert choose(data_of(grey), AUTO, AUTO).arch == arch
