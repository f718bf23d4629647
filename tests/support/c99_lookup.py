"""Graphs of functions of one number, drawn from a name, whose inputs cover all of int8."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from c99_graphs import Maker

FUNCTIONS = ("ELU", "EXP", "GELU", "GELU-approximate", "LOG", "NEG", "RSQRT", "SQRT")
"""Operations, and variants of them, by which graphs are named."""
DRAWN = 5
"""Graphs of each."""


def function_graph(name: str) -> bytes:
    """The graph of a name, which is one of FUNCTIONS in small letters and a number."""
    return function_of(Maker(name, (16, 16)), name.rpartition("-")[0]).model()


def function_of(m: Maker, function: str) -> Maker:
    """One of FUNCTIONS of the last tensor, at drawn scales and zero points."""
    kind, _, variant = function.upper().partition("-")
    step = float(np.exp(m.chance.uniform(np.log(1e-3), np.log(0.3))))
    zero = m.one(-128, -128, 0, int(m.chance.integers(-128, 128)))
    if kind in ("RSQRT", "SQRT"):  # of no number below 0
        zero = -128
    if kind == "NEG":
        zero = 0
    m._add("QUANTIZE", [m.at], m.shape, step, zero)
    options = {"approximate": variant == "APPROXIMATE"} if kind == "GELU" else {}
    largest = {
        "EXP": np.exp(step * (127 - zero)),
        "LOG": abs(np.log(step * max(127 - zero, 1))) + 1,
        "RSQRT": step**-0.5,
        "SQRT": (step * 255) ** 0.5,
    }.get(kind, step * 255)
    to = step if kind == "NEG" else float(largest) / 255 * m.one(0.3, 1.0, 2.7)
    m._add(kind, [m.at], m.shape, to, 0 if kind == "NEG" else m.zero(), **options)
    return m


GRAPHS: dict[str, Callable[[str], bytes]] = {
    f"{kind.lower()}-{number}": function_graph for kind in FUNCTIONS for number in range(DRAWN)
}
"""What makes each graph, from its name."""
