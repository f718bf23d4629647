"""Splits by groups: no group is divided, known groups stay where they are, and the shares are near those wanted."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgepress.toolkit.data.groups import assign_groups, unite
from edgepress.toolkit.data.splits import SHARES

SPLITS = ("train", "val", "test")


def contents(count: int, *, first: int = 0) -> np.ndarray:
    return np.array([hashlib.sha256(str(first + i).encode()).hexdigest() for i in range(count)], np.bytes_)


def split_of(
    y: Sequence[int], groups: Sequence[str], hashes: np.ndarray | None = None, stored: Sequence[str] | None = None
) -> np.ndarray:
    numbers = unite(contents(len(y)) if hashes is None else hashes, groups)
    parts = np.array(stored or ["train"] * len(y), "<U5")
    return assign_groups(numbers, np.array(y, np.int64), np.array([g != "" for g in groups]), parts)


def crossed(groups: int, classes: int, items: int) -> tuple[list[int], list[str]]:
    """Items of each group in each class, as of speakers who say all words."""
    rows = [(c, f"g{g}") for g in range(groups) for c in range(classes) for _ in range(items)]
    return [c for c, _ in rows], [g for _, g in rows]


def nested(groups: int, classes: int, items: int) -> tuple[list[int], list[str]]:
    """Groups of one class each, as photos of one object."""
    rows = [(c, f"c{c}g{g}") for c in range(classes) for g in range(groups) for _ in range(items)]
    return [c for c, _ in rows], [g for _, g in rows]


@st.composite
def drawn(draw: Any) -> tuple[list[int], list[str]]:
    classes = draw(st.integers(2, 4))
    rows = draw(
        st.lists(
            st.tuples(st.integers(0, classes - 1), st.sampled_from(["", *(f"g{i}" for i in range(9))])),
            min_size=1,
            max_size=60,
        )
    )
    return [c for c, _ in rows], [g for _, g in rows]


@given(drawn(), st.lists(st.sampled_from(SPLITS), min_size=60, max_size=60), st.data())
def test_no_group_and_no_content_is_divided(items: tuple[list[int], list[str]], parts: list[str], data: Any) -> None:
    y, groups = items
    copies = data.draw(st.lists(st.integers(0, 40), min_size=len(y), max_size=len(y)))
    stored = data.draw(st.sampled_from([None, parts[: len(y)]]))
    hashes = contents(41)[copies]
    split = split_of(y, groups, hashes, stored)
    for keys in (groups, copies):
        for key in {*keys} - {""}:
            assert len({s for s, k in zip(split, keys, strict=True) if k == key and s}) <= 1


@given(drawn(), st.randoms(use_true_random=False))
def test_the_order_of_the_items_does_not_matter(items: tuple[list[int], list[str]], random: Any) -> None:
    y, groups = items
    order = list(range(len(y)))
    random.shuffle(order)
    hashes = contents(len(y))
    split = split_of(y, groups, hashes)
    again = split_of([y[i] for i in order], [groups[i] for i in order], hashes[order])
    assert again.tolist() == split[order].tolist()


@given(drawn(), st.data())
def test_new_items_of_known_groups_move_nothing(items: tuple[list[int], list[str]], data: Any) -> None:
    y, groups = items
    named = [row for row in zip(y, groups, strict=True) if row[1]]
    if not named:
        return
    more = data.draw(st.lists(st.sampled_from(named), max_size=200))
    hashes = np.concatenate([contents(len(y)), contents(len(more), first=1000)])
    before = split_of(y, groups)
    after = split_of([*y, *(c for c, _ in more)], [*groups, *(g for _, g in more)], hashes)
    assert after[: len(y)].tolist() == before.tolist()
    where = dict(zip(groups, before, strict=True))
    assert [where[g] for _, g in more] == after[len(y) :].tolist(), "and they follow their group"


@given(st.integers(3, 40), st.integers(2, 6), st.integers(1, 4), st.booleans())
def test_each_class_gets_its_share_of_the_groups(groups: int, classes: int, items: int, is_crossed: bool) -> None:
    y, names = (crossed if is_crossed else nested)(groups, classes, items)
    split = split_of(y, names)
    total = groups if is_crossed else groups * classes
    for name, share in SHARES.items():
        count = len({n for n, s in zip(names, split, strict=True) if s == name})
        assert math.ceil(share * total) <= count <= math.ceil(share * total) + (classes if name == "test" else 0)
        for c in range(classes):
            own = len({n for n, s, k in zip(names, split, y, strict=True) if s == name and k == c})
            assert abs(own - share * groups) <= 1, (name, c)
            assert own >= (name == "test")
    assert all("train" in split[np.array(y) == c] for c in range(classes))


def test_a_class_with_two_groups_has_one_for_testing_and_one_for_training() -> None:
    y, names = nested(2, 3, 4)
    split = split_of(y, names)
    for c in range(3):
        assert sorted({*split[np.array(y) == c].tolist()}) == ["test", "train"]


def test_the_last_group_of_a_class_stays_in_training() -> None:
    y, names = nested(1, 2, 4)
    assert {*split_of(y, names).tolist()} == {"train"}


def test_groups_with_equal_content_are_one() -> None:
    hashes = contents(4)[[0, 1, 1, 2, 3]]
    first, second, third, fourth, alone = unite(hashes, ["a", "a", "b", "b", ""]).tolist()
    assert first == second == third == fourth != alone
    joined = unite(contents(3)[[0, 0, 1]], ["", "a", "a"]).tolist()
    assert joined == [unite(contents(1), ["a"])[0]] * 3, "an item without a group joins that of its copy"


def test_the_number_of_a_group_is_that_of_its_name_in_other_data() -> None:
    assert unite(contents(1), ["a"])[0] == unite(contents(5, first=9), ["b", "", "a", "", "c"])[2]


@pytest.mark.parametrize("other", ["train", "val"])
def test_a_group_of_a_given_test_split_leaves_the_others(other: str) -> None:
    split = split_of([0] * 4, ["a", "a", "b", ""], stored=["test", other, other, other])
    assert split[:2].tolist() == ["test", ""]
    assert "" not in split[2:]


def test_large_data_take_seconds() -> None:
    y, names = nested(200, 100, 5)
    split = split_of(y, names)
    assert abs((split == "test").mean() - 0.2) < 0.01
