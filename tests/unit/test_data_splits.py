"""The split rule: content decides, every class is on both sides, and no content is on two."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgepress.toolkit.data import Split, calibration_rows
from edgepress.toolkit.data.splits import assign, require_all_classes
from edgepress.toolkit.errors import DataError

# Few different contents, so that copies, also under different labels, are common.
ITEMS = st.lists(st.tuples(st.integers(0, 40), st.integers(0, 3)), min_size=1, max_size=120)
PARTS = st.sampled_from(["train", "train", "train", "val", "test", ""])


def arrays(items: list[tuple[int, int]]) -> tuple[np.ndarray, np.ndarray]:
    contents, y = zip(*items, strict=True)
    return np.array([f"{hash((c, 7)) & 0xFFFF:04x}{c:02x}".encode() for c in contents]), np.array(y)


@given(ITEMS, st.data())
def test_no_content_is_in_two_splits(items: list[tuple[int, int]], data: st.DataObject) -> None:
    hashes, y = arrays(items)
    parts = np.array(data.draw(st.lists(PARTS, min_size=len(y), max_size=len(y))), "<U5")
    split = assign(hashes, y, parts)
    seen: dict[bytes, str] = {}
    for content, name in zip(hashes, split, strict=True):
        if name:
            assert seen.setdefault(content, name) == name


@given(ITEMS, st.randoms())
def test_order_of_the_items_does_not_matter(items: list[tuple[int, int]], random) -> None:  # type: ignore[no-untyped-def]
    shuffled = items.copy()
    random.shuffle(shuffled)

    def places(some: list[tuple[int, int]]) -> list[tuple[object, ...]]:
        hashes, y = arrays(some)
        split = assign(hashes, y, np.full(len(y), "train"))
        return sorted(zip(hashes.tolist(), y.tolist(), split.tolist(), strict=True))

    assert places(items) == places(shuffled)


@given(st.lists(st.integers(5, 200), min_size=2, max_size=8))
def test_shares_and_stratification(sizes: list[int]) -> None:
    y = np.repeat(np.arange(len(sizes)), sizes)
    hashes = np.array([f"{i * 2654435761 % 2**32:08x}".encode() for i in range(len(y))])
    split = assign(hashes, y, np.full(len(y), "train"))
    assert np.sum(split == "test") == math.ceil(0.2 * len(y))
    assert np.sum(split == "val") == math.ceil(0.1 * len(y))
    share = math.ceil(0.2 * len(y)) / len(y)  # above 0.2, because the total is rounded up
    for c, size in enumerate(sizes):
        assert abs(np.sum(split[y == c] == "test") - share * size) < 1


def test_smallest_classes_are_still_trained_and_tested() -> None:
    y = np.array([0] * 100 + [1] * 2)
    hashes = np.array([f"{i:04d}".encode() for i in range(len(y))])
    split = assign(hashes, y, np.full(len(y), "train"))
    assert sorted(split[100:]) == ["test", "train"]


def test_given_parts_are_kept_and_their_copies_leave_training() -> None:
    hashes = np.array([b"a", b"b", b"c", b"d", b"a", b"e", b"e"])
    given_parts = np.array(["train", "train", "train", "train", "test", "val", "train"])
    split = assign(hashes, np.zeros(7, np.int64), given_parts)
    assert split.tolist() == ["", "train", "train", "train", "test", "val", ""]


def test_a_class_with_one_item_is_named() -> None:
    y = np.array([0] * 10 + [1])
    split = assign(np.array([f"{i:02d}".encode() for i in range(11)]), y, np.full(11, "train"))
    with pytest.raises(DataError, match=r"class 'rare' .*0 in train.*1 in test"):
        require_all_classes(split, y, ("common", "rare"), "here")


class Nowhere:
    def __len__(self) -> int:
        return 0


@given(st.lists(st.integers(0, 4), min_size=1, max_size=80), st.integers(0, 100))
def test_calibration_rows_are_spread_over_the_classes(y: list[int], n: int) -> None:
    labels = np.array(y)
    rows = calibration_rows(Split(Nowhere(), np.arange(len(y)), labels), n)  # type: ignore[arg-type]
    assert len(set(rows.tolist())) == min(n, len(y))
    taken, there = np.bincount(labels[rows], minlength=5), np.bincount(labels, minlength=5)
    full = taken == there
    assert full.all() or taken[~full].max() - taken[~full].min() <= 1
    if (~full).any():
        assert taken[full].max(initial=0) <= taken[~full].min() + 1
