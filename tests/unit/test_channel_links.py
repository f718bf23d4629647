"""Which channels are tied by each operation that scales can pass, without a graph."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from linking import letters, program_around, step_of, ties

from edgepress.converters.graph.step import Step
from edgepress.converters.ptq.channel_links import (
    PINNED,
    RULES,
    Links,
    has_channels,
    input_channels,
    largest_by_input,
    output_channels,
    scaling_links,
)

IMAGE = (1, 5, 3, 4)
RELU = 1
RELU_N1_TO_1 = 2
RELU6 = 3
TANH = 4


def ones(*shape: int) -> np.ndarray:
    return np.ones(shape, np.float32)


def ints(*values: Any) -> np.ndarray:
    return np.array(values, np.int32)


@pytest.mark.parametrize(
    ("kind", "weights", "channels", "index"),
    [
        ("CONV_2D", (2, 3, 2, 4), 4, [[0, 1, 2, 3]]),
        ("CONV_2D", (6, 1, 1, 2), 6, [[0, 1], [0, 1], [2, 3], [2, 3], [4, 5], [4, 5]]),
        ("CONV_2D", (4, 1, 1, 1), 2, [[0], [0], [1], [1]]),
        ("CONV_2D", (3, 1, 1, 2), 4, None),
        ("CONV_2D", (4, 1, 1, 3), 4, None),
        ("DEPTHWISE_CONV_2D", (1, 3, 3, 4), 4, [0, 1, 2, 3]),
        ("DEPTHWISE_CONV_2D", (1, 3, 3, 6), 2, [0, 0, 0, 1, 1, 1]),
        ("DEPTHWISE_CONV_2D", (1, 3, 3, 5), 2, None),
        ("FULLY_CONNECTED", (2, 6), 3, [[0, 1, 2, 0, 1, 2]]),
        ("FULLY_CONNECTED", (2, 6), 6, [[0, 1, 2, 3, 4, 5]]),
        ("FULLY_CONNECTED", (2, 6), 4, None),
        ("ADD", (2, 6), 3, None),
    ],
)
def test_every_weight_has_an_input_channel(kind: str, weights: tuple[int, ...], channels: int, index: Any) -> None:
    found = input_channels(step_of(kind, [IMAGE, ones(*weights)], [IMAGE]), channels)
    if index is None:
        assert found is None
        return
    assert found is not None
    assert found.ndim == len(weights)
    assert np.broadcast_shapes(found.shape, weights) == weights
    wanted = np.array(index)
    rows = wanted.reshape(wanted.shape[0], *[1] * (len(weights) - 2), -1) if wanted.ndim == 2 else wanted
    np.testing.assert_array_equal(np.broadcast_to(found, weights), np.broadcast_to(rows, weights))


@pytest.mark.parametrize(
    ("kind", "weights", "axis"),
    [("CONV_2D", (5, 2, 3, 4), 0), ("DEPTHWISE_CONV_2D", (1, 2, 3, 4), 3), ("FULLY_CONNECTED", (5, 4), 0)],
)
def test_every_weight_has_an_output_channel(kind: str, weights: tuple[int, ...], axis: int) -> None:
    found = output_channels(step_of(kind, [IMAGE, ones(*weights)], [IMAGE]))
    np.testing.assert_array_equal(np.broadcast_to(found, weights), np.indices(weights)[axis])


@pytest.mark.parametrize(
    ("kind", "weights", "channels"),
    [
        ("CONV_2D", (5, 2, 3, 4), 4),
        ("CONV_2D", (6, 3, 2, 2), 6),
        ("DEPTHWISE_CONV_2D", (1, 2, 3, 6), 3),
        ("FULLY_CONNECTED", (5, 8), 4),
    ],
)
def test_the_largest_number_of_each_input_channel(kind: str, weights: tuple[int, ...], channels: int) -> None:
    values = np.random.default_rng(0).uniform(1, 2, weights).astype(np.float32)
    step = step_of(kind, [IMAGE, values], [IMAGE])
    index = np.broadcast_to(np.asarray(input_channels(step, channels)), weights)
    found = largest_by_input(values, step, channels)
    assert found.tolist() == [values[index == channel].max() for channel in range(channels)]


HALF = (1, 5, 3, 2)
SINGLE = (1, 5, 3, 1)
CASES: list[tuple[str, str, list[Any], list[Any], dict[str, Any], str]] = [
    # What is tested, kind, inputs, outputs, options, groups of the channels.
    ("weights separate channels", "CONV_2D", [IMAGE, ones(2, 1, 1, 4)], [HALF], {}, "abcd ef"),
    ("with a bias", "CONV_2D", [IMAGE, ones(2, 1, 1, 4), ones(2)], [HALF], {}, "abcd ef"),
    ("an empty bias", "CONV_2D", [IMAGE, ones(2, 1, 1, 4), ""], [HALF], {}, "abcd ef"),
    ("a computed bias", "CONV_2D", [IMAGE, ones(2, 1, 1, 4), (2,)], [HALF], {}, ".... .. .."),
    ("computed weights", "FULLY_CONNECTED", [(1, 4), (2, 4)], [(1, 2)], {}, ".... .... .."),
    ("weights of integers", "CONV_2D", [IMAGE, np.ones((2, 1, 1, 4), np.int8)], [HALF], {}, ".... .."),
    ("weights that do not fit", "CONV_2D", [IMAGE, ones(2, 1, 1, 3)], [HALF], {}, ".... ab"),
    ("a constant image", "CONV_2D", [ones(*IMAGE), ones(2, 1, 1, 4)], [HALF], {}, ".."),
    ("integers", "ADD", [IMAGE, IMAGE], [IMAGE], {"dtype": np.dtype(np.int32)}, ".... .... ...."),
    ("an unknown kind", "COS", [IMAGE], [IMAGE], {}, ".... ...."),
    ("a sum", "ADD", [IMAGE, IMAGE], [IMAGE], {}, "abcd abcd abcd"),
    ("a sum of one channel and many", "SUB", [IMAGE, SINGLE], [IMAGE], {}, ".... . ...."),
    ("a constant for each channel", "ADD", [IMAGE, ones(4)], [IMAGE], {}, "abcd abcd"),
    ("one constant for all", "ADD", [IMAGE, ones(1)], [IMAGE], {}, ".... ...."),
    ("a scalar", "SUB", [IMAGE, np.array(1, np.float32)], [IMAGE], {}, ".... ...."),
    ("a sum with 0", "ADD", [IMAGE, 0 * ones(1)], [IMAGE], {}, "abcd abcd"),
    ("a factor for each channel", "MUL", [IMAGE, ones(4)], [IMAGE], {}, "abcd efgh"),
    ("one factor for all", "MUL", [IMAGE, ones(1)], [IMAGE], {}, "abcd abcd"),
    ("one channel times factors", "MUL", [SINGLE, ones(4)], [IMAGE], {}, ". ...."),
    ("a product", "MUL", [IMAGE, IMAGE], [IMAGE], {}, "abcd efgh ijkl"),
    ("relu", "RELU", [IMAGE], [IMAGE], {}, "abcd abcd"),
    ("prelu with a constant", "PRELU", [IMAGE, ones(4)], [IMAGE], {}, "abcd abcd"),
    ("prelu with a computed slope", "PRELU", [IMAGE, IMAGE], [IMAGE], {}, ".... .... ...."),
    ("relu of a constant", "RELU", [ones(*IMAGE)], [IMAGE], {}, "...."),
    ("other numbers of channels", "MAX_POOL_2D", [IMAGE], [HALF], {}, ".... .."),
    ("mean of rows", "MEAN", [IMAGE, ints(1, 2)], [(1, 4)], {}, "abcd abcd"),
    ("mean of channels", "MEAN", [IMAGE, ints(1, 3)], [(1, 4)], {}, ".... ...."),
    ("mean of the last axis", "SUM", [IMAGE, ints(-1)], [(1, 4, 4)], {}, ".... ...."),
    ("mean of the first axis", "MEAN", [IMAGE, ints(-4)], [(4, 4, 4)], {}, "abcd abcd"),
    ("mean of the axis before the last", "MEAN", [IMAGE, ints(-2)], [(1, 4, 4)], {}, "abcd abcd"),
    ("mean of computed axes", "MEAN", [IMAGE, (2,)], [(1, 4)], {}, ".... .. ...."),
    ("channels of rows", "RESHAPE", [(1, 3, 2), ints(1, 6)], [(1, 6)], {}, "ab ababab"),
    ("rows of channels", "RESHAPE", [(1, 6), ints(1, 3, 2)], [(1, 3, 2)], {}, "ababab ab"),
    ("sizes that do not divide", "RESHAPE", [(1, 4, 3), ints(1, 2)], [(1, 3, 4)], {}, "... ...."),
    ("a shape of a constant", "RESHAPE", [ones(1, 4), ints(1, 2)], [(1, 2)], {}, ".."),
    ("the same channels", "SQUEEZE", [(1, 1, 3)], [(1, 3)], {}, "abc abc"),
    ("channels before and behind", "PAD", [(1, 2), ints([0, 0], [1, 2])], [(1, 5)], {}, "ab cabde"),
    ("rows before", "PAD", [(1, 2), ints([1, 0], [0, 0])], [(2, 2)], {}, "ab ab"),
    ("zeros before", "PADV2", [(1, 2), ints([0, 0], [1, 0]), 0 * ones(1)], [(1, 3)], {}, "ab cab"),
    ("ones before", "PADV2", [(1, 2), ints([0, 0], [1, 0]), ones(1)], [(1, 3)], {}, ".. ..."),
    ("computed values before", "PADV2", [(1, 2), ints([0, 0], [1, 0]), (1,)], [(1, 3)], {}, ".. a ..."),
    ("a computed width", "PAD", [(1, 2), (2, 2)], [(1, 3)], {}, ".. ab ..."),
    ("constant padded", "PAD", [ones(1, 2), ints([0, 0], [1, 0])], [(1, 3)], {}, "..."),
    ("side by side", "CONCATENATION", [(1, 2), (1, 3)], [(1, 5)], {"axis": 1}, "ab cde abcde"),
    ("side by side, from the end", "CONCATENATION", [(1, 2), (1, 1)], [(1, 3)], {"axis": -1}, "ab c abc"),
    ("one below the other", "CONCATENATION", [(1, 2), (1, 2)], [(2, 2)], {"axis": 0}, "ab ab ab"),
    ("a constant beside", "CONCATENATION", [(1, 2), ones(1, 1)], [(1, 3)], {"axis": 1}, ".. ..."),
    ("a constant below", "CONCATENATION", [(1, 2), ones(1, 2)], [(2, 2)], {"axis": 0}, ".. .."),
    ("parts of channels", "SPLIT", [ints(1), (1, 4)], [(1, 2), (1, 2)], {}, "abcd ab cd"),
    ("parts from the end", "SPLIT", [ints(-1), (1, 4)], [(1, 2), (1, 2)], {}, "abcd ab cd"),
    ("parts of rows", "SPLIT", [ints(0), (2, 2)], [(1, 2), (1, 2)], {}, "ab ab ab"),
    ("a computed axis", "SPLIT", [(1,), (2, 2)], [(1, 2), (1, 2)], {}, ". .. .. .."),
    ("a constant in parts", "SPLIT", [ints(1), ones(1, 4)], [(1, 2), (1, 2)], {}, ".. .."),
    ("parts of sizes", "SPLIT_V", [(1, 3), ints(1, 2), ints(1)], [(1, 1), (1, 2)], {}, "abc a bc"),
    ("rows of sizes", "SPLIT_V", [(3, 2), ints(1, 2), ints(0)], [(1, 2), (2, 2)], {}, "ab ab ab"),
    ("sizes, and a computed axis", "SPLIT_V", [(3, 2), ints(1, 2), (1,)], [(1, 2), (2, 2)], {}, ".. . .. .."),
    ("inner channels", "SLICE", [(1, 4), ints(0, 1), ints(1, 2)], [(1, 2)], {}, "abcd bc"),
    ("first channels", "SLICE", [(2, 4), ints(1, 0), ints(1, 3)], [(1, 3)], {}, "abcd abc"),
    ("a computed begin", "SLICE", [(1, 4), (2,), ints(1, 2)], [(1, 2)], {}, ".... ab .."),
    ("a slice of a constant", "SLICE", [ones(1, 4), ints(0, 1), ints(1, 2)], [(1, 2)], {}, ".."),
    ("a whole", "TRANSPOSE", [(2, 3, 2), ints(1, 0, 2)], [(3, 2, 2)], {}, "ab ab"),
    ("channels become rows", "TRANSPOSE", [(1, 2, 2), ints(0, 2, 1)], [(1, 2, 2)], {}, ".. .."),
    ("a computed order", "TRANSPOSE", [(1, 2), (2,)], [(1, 2)], {}, ".. ab .."),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case[1]}: {case[0]}")
def test_channels_are_tied_by_each_operation(case: Any) -> None:
    _, kind, inputs, outputs, options, groups = case
    assert ties(RULES, kind, inputs, outputs, **options) == groups


def stride(steps: Any, out: tuple[int, ...], source: Any = (4, 3, 2), **masks: int) -> str:
    options = {"newAxisMask": 0, "ellipsisMask": 0} | masks
    return ties(RULES, "STRIDED_SLICE", [source, ints(0, 0, 0), ints(9, 9, 9), steps], [out], **options)


def test_a_strided_slice_keeps_whole_channels() -> None:
    assert stride(ints(2, 2, 1), (2, 2, 2)) == "ab ab"
    assert stride(ints(1, 1, 2), (4, 3, 2)) == ".. .."
    assert stride(ints(1, 1, -1), (4, 3, 2)) == ".. .."
    assert stride(ints(1, 1, 1), (4, 3, 1)) == ".. ."
    assert stride(ints(1, 1, 1), (4, 3, 2), newAxisMask=1) == ".. .."
    assert stride(ints(1, 1, 1), (4, 3, 2), ellipsisMask=1) == ".. .."
    assert stride(ints(1, 1, 1), (4, 2)) == ".. .."
    assert stride((3,), (4, 3, 2)) == ".. abc .."
    assert stride(ints(1, 1, 1), (4, 3, 2), ones(4, 3, 2)) == ".."


def groups_of(*steps: Step, of: str = "o0", **shapes: tuple[int, ...]) -> str:
    """The groups of the channels of a tensor of a whole program."""
    links = scaling_links(program_around(*steps, o0=shapes.pop("o0", IMAGE), **shapes))
    return letters([links.components()[links.ids[of]]])


@pytest.mark.parametrize("activation", [None, 0, RELU, RELU_N1_TO_1, RELU6, TANH])
def test_activations_bound_or_pin_what_they_make(activation: int | None) -> None:
    step = step_of("CONV_2D", [IMAGE, ones(4, 1, 1, 4)], [IMAGE], fusedActivationFunction=activation)
    links = scaling_links(program_around(step, o0=IMAGE))
    assert letters([links.components()[links.ids["o0"]]]) == ("...." if activation in (RELU_N1_TO_1, TANH) else "abcd")
    assert [ids.tolist() for ids in links.bounded] == ([links.ids["o0"].tolist()] if activation == RELU6 else [])


def test_a_relu6_of_its_own_bounds_what_it_makes() -> None:
    links = scaling_links(program_around(step_of("RELU6", [IMAGE], [IMAGE]), o0=IMAGE))
    assert [ids.tolist() for ids in links.bounded] == [links.ids["o0"].tolist()]
    assert not scaling_links(program_around(step_of("RELU", [IMAGE], [IMAGE]), o0=IMAGE)).bounded


def test_products_of_two_tensors_are_listed() -> None:
    step = step_of("MUL", [IMAGE, IMAGE], [IMAGE])
    assert scaling_links(program_around(step, o0=IMAGE)).products == [step]
    assert not scaling_links(program_around(step_of("MUL", [IMAGE, ones(4)], [IMAGE]), o0=IMAGE)).products


@pytest.mark.parametrize(
    ("kind", "inputs", "name", "groups"),
    [
        ("CONV_2D", [IMAGE, ones(4, 1, 1, 4)], "c1", "...."),
        ("CONV_2D", [IMAGE, ones(4, 1, 1, 4), ones(4)], "c2", "...."),
        ("CONV_2D", [IMAGE, ones(4, 1, 1, 4), 0 * ones(4)], "c2", "abcd"),
        ("CONV_2D", [IMAGE, ones(4, 1, 1, 4), ""], "", "abcd"),
        ("ADD", [IMAGE, ones(4)], "c1", "...."),
        ("MUL", [IMAGE, ones(4)], "c1", "...."),
        ("SUB", [IMAGE, ones(4)], "c1", "...."),
        ("MUL", [IMAGE, ones(1)], "c1", "abcd"),
        ("PRELU", [IMAGE, ones(4)], "c1", "abcd"),
        ("ADD", [IMAGE, IMAGE], "t0", "abcd"),
    ],
)
def test_constants_that_two_steps_read_cannot_be_scaled(kind: str, inputs: list[Any], name: str, groups: str) -> None:
    """Unless they are zeros, or do not take up factors."""
    first = step_of(kind, inputs, [IMAGE])
    second = dataclasses.replace(
        first, inputs=tuple(n if n == name else n and f"{n}b" for n in first.inputs), outputs=("other",)
    )
    assert groups_of(first, second, other=IMAGE) == groups
    assert groups_of(first) == "abcd"


def test_channels_have_numbers_of_their_own_and_ends_are_pinned() -> None:
    program: Any = SimpleNamespace(
        source="x",
        sink="z",
        steps=[SimpleNamespace(outputs=("y", "w")), SimpleNamespace(outputs=("z",))],
        shapes={"x": (1, 2), "y": (1, 3), "w": (), "z": (2,)},
    )
    links = Links(program)
    numbers = np.concatenate([links.ids[name] for name in "xywz"])
    assert sorted({*numbers}) == list(range(PINNED + 1, links.count)) == numbers.tolist()
    assert [len(links.ids[name]) for name in "xywz"] == [2, 3, 1, 2]
    groups = links.components()
    assert [groups[links.ids[name]].any() for name in "xywz"] == [False, True, True, False]
    assert len({*groups[links.ids["y"]], *groups[links.ids["w"]]}) == 4
    assert sorted({*groups}) == list(range(5))


def test_a_constant_has_channels_if_its_last_axis_is_as_long() -> None:
    assert has_channels(ones(4), 4)
    assert has_channels(ones(1, 4), 4)
    assert not has_channels(ones(4, 1), 4)
    assert not has_channels(ones(4, 3), 4)
    assert not has_channels(np.array(1, np.float32), 1)
