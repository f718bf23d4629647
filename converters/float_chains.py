"""Chains of operations that stretch the range of their values and narrow it again: they are computed in float.

Softplus arrives as log(1 + exp(x)), a sigmoid may be written 1 / (1 + exp(-x)), a generalized mean is the root of a
mean of powers, and a normalization divides by the root of a mean of squares. The values in between range over many
powers of ten, of which a tensor of integers keeps the largest one, while the result is of the size of x again. So
quantized files compute all of it in float. (LiteRT's delegate makes one table of operations that depend on one value:
`rewrites.tflite.lookup_islands`.) So they do with quotients and what makes their divisors: of integers, many would be
zero; and with what is rounded to whole numbers, such as the places that a sampler reads: a little less is one less.
The mask of an attention, such as -1e9, stretches scores, and the softmax behind it narrows them; so does the
exponential of a negative square, as of a radial basis, which tells small squares apart and makes 0 of all others.

Logarithms tell small values from smaller ones, so what they are taken of is exact, too. If these are squares of what
filters make of the input, such as the energies of a sound, they are exact from the samples on.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from edgepress.converters.arrays import Array

Role = Literal[
    "stretches",
    "squares",
    "masks",
    "keeps",
    "multiplies",
    "filters",
    "narrows",
    "chooses",
    "unmasks",
    "softmax",
    "divides",
    "exact",
    "logs",
    "sigmoid",
    "",
]
"""What an operation does to the range of values.

"squares" is for powers, which stretch it, too; "masks" for operations with a constant that stands for infinity;
"multiplies" for products of computed tensors; "filters" for those with constant weights; "chooses" for those that may
leave out the wide part of a branch, as SELU's; "unmasks" for operations that ignore masked values, of which "softmax"
stretches the others; "divides" for quotients whose divisor is not a constant; "exact" for what makes whole numbers or a
spectrum; "logs" for logarithms; "sigmoid" for sigmoids, of whose small results integers make 0; "" for what ends a
chain without narrowing the range.
"""
STRETCHING = ("stretches", "squares", "softmax")
LARGEST_SCORE = 88.0
"""Size from which a constant may mask scores: the exponential of less than -88 is hardly any number of float32. Shifted
windows of Swin transformers are masked by -100."""
INFINITE = 1e4
"""Size from which a constant stands for infinity."""
MIN_SQUARE = 0.9e-5
"""Square from which an inverse root is small, at most 330.

Normalizations add 1e-5 to 1e-3 to variances of values near 1; lengths of vectors are bounded by 1e-12.
"""


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


def is_least(constant: Array | None) -> bool:
    """Whether a constant that is added to a square, or bounds it, keeps its inverse root small."""
    return (
        constant is not None and constant.dtype.kind == "f" and constant.size > 0 and bool(constant.min() >= MIN_SQUARE)
    )


def role_of_power(exponent: float) -> Role:
    """What a power with a constant exponent does."""
    return "squares" if exponent > 1 else "narrows"


def operations_in_float(links: Sequence[Link], sources: Collection[Hashable]) -> list[Any]:
    """The operations that compute in float, in the order of the graph.

    These are all quotients and roundings, and each chain from an operation that stretches to one that narrows. An
    operation in between belongs to the chain if all its inputs are stretched, or one of them is masked: the sum of a
    stretched and another tensor is as wide as the other one, but nothing is as wide as a mask. A product also belongs
    if its other factors are what was stretched, as in x * x * x. All that makes a divisor or an exact value belongs.

    Args:
        links: All operations of a graph, each behind those that make what it reads.
        sources: The inputs of the graph.
    """
    ranges = _Ranges(links, sources)
    needed: set[Hashable] = set()
    exact: set[Hashable] = set()
    logged: set[Hashable] = set()
    spectral: set[Hashable] = set()
    chosen: list[Any] = []
    for link in reversed(links):
        is_logged = link.role == "logs" or not logged.isdisjoint(link.outputs)
        is_spectral = not spectral.isdisjoint(link.outputs)
        makes_exact = not exact.isdisjoint(link.outputs) and link.role not in ("", "filters")
        is_end = link.role in ("divides", "exact", "logs") or not ranges.narrowed_by(link.role).isdisjoint(link.inputs)
        if not (is_end or makes_exact or is_spectral or not needed.isdisjoint(link.outputs)):
            continue
        chosen.append(link.operation)
        needed.update(ranges.stretched.intersection(link.inputs))
        passed: set[Hashable] = set()
        if link.role in ("exact", "logs") or (makes_exact and link.role not in (*STRETCHING, "masks", "sigmoid")):
            passed.update(link.inputs)
        elif link.role == "divides":
            passed.add(link.inputs[-1])
        exact.update(passed)
        logged.update(passed if is_logged else ())
        if is_spectral or (is_logged and link.role == "squares"):
            spectral.update(ranges.filtered.intersection(link.inputs))
    return chosen[::-1]


class _Ranges:
    """What is known of the ranges of a graph's tensors.

    Attributes:
        stretched: Those of a chain that stretches, and the inputs.
        grown: Those that an operation of such a chain has made large.
        masked: Those that hold masked values.
        filtered: What filters make of the input.
    """

    def __init__(self, links: Sequence[Link], sources: Collection[Hashable]) -> None:
        self.stretched: set[Hashable] = {*sources}
        self.grown: set[Hashable] = set()
        self.masked: set[Hashable] = set()
        self.filtered: set[Hashable] = set()
        raw: set[Hashable] = {*sources}
        bases: dict[Hashable, set[Hashable]] = {}
        for link in links:
            keeps = link.role in ("keeps", "multiplies") and bool(link.inputs)
            passes = keeps or link.role == "chooses"  # a mask may have been added where it is chosen
            if link.role == "masks" or (passes and not self.masked.isdisjoint(link.inputs)):
                self.masked.update(link.outputs)
            bases_of_inputs = set().union(*(bases.get(name, ()) for name in link.inputs))
            is_masked = not self.masked.isdisjoint(link.outputs)
            if link.role in STRETCHING or is_masked or (keeps and _is_of(link, self.stretched, bases_of_inputs)):
                self.stretched.update(link.outputs)
                grows = link.role in ("stretches", "squares")
                bases |= dict.fromkeys(link.outputs, bases_of_inputs.union(link.inputs if grows else ()))
                if grows or (keeps and _is_of(link, self.grown, bases_of_inputs)):
                    self.grown.update(link.outputs)
            if keeps and raw.issuperset(link.inputs):
                raw.update(link.outputs)
            if link.role == "filters" and raw.issuperset(link.inputs):
                self.filtered.update(link.outputs)
            if keeps and self.filtered.issuperset(link.inputs):
                self.filtered.update(link.outputs)

    def narrowed_by(self, role: Role) -> set[Hashable]:
        """The tensors that are narrowed by an operation that reads them."""
        narrowed = {"narrows": self.stretched, "unmasks": self.masked, "softmax": self.masked}
        narrowed |= dict.fromkeys(("chooses", "stretches"), self.grown)  # an exponential of squares does both
        return narrowed.get(role, set())


def _is_of(link: Link, tensors: set[Hashable], bases: set[Hashable]) -> bool:
    """Whether an operation reads only these tensors, or is a product of them and of what they were made of."""
    allowed = bases if link.role == "multiplies" else ()
    return all(name in tensors or name in allowed for name in link.inputs)
