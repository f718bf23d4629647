"""Pairwise cases: every two values meet, in far fewer cases than all combinations."""

from __future__ import annotations

import itertools

import pytest
from pairwise import covering, pairwise


@pytest.mark.parametrize(("counts", "most"), [((3, 6, 3, 2), 20), ((3, 4, 5), 22), ((2, 2, 2, 2, 2), 8), ((4, 3), 12)])
def test_all_pairs_are_there(counts: tuple[int, ...], most: int) -> None:
    rows = covering(counts)
    assert len({*rows}) == len(rows) <= most
    for (i, first), (j, second) in itertools.combinations(enumerate(counts), 2):
        assert {(row[i], row[j]) for row in rows} == {*itertools.product(range(first), range(second))}
    assert covering(counts) == rows


def test_values_become_the_arguments_of_a_test() -> None:
    names, cases = pairwise(color=["red", "blue"], size=[1, 2]).args
    assert names == ("color", "size")
    assert {*cases} == {("red", 1), ("red", 2), ("blue", 1), ("blue", 2)}
