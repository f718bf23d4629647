"""Which net `train` chooses for items of a shape: one that takes them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgepress.runtime import InputSpec
from edgepress.toolkit.data.types import DataSet, Split
from edgepress.toolkit.training import transfer
from edgepress.toolkit.training.choosing import AUTO, IMAGENET, Choice, choose, resolve_arguments
from edgepress.toolkit.training.nets.architectures import ARCHITECTURES
from edgepress.toolkit.training.nets.options import BaseNet
from edgepress.toolkit.training.options import TrainingOptions


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


PHOTOS = InputSpec.image(96, 96, "rgb")


def arguments_of(choice: Choice, items: int, **given: Any) -> dict[str, Any]:
    split = Split(None, np.arange(items), np.arange(items) % 2)  # type: ignore[arg-type]
    data = DataSet("", ("a", "b"), PHOTOS, split, split, split, "")
    return resolve_arguments(TrainingOptions(**given), choice, data)


def base_of(parameters: int) -> Choice:
    graph = b"\0" * (4 * parameters)
    return Choice("theirs", None, "", BaseNet("theirs", "", PHOTOS, graph, "features", 32))


@pytest.mark.parametrize("choice", [Choice("mobilenet-v1", IMAGENET, ""), base_of(80_000)])
@given(items=st.integers(200, 60_000))
def test_small_pretrained_nets_see_more_epochs_of_few_items(choice: Choice, items: int) -> None:
    chosen = arguments_of(choice, items)
    assert transfer.EPOCHS <= chosen["epochs"] <= transfer.SMALL_EPOCHS
    assert chosen["epochs"] * items <= max(transfer.SMALL_ITEMS, transfer.EPOCHS * items)
    assert chosen["dropout"] == 0
    given_ones = arguments_of(choice, items, epochs=7, dropout=0.5)
    assert (given_ones["epochs"], given_ones["dropout"]) == (7, 0.5)
    assert arguments_of(choice, items, freeze=True)["epochs"] == 0


@pytest.mark.parametrize("choice", [Choice("efficientnet-lite0", IMAGENET, ""), base_of(3_000_000)])
def test_large_pretrained_nets_do_not(choice: Choice) -> None:
    chosen = arguments_of(choice, 1768)
    assert (chosen["epochs"], chosen["dropout"]) == (transfer.EPOCHS, 0.2)
    assert "small" not in chosen


def test_a_wide_mobilenet_is_a_large_net() -> None:
    assert arguments_of(Choice("mobilenet-v1", IMAGENET, ""), 1768, width=1.0)["epochs"] == transfer.EPOCHS
