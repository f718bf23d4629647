"""Graphs of quotients and squared differences, drawn from a name."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from c99_graphs import Maker

SHAPE = (4, 3, 5)


def quotient(name: str, shape: tuple[int, ...] = SHAPE) -> Maker:
    """DIV by numbers that are not 0, at a scale at which no quotient is so small that TFLM does not define it."""
    m = Maker(name, shape)
    bits = int(m.chance.integers(1, 9))  # of the largest divisor
    most = 2**bits - 1
    factor = 2.0 ** (bits - 1) * float(m.chance.uniform(1, 2))
    step = float(np.exp(m.chance.uniform(np.log(1e-3), np.log(0.3))))
    source, scale = m.at, m.scale
    other = m.one(shape, shape, shape[-1:], (1,), None)
    if other is None:
        zero = 127 - most
        m._add("QUANTIZE", [m.at], m.shape, step, zero)
        least = m.net.constant(np.array([zero + 1], np.int8), [step], zero)
        m._add("MAXIMUM", [m.at, least], m.shape, step, zero, table="MaximumMinimum")
        pair = [source, m.at]
    else:
        zero = int(m.chance.integers(-128, 128))
        stored = np.clip(zero + m.chance.integers(1, most + 1, other) * m.chance.choice([-1, 1], other), -128, 127)
        stored = np.where(stored == zero, zero - 1 if zero > 0 else zero + 1, stored)
        pair = [source, m.net.constant(stored.astype(np.int8), [step], zero)]
    output = scale / (step * factor)
    m._add("DIV", pair, shape, output, m.zero(), fusedActivationFunction=m.one(0, 0, 1, 3))
    return m


def difference(name: str, shape: tuple[int, ...] = SHAPE) -> Maker:
    """SQUARED_DIFFERENCE from a constant that may be repeated, or from the same numbers on another scale."""
    m = Maker(name, shape)
    source, scale = m.at, m.scale
    other = m.one(shape, shape[-1:], (1,), None)
    given = float(np.exp(m.chance.uniform(np.log(0.005), np.log(0.5))))
    if other is None:
        m._add("QUANTIZE", [m.at], m.shape, given, m.zero())
        pair = [source, m.at]
    else:
        pair = [source, m.values(other, given)]
    largest = max(scale, given) * 255
    output = largest**2 / 255 * m.one(1.0, 0.3, 0.05)
    m._add("SQUARED_DIFFERENCE", pair[:: m.one(1, -1)], shape, output, m.zero(), table="SquaredDifference")
    return m


GRAPHS: dict[str, Callable[[str], bytes]] = {
    **{f"quotient-{n}": lambda name: quotient(name).model() for n in range(16)},
    **{f"difference-{n}": lambda name: difference(name).model() for n in range(10)},
}
"""What makes each graph, from its name."""
