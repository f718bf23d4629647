"""The range of whole numbers that a model accepts, such as the tokens of an embedding's vocabulary, found by trying."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, get_args

import numpy as np
import numpy.typing as npt

from edgepress.converters.adapter import Scores
from edgepress.converters.errors import ConversionError
from edgepress.runtime.contract import InputType

INTEGERS = tuple(name for name in get_args(InputType) if name != "float32")
LARGEST = 1 << 20
"""Largest number that is tried."""


def accepted_range(
    answer: Callable[[npt.NDArray[Any]], Scores], shape: tuple[int, ...], dtype: str
) -> tuple[float, float] | None:
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
        except ConversionError:
            return False
        return True

    low, high = 0, min(limits.max, LARGEST)
    if accepts(high):
        return (float(limits.min), float(limits.max)) if limits.bits == 8 else None
    if not accepts(low):
        return None
    while high - low > 1:  # `low` is accepted, `high` is not
        middle = (low + high) // 2
        low, high = (middle, high) if accepts(middle) else (low, middle)
    return 0.0, float(low)
