"""The operations between an exponential and the logarithm or the quotient that its values end in.

Softplus arrives as log(1 + exp(x)), a sigmoid may be written 1 / (1 + exp(-x)), and logsumexp and softmax by hand have
a sum in between. The values there range over many powers of ten, of which a tensor of integers keeps the largest one;
the result is of the size of x again. So quantized files compute all of it in float. (LiteRT's delegate makes one table
of the operations if they depend on one value: `rewrites.tflite.lookup_islands`.)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

BEGIN = "EXP"
"""Kind of the first operation, in upper case."""
MIDDLE = ("ADD", "SUB", "MUL", "NEG", "SUM", "REDUCESUM")
"""Kinds of operations in between, of both formats, in upper case."""
ENDS = ("LOG", "DIV", "RECIPROCAL")
"""Kinds of the last operation, in upper case."""


def exponential_chains(
    operations: Iterable[Any], kind: Callable[[Any], str], readers: Callable[[Any], Iterable[Any]]
) -> list[Any]:
    """All operations from an exponential to a logarithm or a quotient, both included.

    Args:
        operations: Of a graph.
        kind: Returns the kind of an operation.
        readers: Returns the operations that read what one makes; None stands for the output.
    """
    chains: dict[int, list[Any]] = {}

    def chain_from(op: Any) -> list[Any]:
        """The operations from one to the ends behind it; empty if there is no end."""
        if id(op) not in chains:
            is_end = kind(op).upper() in ENDS
            behind = [] if is_end else [r for r in readers(op) if r is not None and kind(r).upper() in (*MIDDLE, *ENDS)]
            rest = [other for reader in behind for other in chain_from(reader)]
            chains[id(op)] = [op, *rest] if rest or is_end else []
        return chains[id(op)]

    every = (other for op in operations if kind(op).upper() == BEGIN for other in chain_from(op))
    return list({id(op): op for op in every}.values())
