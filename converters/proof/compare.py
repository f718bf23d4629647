"""Compare the answers of a converted file with those of its source model, and judge the difference by its scheme."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from edgepress.converters.schemes import Scheme
from edgepress.runtime.contract import InputSpec, Task, Verification

ITEMS = 64
"""Largest number of items that a file is verified on."""
VARIES = 0.01
"""Share of the largest answer by which answers must differ between items for a comparison to mean anything."""


def compare(source: npt.NDArray[np.float32], variant: npt.NDArray[np.float32], *, on: str) -> Verification:
    """Measure the difference of two answers to the same items, float32, shape (N, C).

    Args:
        source: Answers of the source model.
        variant: Answers of the file.
        on: Name of the items, for the contract.
    """
    true, error = source.astype(np.float64), variant.astype(np.float64) - source
    noise, signal = float((error**2).sum()), float((true**2).sum())
    top = source.argmax(1) == variant.argmax(1) if source.shape[1] > 1 else (source > 0.5) == (variant > 0.5)
    return Verification(
        items=len(source),
        on=on,
        agreement=float(np.mean(top)),
        max_error=float(np.abs(error).max()),
        mean_error=float(np.abs(error).mean()),
        largest=float(np.abs(true).max()),
        sqnr_db=_decibels(signal, noise),
        varies=varies(source),
    )


def varies(answers: npt.NDArray[np.float32]) -> bool:
    """Whether answers, shape (N, C), differ between items: if all are alike, agreement proves little."""
    return bool(np.max(np.ptp(answers, axis=0)) > VARIES * np.max(np.abs(answers)))


def _decibels(signal: float, noise: float) -> float | None:
    return None if noise == 0 or signal == 0 else round(10 * math.log10(signal / noise), 2)


def shortcoming(found: Verification, scheme: Scheme) -> str:
    """Why a file is below its scheme's bound; empty if it is not."""
    agreement = "" if found.agreement is None else f" (top-1 agreement {found.agreement:.1%})"
    return _too_far(scheme, found.max_error, found.largest) or _too_noisy(scheme, found.sqnr_db, agreement)


def _too_far(scheme: Scheme, error: float, largest: float) -> str:
    bound = scheme.max_relative_error
    if bound is not None and error > bound * largest:
        difference = f"its answers differ from the source model's by up to {error:.2g}, the largest being {largest:.2g}"
        return f"{difference}; {scheme.name} must stay within {bound:g} of it"
    return ""


def _too_noisy(scheme: Scheme, sqnr_db: float | None, agreement: str = "") -> str:
    if sqnr_db is not None and sqnr_db < scheme.min_sqnr_db:
        noise = f"the noise of its answers is {sqnr_db:.1f} dB below the signal{agreement}"
        return f"{noise}; {scheme.name} must reach {scheme.min_sqnr_db:g} dB"
    return ""


def shortcoming_before(
    source: npt.NDArray[np.float32], variant: npt.NDArray[np.float32], scheme: Scheme, task: Task
) -> str:
    """Why the logits are wrong, which softmax and sigmoid hide where they saturate; empty if they are not.

    The input of softmax is the logarithm of its output, less a number that is the same for all labels; that of a small
    sigmoid is the logarithm. Where all logits are below 1, the bound is that of 1: smaller errors are rounding.
    """
    true, other = (_before(probabilities, task, scheme.least) for probabilities in (source, variant))
    if scheme.max_relative_error is not None:
        reason = _too_far(scheme, float(np.abs(other - true).max()), max(1.0, float(np.abs(true).max())))
    else:
        sqnr = _decibels(max(float((true**2).sum()), true.size), float(((other - true) ** 2).sum()))
        reason = _too_noisy(scheme, sqnr)
    return f"before {'softmax' if task == 'softmax' else 'the sigmoid'}, {reason}" if reason else ""


def _before(probabilities: npt.NDArray[np.float32], task: Task, least: float) -> npt.NDArray[np.float64]:
    """Logits, shape (N, C), with probabilities below `least` raised to it.

    Those of softmax have mean 0 over the labels. Those of a sigmoid are clipped where float32 rounds them, near 1, and
    where ONNX Runtime's rational approximation ends, near 0.
    """
    logs = np.log(np.clip(probabilities, *((least, 1.0) if task == "softmax" else (1e-3, 0.5))).astype(np.float64))
    return np.asarray(logs - logs.mean(axis=1, keepdims=True) if task == "softmax" else logs)


def seeded_items(spec: InputSpec, count: int = ITEMS, seed: int = 0, scale: float = 1.0) -> npt.NDArray[Any]:
    """Items to verify on if no data were given: smooth random fields for images, normal numbers for tensors.

    Integers are uniform over their range.

    White noise would be a poor image: filters average it away, so that all items look the same to a net. A `scale`
    below 1 makes images darker and numbers smaller.
    """
    rng = np.random.default_rng(seed)
    if spec.is_integer:
        low, high = map(int, spec.limits)
        return rng.integers(low, high + 1, (count, *spec.shape)).astype(spec.dtype)
    if not spec.is_image:
        return (scale * rng.normal(size=(count, *spec.shape))).astype(np.float32)
    height, width, channels = spec.shape
    coarse = rng.uniform(0, 255, (count, 5, 5, channels))
    rows, columns = (np.linspace(0, 4, n) for n in (height, width))

    def between(values: npt.NDArray[Any], at: npt.NDArray[Any], axis: int) -> npt.NDArray[Any]:
        low = np.minimum(at.astype(int), 3)
        share = (at - low).reshape([-1 if i == axis else 1 for i in range(4)])
        return np.asarray(values.take(low, axis) * (1 - share) + values.take(low + 1, axis) * share)

    smooth = between(between(coarse, rows, 1), columns, 2) + rng.normal(0, 8, (count, height, width, channels))
    return np.clip(np.rint(scale * smooth), 0, 255).astype(np.uint8)
