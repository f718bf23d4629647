"""The operations between one that stretches the range of its values and one that narrows it again.

Softplus arrives as log(1 + exp(x)), a sigmoid may be written 1 / (1 + exp(-x)), a generalized mean is the root of a
mean of powers, and a normalization divides by the root of a mean of squares. The values in between range over many
powers of ten, of which a tensor of integers keeps the largest one, while the result is of the size of x again. So
quantized files compute all of it in float. (LiteRT's delegate makes one table of operations that depend on one value:
`rewrites.tflite.lookup_islands`.) So they do with quotients and what makes their divisors: of integers, many would be
zero; and with what is rounded to whole numbers, such as the places that a sampler reads: a little less is one less.
The mask of an attention, such as -1e9, stretches scores, and the softmax behind it narrows them. What comes in is
stretched, too, if its logarithm is taken, such as the energies of sounds; a spectrum is made of exact samples.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from edgepress.converters.arrays import Array

Role = Literal["stretches", "masks", "keeps", "narrows", "unmasks", "softmax", "divides", "exact", ""]
"""What an operation does to the range of values; "masks" is for those with a constant that stands for infinity,
"unmasks" for those that ignore masked values, of which "softmax" stretches the others, "divides" for quotients whose
divisor is no constant, "exact" for what makes whole numbers or a spectrum, "" for what ends a chain without narrowing
the range."""
LARGEST_SCORE = 88.0
"""Size from which a constant may mask scores: the exponential of less than -88 is hardly any number of float32. Shifted
windows of Swin transformers are masked by -100."""
INFINITE = 1e4
"""Size from which a constant stands for infinity."""


class Link(NamedTuple):
    """What is known of an operation.

    Attributes:
        operation: The operation itself.
        role: What it does.
        inputs: The computed tensors that it reads, the divisor last; constants are left out.
        outputs: The tensors that it makes.
    """

    operation: Any
    role: Role
    inputs: tuple[Hashable, ...]
    outputs: tuple[Hashable, ...]


def is_mask(constant: Array | None, how: Literal["added", "subtracted", "chosen", "factor"]) -> bool:
    """Whether some values of a constant push values below all others; values that are not finite do.

    What is added holds values near 0 beside such ones, for what is not masked: the mean of pixels is no mask.
    """
    if constant is None or constant.dtype.kind != "f" or not constant.size:
        return False
    pushed = np.abs(constant) if how == "factor" else constant if how == "subtracted" else -constant
    if not np.max(pushed) < INFINITE:
        return True
    is_large = how != "factor" and bool(np.max(pushed) >= LARGEST_SCORE)
    return is_large and (how == "chosen" or bool(np.abs(constant).min() < 1))


def is_positive(weights: Array | None) -> bool:
    """Whether a product with constant weights keeps the range of values, such as that with a mel filter bank."""
    return weights is not None and weights.dtype.kind == "f" and weights.size > 0 and bool(weights.min() >= 0)


def role_of_power(exponent: float) -> Role:
    """What a power with a constant exponent does."""
    return "stretches" if exponent > 1 else "narrows"


def operations_in_float(links: Sequence[Link], source: Hashable) -> list[Any]:
    """All operations from one that stretches to one that narrows, both included, and all quotients and roundings.

    They are in their order. One in between counts only if all that it reads is stretched: a sum with another tensor is
    as wide as that one; or if any of it is masked, which is wider than all else. Of divisors and of what has to be
    exact, all that makes them counts.

    Args:
        links: All operations of a graph, each behind those that make what it reads.
        source: The input of the graph.
    """
    stretched: set[Hashable] = {source}
    masked: set[Hashable] = set()
    for link in links:
        if link.role == "masks" or (link.role == "keeps" and not masked.isdisjoint(link.inputs)):
            masked.update(link.outputs)
        keeps = link.role == "keeps" and bool(link.inputs) and stretched.issuperset(link.inputs)
        if link.role in ("stretches", "softmax") or keeps or not masked.isdisjoint(link.outputs):
            stretched.update(link.outputs)
    needed: set[Hashable] = set()
    exact: set[Hashable] = set()
    chosen: list[Any] = []
    for link in reversed(links):
        makes_exact = bool(link.role) and not exact.isdisjoint(link.outputs)
        narrowed = {"narrows": stretched, "unmasks": masked, "softmax": masked}.get(link.role, set())
        is_end = link.role in ("divides", "exact") or not narrowed.isdisjoint(link.inputs)
        if not (is_end or makes_exact or not needed.isdisjoint(link.outputs)):
            continue
        chosen.append(link.operation)
        needed.update(stretched.intersection(link.inputs))
        if link.role == "exact" or (makes_exact and link.role not in ("stretches", "masks", "softmax")):
            exact.update(link.inputs)
        elif link.role == "divides":
            exact.add(link.inputs[-1])
    return chosen[::-1]
