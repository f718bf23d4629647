"""The operations between one that stretches the range of its values and one that narrows it again.

Softplus arrives as log(1 + exp(x)), a sigmoid may be written 1 / (1 + exp(-x)), generalized means are a root of a mean
of powers, and a normalization divides by the root of a mean of squares. The values in between range over many powers
of ten, of which a tensor of integers keeps the largest one, while the result is of the size of x again. So quantized
files compute all of it in float. (LiteRT's delegate makes one table of operations that depend on one value:
`rewrites.tflite.lookup_islands`.)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Literal

Role = Literal["stretches", "keeps", "narrows", ""]
"""What an operation does to the range of values; "" for one that no chain goes through."""
KEEPING = frozenset(
    [
        "ADD",
        "SUB",
        "MUL",
        "NEG",
        "MEAN",
        "SUM",
        "MAXIMUM",
        "MINIMUM",
        "RESHAPE",
        "SQUEEZE",
        "EXPAND_DIMS",
        "MAX",
        "MIN",
        "REDUCESUM",
        "REDUCEMEAN",
        "GLOBALAVERAGEPOOL",
        "UNSQUEEZE",
        "TRANSPOSE",
    ]
)
"""Kinds of operations in between, of both formats, in upper case."""
NARROWING = frozenset(("LOG", "DIV", "RECIPROCAL", "SQRT", "RSQRT"))
"""Kinds that end a chain, of both formats, in upper case."""
STRETCHING = frozenset(("EXP", "SQUARE", "SQUARED_DIFFERENCE"))
"""Kinds that begin one, of both formats, in upper case."""


def role(kind: str, *, exponent: float | None = None, squares: bool = False) -> Role:
    """What an operation does to the range of values.

    Args:
        kind: Its kind in either format, such as "REDUCE_SUM" or "ReduceSum".
        exponent: Of a power, if it is a constant of one number.
        squares: Whether it is a product of a tensor with itself.
    """
    name = kind.upper()
    if name in STRETCHING or squares:
        return "stretches"
    if name == "POW" and exponent is not None:
        return "stretches" if exponent > 1 else "narrows"
    if name in NARROWING:
        return "narrows"
    return "keeps" if name in KEEPING else ""


def chains(
    operations: Iterable[Any], role_of: Callable[[Any], Role], readers: Callable[[Any], Iterable[Any]]
) -> list[Any]:
    """All operations from one that stretches to one that narrows, both included.

    Args:
        operations: Of a graph.
        role_of: Returns the role of an operation.
        readers: Returns the operations that read what one makes; None stands for the output.
    """
    known: dict[int, list[Any]] = {}

    def chain_from(op: Any) -> list[Any]:
        """The operations from one to the ends behind it; empty if there is no end."""
        if id(op) not in known:
            is_end = role_of(op) == "narrows"
            behind = [] if is_end else [each for each in readers(op) if each is not None and role_of(each)]
            rest = [other for each in behind for other in chain_from(each)]
            known[id(op)] = [op, *rest] if rest or is_end else []
        return known[id(op)]

    every = (other for op in operations if role_of(op) == "stretches" for other in chain_from(op))
    return list({id(op): op for op in every}.values())
