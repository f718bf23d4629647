"""Which channels can only leave together, by each operation, without a graph."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from linking import letters, program_around, step_of, ties

from edgepress.converters.pruning.units import (
    BINARY,
    RULES,
    UNARY,
    by_channel,
    groups_of,
    removable_units,
    removal_links,
)

IMAGE = (1, 5, 3, 4)
HALF = (1, 5, 3, 2)
SINGLE = (1, 5, 3, 1)


def ones(*shape: int) -> np.ndarray:
    return np.ones(shape, np.float32)


def ints(*values: Any) -> np.ndarray:
    return np.array(values, np.int32)


@pytest.mark.parametrize(
    ("kind", "weights", "groups", "single"),
    [
        ("CONV_2D", (6, 3, 2, 4), 1, False),
        ("CONV_2D", (6, 3, 2, 2), 2, False),
        ("CONV_2D", (8, 3, 2, 1), 4, True),
        ("DEPTHWISE_CONV_2D", (1, 3, 2, 8), 4, True),
        ("FULLY_CONNECTED", (6, 2), 1, False),
    ],
)
def test_groups_of_a_layer(kind: str, weights: tuple[int, ...], groups: int, single: bool) -> None:
    step = step_of(kind, [IMAGE, ones(*weights)], [IMAGE])
    assert (groups_of(step), by_channel(step)) == (groups, single)


def test_a_layer_of_one_channel_or_of_computed_weights_has_one_group() -> None:
    one = step_of("CONV_2D", [SINGLE, ones(3, 1, 1, 1)], [(1, 5, 3, 3)])
    assert (groups_of(one), by_channel(one)) == (1, False)
    assert groups_of(step_of("CONV_2D", [IMAGE, (4, 1, 1, 1)], [IMAGE])) == 1


CASES: list[tuple[str, str, list[Any], list[Any], dict[str, Any], str]] = [
    # What is tested, kind, inputs, outputs, options, groups of the channels.
    ("weights separate channels", "CONV_2D", [IMAGE, ones(2, 1, 1, 4)], [HALF], {}, "abcd ef"),
    ("the same of each group", "CONV_2D", [IMAGE, ones(4, 1, 1, 2)], [IMAGE], {}, "abab cdcd"),
    ("three groups", "CONV_2D", [(1, 5, 3, 6), ones(3, 1, 1, 2)], [(1, 5, 3, 3)], {}, "ababab ccc"),
    ("groups of one", "CONV_2D", [HALF, ones(4, 1, 1, 1)], [IMAGE], {}, "ab aabb"),
    ("depthwise", "DEPTHWISE_CONV_2D", [HALF, ones(1, 3, 3, 4)], [IMAGE], {}, "ab aabb"),
    ("constants", "CONV_2D", [ones(*IMAGE), ones(4, 1, 1, 1)], [IMAGE], {}, "...."),
    ("functions of values", "TANH", [IMAGE], [IMAGE], {}, "abcd abcd"),
    ("a product", "MUL", [IMAGE, IMAGE], [IMAGE], {}, "abcd abcd abcd"),
    ("one channel and many", "MUL", [IMAGE, SINGLE], [IMAGE], {}, "abcd e abcd"),
    ("two channels and many", "MAXIMUM", [IMAGE, HALF], [IMAGE], {}, ".... .. ...."),
    ("with a scalar", "POW", [IMAGE, ones(1)], [IMAGE], {}, "abcd abcd"),
    ("three sums", "ADD_N", [IMAGE, IMAGE, IMAGE], [IMAGE], {}, "abcd abcd abcd abcd"),
    ("a constant shape", "RESHAPE", [(1, 3, 2), ints(1, 6)], [(1, 6)], {}, "ab ababab"),
    ("no shape", "RESHAPE", [(1, 3, 2)], [(1, 6)], {}, "ab ababab"),
    ("a computed shape", "RESHAPE", [(1, 3, 2), (2,)], [(1, 6)], {}, ".. ab ......"),
    ("equal parts", "SPLIT", [ints(1), (1, 6)], [(1, 2)] * 3, {}, "ababab ab ab ab"),
    ("rows", "SPLIT", [ints(0), (2, 2)], [(1, 2)] * 2, {}, "ab ab ab"),
    ("sizes", "SPLIT_V", [(1, 3), ints(1, 2), ints(1)], [(1, 1), (1, 2)], {}, "abc a bc"),
    ("computed sizes", "SPLIT_V", [(1, 3), (2,), ints(1)], [(1, 1), (1, 2)], {}, "... .. . .."),
    ("a slice", "SLICE", [(1, 4), ints(0, 1), ints(1, 2)], [(1, 2)], {}, "abcd bc"),
    ("of a computed size", "SLICE", [(1, 4), ints(0, 1), (2,)], [(1, 2)], {}, ".... ab .."),
    ("mirrored rows", "MIRROR_PAD", [(2, 2), ints([1, 0], [0, 0])], [(3, 2)], {}, "ab ab"),
    ("mirrored channels", "MIRROR_PAD", [(2, 2), ints([0, 0], [1, 0])], [(2, 3)], {}, ".. ..."),
    ("mirrored channels behind", "MIRROR_PAD", [(2, 2), ints([0, 0], [0, 1])], [(2, 3)], {}, ".. ..."),
    ("mirrored by computed widths", "MIRROR_PAD", [(2, 2), (2, 2)], [(3, 2)], {}, ".. .. .."),
    ("blocks", "SPACE_TO_BATCH_ND", [(1, 4, 4, 2), ints(2, 2), ints(0)], [(4, 2, 2, 2)], {}, "ab ab"),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case[1]}: {case[0]}")
def test_channels_leave_together_by_each_operation(case: Any) -> None:
    _, kind, inputs, outputs, options, groups = case
    assert ties(RULES, kind, inputs, outputs, **options) == groups


def test_strides_of_channels_pin_them() -> None:
    masks = {"newAxisMask": 0, "ellipsisMask": 0}
    for step, groups in ((1, "ab ab"), (2, ".. ..")):
        constants = [ints(0, 0), ints(9, 9), ints(1, step)]
        assert ties(RULES, "STRIDED_SLICE", [(4, 2), *constants], [(4, 2)], **masks) == groups


@pytest.mark.parametrize("kind", [*UNARY, *BINARY])
def test_what_computes_values_one_by_one_keeps_channels_apart(kind: str) -> None:
    assert ties(RULES, kind, [HALF], [HALF]) == "ab ab"


def units(*steps: Any, **shapes: Any) -> tuple[Any, str]:
    """Units of a program, and the letters of those of the first step's output."""
    found = removable_units(program_around(*steps, **shapes))
    return found, letters([found.of["o0"]])


