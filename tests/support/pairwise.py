"""Fewer cases than all combinations of several parameters."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import pytest


def pairwise(**values: Sequence[Any]) -> pytest.MarkDecorator:
    """Parametrize a test by cases in which any two values of two parameters meet at least once.

    Most mistakes need two values to meet; D. R. Kuhn et al., "Software fault interactions and implications for software
    testing", IEEE Transactions on Software Engineering 30 (2004), 418-421.
    """
    rows = covering([len(each) for each in values.values()])
    cases = [tuple(each[index] for each, index in zip(values.values(), row, strict=True)) for row in rows]
    return pytest.mark.parametrize(tuple(values), cases)


def covering(counts: Sequence[int]) -> list[tuple[int, ...]]:
    """Combinations of indices, so many of each parameter, that hold all pairs; by the greedy rule, always the same."""
    combinations = [*itertools.product(*map(range, counts))]
    missing = {pair for row in combinations for pair in _pairs(row)}
    rows = []
    while missing:
        rows.append(max(combinations, key=lambda row: len(missing & _pairs(row))))
        missing -= _pairs(rows[-1])
    return rows


def _pairs(row: tuple[int, ...]) -> set[tuple[tuple[int, int], ...]]:
    return {*itertools.combinations(enumerate(row), 2)}
