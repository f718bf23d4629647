"""Helpers of the tests that compare two results."""

from __future__ import annotations

from typing import Any

import numpy as np
import records

from edgepress.toolkit.measurement.comparison.compare import compare_results
from edgepress.toolkit.measurement.comparison.figures import Figure
from edgepress.toolkit.measurement.comparison.gates import parse_gate
from edgepress.toolkit.measurement.comparison.judging import Comparison
from edgepress.toolkit.results.records import Benchmark, Measurement
from edgepress.toolkit.stats.intervals import Interval


def judged(
    old: Benchmark, new: Benchmark, *limits: str, strict: bool = False, schemes: str = "tflite-int8"
) -> Comparison:
    """Two results compared under limits."""
    return compare_results(old, new, [parse_gate(g) for g in limits], schemes=schemes, strict=strict)


def outcomes(found: Comparison) -> list[str]:
    """The outcome of each verdict."""
    return [v.outcome for v in found.verdicts]


def figure_of(found: Comparison, name: str = "p50_us") -> Figure:
    """One figure of the first pair."""
    return next(f for f in found.pairs[0].figures if f.name == name)


def figure(old: Benchmark, new: Benchmark, name: str = "p50_us") -> Figure:
    """One figure of the first pair of two results that are compared."""
    return figure_of(judged(old, new), name)


def rounds(us: float, seed: int = 0, spread: float = 0.01) -> tuple[float, ...]:
    """Twenty round medians about a latency."""
    return tuple(us * np.exp(np.random.default_rng(seed).normal(0, spread, 20)))


def row(scheme: str = "tflite-int8", engine: str = "litert", *, us: float = 50.0, seed: int = 1, **more: Any) -> Any:
    """A row whose rounds vary about a latency."""
    return records.row(scheme, engine, rounds=rounds(us, seed), **{"count": 1000} | more)


def base(us: float = 100.0, seed: int = 2, sha256: str = "base") -> Measurement:
    """The row of a baseline."""
    made: Measurement = row("tflite-float32", us=us, seed=seed, sha256=sha256, file="base.tflite")
    return made


def ends(found: Interval | None) -> tuple[float, float, float]:
    """Estimate, lower and upper end of an interval that is known."""
    assert found is not None
    assert found.low is not None
    assert found.high is not None
    return found.estimate, found.low, found.high


def failing(scheme: str = "tflite-int8", reason: str = "it crashed", **more: Any) -> Measurement:
    """A row that could not be measured."""
    plain = {"file": f"{scheme}.tflite", "engine": "litert", "threads": 1, "size_bytes": 9} | more
    return Measurement(scheme=scheme, status=f"failed: {reason}", **plain)


def right(count: int, wrong: int) -> Any:
    """Items of which the first `wrong` are wrong."""
    return np.arange(count) >= wrong
