"""A variant beside its float parent: how far its answers are from those of the model that it was made from."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from edgepress.converters.schemes import Scheme
from edgepress.runtime.contract import InputSpec, Verification

ITEMS = 64
"""Items that a variant is compared on, at most."""
LEAST = np.float32(1e-30)
"""What engines make of smaller probabilities, near the end of float32's range, is no difference."""


def compare(parent: npt.NDArray[np.float32], variant: npt.NDArray[np.float32], *, on: str) -> Verification:
    """Measure the difference of two answers to the same items, float32, shape (N, C).

    Args:
        parent: What is true.
        variant: What is measured.
        on: What the items were, for the record.
    """
    true, error = parent.astype(np.float64), variant.astype(np.float64) - parent
    noise, signal = float((error**2).sum()), float((true**2).sum())
    top = parent.argmax(1) == variant.argmax(1) if parent.shape[1] > 1 else (parent > 0.5) == (variant > 0.5)
    return Verification(
        items=len(parent),
        on=on,
        agreement=float(np.mean(top)),
        max_error=float(np.abs(error).max()),
        mean_error=float(np.abs(error).mean()),
        largest=float(np.abs(true).max()),
        sqnr_db=None if noise == 0 or signal == 0 else round(10 * math.log10(signal / noise), 2),
    )


def shortcoming(found: Verification, scheme: Scheme) -> str:
    """Why a variant is below its scheme's bound; empty if it is not."""
    bound = scheme.max_relative_error
    if bound is not None and found.max_error > bound * found.largest:
        return (
            f"its answers differ from the parent's by up to {found.max_error:.2g}, "
            f"{found.max_error / found.largest:.1e} of the largest; {scheme.name} must stay within {bound:g}"
        )
    if found.sqnr_db is not None and found.sqnr_db < scheme.min_sqnr_db:
        return (
            f"the noise of its answers is {found.sqnr_db:.1f} dB below the signal (top-1 agreement "
            f"{found.agreement:.1%}); {scheme.name} must reach {scheme.min_sqnr_db:g} dB"
        )
    return ""


def shortcoming_before_softmax(
    parent: npt.NDArray[np.float32], variant: npt.NDArray[np.float32], scheme: Scheme
) -> str:
    """Why probabilities come from other logits than the parent's, which softmax hides where it saturates.

    What went into softmax is the logarithm of what came out, less a number that is the same for all labels. Where all
    logits are below 1, the bound is that of 1: smaller errors are the rounding of the probabilities.
    """
    true, other = _before_softmax(parent), _before_softmax(variant)
    error, largest = float(np.abs(other - true).max()), float(np.abs(true).max())
    bound = scheme.max_relative_error
    if bound is None or error <= bound * max(1.0, largest):
        return ""
    return (
        f"before softmax, its answers differ from the parent's by up to {error:.2g}, the largest being {largest:.2g}; "
        f"{scheme.name} must stay within {bound:g} of it"
    )


def _before_softmax(probabilities: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Logits of mean 0 over the labels, shape (N, C); those of probabilities below `LEAST` are as of that."""
    logs = np.log(np.maximum(probabilities, LEAST).astype(np.float64))
    return np.asarray(logs - logs.mean(axis=1, keepdims=True))


def seeded_items(spec: InputSpec, count: int = ITEMS, seed: int = 0) -> npt.NDArray[Any]:
    """Items to compare on where no data were given: smooth random fields for images, normal numbers for tensors.

    White noise would be a poor image: every filter averages it away, and all items look the same to a net.
    """
    rng = np.random.default_rng(seed)
    if not spec.is_image:
        return rng.normal(size=(count, *spec.shape)).astype(np.float32)
    height, width, channels = spec.shape
    coarse = rng.uniform(0, 255, (count, 5, 5, channels))
    rows, columns = (np.linspace(0, 4, n) for n in (height, width))

    def between(values: npt.NDArray[Any], at: npt.NDArray[Any], axis: int) -> npt.NDArray[Any]:
        low = np.minimum(at.astype(int), 3)
        share = (at - low).reshape([-1 if i == axis else 1 for i in range(4)])
        return np.asarray(values.take(low, axis) * (1 - share) + values.take(low + 1, axis) * share)

    smooth = between(between(coarse, rows, 1), columns, 2) + rng.normal(0, 8, (count, height, width, channels))
    return np.clip(np.rint(smooth), 0, 255).astype(np.uint8)