def test_the_last_channel_of_a_tensor_stays() -> None:
    """What would leave nothing: one channel, or channels that all are tied."""
    assert units(step_of("RELU", [IMAGE], [IMAGE]), o0=IMAGE)[1] == "abcd"
    assert units(step_of("RELU", [SINGLE], [SINGLE]), o0=SINGLE)[1] == "."
    tied = step_of("CONV_2D", [HALF, ones(2, 1, 1, 1)], [HALF])
    assert units(tied, o0=HALF)[1] == "ab"
    alone = step_of("RESHAPE", [SINGLE], [(1, 15)])
    assert units(alone, o0=(1, 15))[1] == "." * 15


def test_units_are_numbered_and_belong_to_families() -> None:
    step = step_of("RESHAPE", [(1, 3, 2)], [(1, 6)])
    found, _ = units(step, o0=(1, 6))
    assert found.count == 3
    assert found.of["sink"].tolist() == found.of["source"].tolist() == [0, 0]
    (family,) = found.families
    assert family.units.tolist() == [1, 2]
    assert family.channels == {"t0": 1, "o0": 3}
    assert found.kept("o0", np.array([True, False, True])).tolist() == [False, True] * 3


def test_families_are_in_the_order_of_their_first_unit() -> None:
    step = step_of("CONCATENATION", [HALF, (1, 5, 3, 3)], [(1, 5, 3, 5)], axis=3)
    found, _ = units(step, o0=(1, 5, 3, 5))
    assert [family.units.tolist() for family in found.families] == [[1, 2], [3, 4, 5]]
    assert [family.channels for family in found.families] == [{"t0": 1, "o0": 1}, {"t1": 1, "o0": 1}]


def test_links_are_those_of_all_steps() -> None:
    first = step_of("RELU", [IMAGE], [IMAGE])
    second: Any = SimpleNamespace(**{**first.__dict__, "kind": "COS", "inputs": ("o0",), "outputs": ("end",)})
    second.output, second.weights = "end", ""
    links = removal_links(program_around(first, second, o0=IMAGE, end=IMAGE))
    groups = links.components()
    assert letters([groups[links.ids[name]] for name in ("t0", "o0", "end")]) == "abcd abcd abcd"
