"""Facts that are found by running a model on made-up items: how its outputs look, and which integers it accepts."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import get_args

import numpy as np

from edgepress.converters.adapter import Scores
from edgepress.converters.arrays import Array
from edgepress.converters.contract.hints import ModelFacts
from edgepress.converters.contract.outputs import looks_of
from edgepress.runtime.errors import EdgepressError
from edgepress.runtime.input_spec import InputType

INTEGERS = tuple(name for name in get_args(InputType) if name != "float32")
Answer = Callable[[Array], Scores]
LARGEST = 1 << 20
"""Largest number that is tried."""


def takes_integers(facts: ModelFacts) -> bool:
    """Whether a model takes whole numbers, and not the quantized form of others."""
    return facts.dtype in INTEGERS and facts.quantization == (1.0, 0)


def probe_facts(facts: ModelFacts, answer: Answer) -> ModelFacts:
    """The facts with `looks` and, of a model of integers, `value_range`; `answer` as for `accepted_range`."""
    limits = accepted_range(answer, facts.shape, facts.dtype) if takes_integers(facts) else None
    return dataclasses.replace(facts, looks=looks_of(answer, facts.shape, limits and limits[1]), value_range=limits)


def accepted_range(answer: Answer, shape: tuple[int, ...], dtype: str) -> tuple[float, float] | None:
    """Smallest and largest whole number that a model accepts; None if it has no limit, or does not run at all.

    An index beyond a table is an error in TensorFlow, LiteRT and ONNX Runtime alike, so that about twenty calls tell
    the size of the smallest table, whatever the graph around it looks like.

    Args:
        answer: Runs the model on items (N, *shape), float32, which it casts.
        shape: Shape of one item.
        dtype: Type of the model's input, one of `INTEGERS`.
    """
    limits = np.iinfo(dtype)

    def accepts(number: int) -> bool:
        try:
            answer(np.full((1, *shape), number, np.float32))
        except EdgepressError:
            return False
        return True

    low = 0
    high = min(limits.max, LARGEST)
    if accepts(high):
        return (float(limits.min), float(limits.max)) if limits.bits == 8 else None
    if not accepts(low):
        return None
    while high - low > 1:  # `low` is accepted, `high` is not
        middle = (low + high) // 2
        low, high = (middle, high) if accepts(middle) else (low, middle)
    return 0.0, float(low)
