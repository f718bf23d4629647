"""The split rule on small data that can be counted by hand."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgepress.toolkit.data import Split, calibration_rows
from edgepress.toolkit.data.splits import assign, require_all_classes, require_items
from edgepress.toolkit.errors import DataError


def hashes(*numbers: int) -> np.ndarray:
    return np.array([f"{n:04d}".encode() for n in numbers])


def split_of(y: list[int], given: list[str] | None = None, content: list[int] | None = None) -> list[str]:
    parts = np.array(given or ["train"] * len(y), "<U5")
    return assign(hashes(*(content or range(len(y)))), np.array(y, np.int64), parts).tolist()


def test_the_first_fifth_by_content_is_for_testing_and_the_next_tenth_for_choosing() -> None:
    assert split_of([0] * 10) == ["test"] * 2 + ["val"] + ["train"] * 7
    assert split_of([0] * 10, content=list(range(9, -1, -1))) == ["train"] * 7 + ["val"] + ["test"] * 2
    assert split_of([0] * 11) == ["test"] * 3 + ["val"] * 2 + ["train"] * 6, "shares are rounded up"
    assert split_of([0] * 21).count("test") == 5
    assert split_of([0] * 21).count("val") == 3


def test_each_class_gives_its_share_by_largest_remainder() -> None:
    y = [0] * 7 + [1] * 13  # a fifth of 20 is 4: 1.4 and 2.6
    found = split_of(y)
    assert (found[:7].count("test"), found[7:].count("test")) == (1, 3)
    assert (found[:7].count("val"), found[7:].count("val")) == (1, 1)  # a tenth is 2: 0.7 and 1.3


def test_parts_that_came_with_the_data_are_kept() -> None:
    given = ["test"] * 5 + ["train"] * 15
    found = split_of([0] * 20, given)
    assert found[:5] == ["test"] * 5
    assert found[5:] == ["val"] * 2 + ["train"] * 13, "a tenth of those given for training, rounded up"
    found = split_of([0] * 20, ["val"] * 5 + ["train"] * 15)
    assert found[:5] == ["val"] * 5
    assert found[5:] == ["test"] * 3 + ["train"] * 12
    assert split_of([0] * 3, ["test", "val", "train"]) == ["test", "val", "train"]
    assert split_of([0] * 3, ["", "test", "val"]) == ["", "test", "val"]


def test_what_is_also_in_a_split_nearer_to_the_final_figure_leaves() -> None:
    assert split_of([0] * 5, ["test", "val", "train", "val", "train"], [1, 1, 1, 2, 2]) == ["test", "", "", "val", ""]
    assert split_of([0, 1, 0], ["test", "train", "val"], [1, 1, 2]) == ["test", "", "val"], "also of another class"


def test_copies_move_together_if_they_fit() -> None:
    assert split_of([0] * 10, content=[0, 0, 1, 2, 3, 4, 5, 6, 7, 8])[:3] == ["test", "test", "val"]
    three = split_of([0] * 10, content=[0, 0, 0, 1, 2, 3, 4, 5, 6, 7])
    assert three == ["train"] * 3 + ["test"] * 2 + ["val"] + ["train"] * 4, "three copies are more than a quota of two"


def test_copies_of_several_classes_count_for_the_lowest() -> None:
    y = [1, 0] + [0] * 9 + [1] * 9
    found = split_of(y, content=[0, 0, *range(1, 19)])
    assert found[:2] == ["test", "test"]
    assert found[2:11].count("test") == 0, "the copies filled the quota of class 0"
    assert found[11:].count("test") == 2


def test_every_class_is_tested_and_one_item_stays_for_training() -> None:
    found = split_of([0] * 50 + [1] * 2)
    assert found[50:] == ["test", "train"]
    found = split_of([0] * 50 + [1])
    assert found[50:] == ["test"], "a class of one item can only be tested"
    found = split_of([0] * 50 + [1] * 3)
    assert sorted(found[50:])[0:2] == ["test", "train"]


def test_nothing_is_split_into_nothing() -> None:
    assert split_of([]) == []
    assert split_of([0]) == ["test"]


@pytest.mark.parametrize(
    ("split", "y", "labels", "named"),
    [
        (["train", "test", "val"], [0, 0, 0], ("only",), "only"),
        (["train", "test", "val", "train"], [0, 0, 0, 1], ("a", "rare"), "'rare'"),
        (["train", "test", "val", "test"], [0, 0, 0, 1], ("a", "rare"), "'rare'"),
        (["train", "test", "train", "test"], [0, 0, 1, 1], ("a", "b"), "4 items"),
    ],
)
def test_data_that_can_not_be_trained_on_and_tested_are_refused(
    split: list[str], y: list[int], labels: tuple[str, ...], named: str
) -> None:
    with pytest.raises(DataError) as caught:
        require_all_classes(np.array(split), np.array(y), labels, "here")
    assert named in str(caught.value)
    assert "here" in str(caught.value)
    enough = ["train", "test", "val", "train", "test"]
    require_all_classes(np.array(enough), np.array([0, 0, 0, 1, 1]), ("a", "b"), "here")


@pytest.mark.parametrize(
    ("purpose", "enough", "message"),
    [
        ("evaluation", "test", "has no test items"),
        ("calibration", "train", "has test items only"),
        ("training", "", ""),
    ],
)
def test_evaluation_needs_test_items_and_calibration_others(purpose: Any, enough: str, message: str) -> None:
    for only in ("train", "val", "test"):
        if enough in ("", only):
            require_items(np.array([only]), purpose, "here")
        else:
            with pytest.raises(DataError, match=message):
                require_items(np.array([only]), purpose, "here")


class Nowhere:
    def __len__(self) -> int:
        return 0


def rows(y: list[int], n: int) -> list[int]:
    split = Split(Nowhere(), np.arange(len(y)), np.array(y, np.int64))  # type: ignore[arg-type]
    return calibration_rows(split, n).tolist()


def test_calibration_takes_one_item_of_each_class_in_turn() -> None:
    y = [0, 0, 0, 1, 1, 2]
    assert rows(y, 0) == rows(y, -1) == []
    assert rows(y, 1) == [0]
    assert rows(y, 3) == [0, 3, 5]
    assert rows(y, 5) == [0, 1, 3, 4, 5]
    assert rows(y, 9) == list(range(6))
    assert rows([2, 1, 2, 0], 3) == [0, 1, 3]
    assert rows([], 3) == []


@given(st.lists(st.integers(0, 3), min_size=1, max_size=60), st.integers(0, 70))
def test_calibration_rows_ascend_and_are_distinct(y: list[int], n: int) -> None:
    found = rows(y, n)
    assert found == sorted(set(found))
    assert len(found) == min(n, len(y))


@given(st.lists(st.integers(0, 2), min_size=4, max_size=80))
def test_a_quota_is_a_share_but_never_all(y: list[int]) -> None:
    found = np.array(split_of(y))
    for label, count in enumerate(np.bincount(y)):
        mine = found[np.array(y) == label]
        if count > 1:
            assert 1 <= np.sum(mine == "test") <= max(1, math.ceil(0.2 * count) + 1)
        if count:
            assert ("train" in mine) == (count > 1)
