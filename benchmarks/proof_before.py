"""The criterion before November 2026, for `proof_table.py`: SQNR of the answers and of their logarithms."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]
SQNR = {"float32": 80.0, "float16": 30.0, "int16x8": 20.0}
"""Bounds, dB; 8 for the others."""


def shortcoming(source: Array, variant: Array, scheme: str, task: str, ends_in: str) -> str:
    """Why a file was refused; empty if it was accepted."""
    precision = scheme.partition("-")[2]
    bound, float32 = SQNR.get(precision, 8.0), precision == "float32"
    true, error = source.astype(np.float64), variant.astype(np.float64) - source
    if float32 and np.abs(error).max() > 1e-4 * np.abs(true).max():
        return f"error {np.abs(error).max():.2g}"
    ratio = _decibels((true**2).sum(), (error**2).sum())
    if ratio < bound:
        return f"SQNR {ratio:.1f} dB"
    quantized = precision in ("int8", "int16x8") and not (scheme == "onnx-int8" and ends_in == "Softmax")
    if task == "logits" or quantized:
        return ""
    least = 6.1e-5 if precision == "float16" else 1e-30
    logs = [np.log(np.clip(p, least, 1.0)).astype(np.float64) for p in (source, variant)]
    before, other = (log - log.mean(axis=1, keepdims=True) for log in logs)
    error = other - before
    if float32:
        wrong = np.abs(error).max() > 1e-4 * max(1.0, np.abs(before).max())
        return f"error of logits {np.abs(error).max():.2g}" if wrong else ""
    ratio = _decibels(max((before**2).sum(), before.size), (error**2).sum())
    return f"SQNR of logits {ratio:.1f} dB" if ratio < bound else ""


def _decibels(signal: float, noise: float) -> float:
    return math.inf if noise == 0 else -math.inf if signal == 0 else 10 * math.log10(signal / noise)
