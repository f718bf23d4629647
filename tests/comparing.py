"""Helpers of the tests that compare two results."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgepress.toolkit.comparison.compare import Comparison, compare_results
from edgepress.toolkit.comparison.figures import Figure
from edgepress.toolkit.comparison.gates import parse_gate
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


def figure(old: Benchmark, new: Benchmark, name: str = "p50_us") -> Figure:
    """One figure of the first pair."""
    return next(f for f in judged(old, new).pairs[0].figures if f.name == name)


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
