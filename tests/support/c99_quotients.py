"""Graphs of quotients, squared differences and repeated operands, drawn from a name."""

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


def repeated(name: str, shape: tuple[int, ...] = ()) -> Maker:
    """An operation of two tensors, one of which is repeated along any axes of a shape, which is drawn if it is ()."""
    m = Maker(name, (0, 0, 0))
    m = Maker(name, shape or tuple(m.one(1, 2, 3, 5) for _ in range(3)))
    whole, kind = m.shape, m.one("ADD", "SUB", "MUL", "MAXIMUM", "SQUARED_DIFFERENCE", "PRELU")
    source, scale, zero = m.at, m.scale, int(m.net.graph.tensors[m.at].quantization.zeroPoint[0])
    gone = [axis for axis in range(3) if m.one(True, False)]
    part = tuple(1 if axis in gone else size for axis, size in enumerate(whole))
    if kind == "PRELU":
        return m.activate_by(m.values(part), 0.8)
    if m.one(True, False):
        at = m.net.constant(np.array([axis + 1 for axis in gone] or [0], np.int32))
        m._add("REDUCE_MAX", [m.at, at], part, scale, zero, table="Reducer", keepDims=True)
        other = m.at
    else:
        other = m.net.constant(m.chance.integers(-128, 128, part).astype(np.int8), [scale], zero)
    pair = [source, other][:: m.one(1, -1)]
    if kind == "MAXIMUM":
        m._add(kind, pair, whole, scale, zero, table="MaximumMinimum")
    elif kind == "SQUARED_DIFFERENCE":
        m._add(kind, pair, whole, scale * 255 * scale, m.zero(), table="SquaredDifference")
    else:
        m._add(kind, pair, whole, scale * (60 * scale if kind == "MUL" else 1.5), m.zero(), fusedActivationFunction=0)
    return m


def broadcast(name: str) -> Maker:
    """BROADCAST_TO along drawn axes."""
    m = Maker(name, (0, 0, 0))
    m = Maker(name, tuple(m.one(1, 1, 2, 4) for _ in range(3)))
    shape = tuple(size if size > 1 else m.one(1, 2, 5) for size in m.shape)
    zero = int(m.net.graph.tensors[m.at].quantization.zeroPoint[0])
    m._add("BROADCAST_TO", [m.at, m.net.constant(np.array([1, *shape], np.int32))], shape, m.scale, zero)
    return m


def normalized(name: str) -> Maker:
    """Each row less its mean, by its deviation, as LayerNormalization is written."""
    m = Maker(name, (6, 8))
    source, scale = m.at, m.scale
    axis = m.net.constant(np.array([2], np.int32))
    m._add("MEAN", [m.at, axis], (6, 1), scale, 0, table="Reducer", keepDims=True)
    mean = m.at
    m._add("SQUARED_DIFFERENCE", [source, mean], (6, 8), 0.2, -128, table="SquaredDifference")
    m._add("MEAN", [m.at, axis], (6, 1), 0.1, -128, table="Reducer", keepDims=True)
    m._add("RSQRT", [m.at], (6, 1), 0.01, -128)
    root, root_scale = m.at, m.scale
    m._add("SUB", [source, mean], (6, 8), scale, 0, fusedActivationFunction=0)
    m._add("MUL", [m.at, root], (6, 8), scale * root_scale * 60, 0, fusedActivationFunction=0)
    return m


GRAPHS: dict[str, Callable[[str], bytes]] = {
    **{f"quotient-{n}": lambda name: quotient(name).model() for n in range(16)},
    **{f"repeated-{n}": lambda name: repeated(name).model() for n in range(20)},
    **{f"broadcast-{n}": lambda name: broadcast(name).model() for n in range(6)},
    "normalized": lambda name: normalized(name).model(),
    **{f"difference-{n}": lambda name: difference(name).model() for n in range(10)},
}
"""What makes each graph, from its name."""
