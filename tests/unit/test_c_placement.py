"""Where tensors lie in an arena: none harms another one, and few of them lie as well as they can."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from records import assert_frozen

from edgepress.converters.to_c import placement
from edgepress.converters.to_c.placement import ALIGNMENT, Block, least_arena, may_share, search


@st.composite
def blocks(draw: st.DrawFn, most: int = 6) -> list[Block]:
    """Tensors of a chain of steps; some live longer, and some may share bytes with the output of their last reader."""
    chain: list[Block] = []
    for first in range(-1, draw(st.integers(0, most - 1))):
        last = first + draw(st.integers(1, 3))
        shared = [n for n, block in enumerate(chain) if block.last == first and draw(st.booleans())]
        distances = {n: draw(st.integers(-8, 12)) for n in shared}
        chain.append(Block(draw(st.integers(1, 40)), first, last, distances))
    return chain


def alive(one: Block, other: Block) -> bool:
    return one.first <= other.last and other.first <= one.last


def spoiled(writer: Block, at: int, number: int, reader: Block, other: int) -> bool:
    """Whether two blocks at the same time lie so that neither an end nor a distance keeps them apart."""
    apart = at + writer.size <= other or other + reader.size <= at
    distance = writer.distances.get(number)
    return not apart and (distance is None or other - at < distance)


@given(blocks())
def test_nothing_that_is_needed_at_the_same_time_is_spoiled(tensors: list[Block]) -> None:
    arena, offsets = search(tensors, 30)
    assert min(offsets) >= 0
    assert arena == max(at + block.size for at, block in zip(offsets, tensors, strict=True))
    for i, j in itertools.combinations(range(len(tensors)), 2):
        if alive(tensors[i], tensors[j]):
            both = (
                spoiled(tensors[i], offsets[i], j, tensors[j], offsets[j]),
                spoiled(tensors[j], offsets[j], i, tensors[i], offsets[i]),
            )
            assert not all(both)
            assert may_share(tensors, i, offsets[i], j, other=offsets[j])
            assert may_share(tensors, j, offsets[j], i, other=offsets[i])


@given(blocks(), st.integers(0, 5), st.integers(0, 60), st.integers(0, 5), st.integers(0, 60))
def test_two_may_share_if_an_end_or_a_distance_keeps_them_apart(
    tensors: list[Block], i: int, at: int, j: int, other: int
) -> None:
    i, j = i % len(tensors), j % len(tensors)
    expected = not (spoiled(tensors[i], at, j, tensors[j], other) and spoiled(tensors[j], other, i, tensors[i], at))
    assert may_share(tensors, i, at, j, other=other) == expected


@given(blocks())
def test_no_arena_is_below_the_least_one(tensors: list[Block]) -> None:
    assert search(tensors, 100)[0] >= least_arena(tensors)


def test_the_least_arena_is_that_of_the_fullest_step() -> None:
    chain = [Block(16, -1, 0, {}), Block(24, 0, 1, {}), Block(8, 1, 2, {})]
    assert least_arena(chain) == 40
    assert search(chain, 100) == (40, [24, 0, 24])
    overlapping = [chain[0], Block(24, 0, 1, {0: 0}), chain[2]]
    assert least_arena(overlapping) == 32
    assert search(overlapping, 100)[0] == 32
    two = [Block(16, -1, 1, {}), Block(8, 0, 1, {}), Block(20, 1, 2, {0: 0, 1: 0})]
    assert least_arena(two) == 24, "the output is no smaller than what it may cover"


def test_a_distance_that_is_too_small_keeps_apart() -> None:
    """The output begins at least so far before its input."""
    blocks = [Block(16, -1, 0, {}), Block(16, 0, 1, {0: 4})]
    assert search(blocks, 10) == (20, [4, 0])
    assert may_share(blocks, 1, 0, 0, other=4)
    assert may_share(blocks, 0, 4, 1, other=0)
    assert not may_share(blocks, 1, 1, 0, other=4)


@given(st.lists(st.integers(1, 30), min_size=1, max_size=7))
def test_what_lives_at_once_lies_side_by_side_on_words(sizes: list[int]) -> None:
    tensors = [Block(size, 0, 1, {}) for size in sizes]
    arena, offsets = search(tensors, 200)
    assert all(at % ALIGNMENT == 0 for at in offsets)
    assert sum(sizes) <= arena <= sum(-(-size // ALIGNMENT) * ALIGNMENT for size in sizes)


def test_the_search_finds_what_no_simple_order_does_and_always_the_same() -> None:
    """A long-lived small tensor in the middle splits the arena unless it lies at an end."""
    sizes = [12, 28, 20, 36, 16, 24]
    tensors = [Block(size, n - 1, n + 1 + n % 3, {}) for n, size in enumerate(sizes)]
    few, many = search(tensors, 0)[0], search(tensors, 2000)
    assert least_arena(tensors) <= many[0] <= few
    assert many == search(tensors, 2000)
    best = min(
        placement._placed(
            order, tensors, [[j for j in range(6) if j != i and alive(a, tensors[j])] for i, a in enumerate(tensors)]
        )[0]
        for order in itertools.permutations(range(6))
    )
    assert many[0] == best


def test_records_are_frozen() -> None:
    assert_frozen(placement, by_position=frozenset({"Block", "Placement"}))


@pytest.mark.parametrize("offset", range(-9, 10))
def test_offsets_go_to_words(offset: int) -> None:
    up = placement._up(offset)
    assert up % ALIGNMENT == 0
    assert offset <= up < offset + ALIGNMENT
