"""Layer normalization as Keras writes it, for tests of rewrites."""

from __future__ import annotations

from typing import Any

import numpy as np
from rewriting import Net


def normalize(net: Net, *, gamma: bool = True, beta: str = "", axis: Any = (-1,)) -> None:
    """Keras' own operations; `beta` is "add" as in Keras 3, or "sub" as in Keras 2."""
    shape = net.shape
    one, source, channels = (*shape[:-1], 1), net.now, shape[-1]
    last = np.array(axis, np.int32)
    mean = net.add("MEAN", [source, last], one, keepDims=True)
    shifts = mean if beta == "sub" else net.add("NEG", [mean], one)
    squared = net.add("SQUARED_DIFFERENCE", [source, mean], shape)
    variance = net.add("MEAN", [squared, last], one, keepDims=True)
    factors = net.add("RSQRT", [net.add("ADD", [variance, np.array(1e-3, np.float32)], one)], one)
    if gamma:
        factors = net.add("MUL", [factors, net.random.normal(size=channels).astype(np.float32)], shape)
    moved = net.add("MUL", [shifts, factors], shape if gamma else one)
    constant = net.random.normal(size=channels).astype(np.float32)
    if beta == "add":
        moved = net.add("ADD", [moved, constant], shape)
    elif beta == "sub":
        moved = net.add("SUB", [constant, moved], shape)
    net.add("ADD", [net.add("MUL", [source, factors], shape), moved], shape)
