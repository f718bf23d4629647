"""What was measured of a file on an engine, and of all of them together: plain frozen data, ready for JSON and CSV."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

SCHEMA_VERSION = 1
USABLE, DROP, UNPROVEN, NO_BASELINE = "usable", "accuracy drop", "unproven", "no baseline"
"""Status of a pair whose accuracy was checked on its engine: the drop is within the limit, beyond it, within it but
not with 95 % confidence, or can't be known. A pair that could not be measured has the status "failed: REASON"."""


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """One file on one engine. What was not measured is None.

    Attributes:
        file: Path of the file.
        scheme: Format and precision, by the file's contract.
        engine: What ran it.
        threads: Threads that the engine might use.
        size_bytes: Size of the file.
        size_ratio: Its size over the baseline's.
        accuracy: Share of the test items classified rightly, 0-1; macro precision, recall and F1 beside it.
        drop_pp: Accuracy of the baseline less this one's, percentage points, with its 95 % interval (paired).
        agreement: Share of the test items that it puts in the same class as the baseline, 0-1.
        load_ms: Time to open the file, milliseconds (engine imported, file in the page cache).
        p50_us: Latency of one item, microseconds; the 90th and 99th percentile beside it.
        count: Number of calls timed.
        speedup: Median over rounds of baseline latency / this latency, with its 95 % interval (paired).
        status: See the constants above.
    """

    file: str
    scheme: str
    engine: str
    threads: int
    size_bytes: int
    size_ratio: float | None = None
    accuracy: float | None = None
    macro_precision: float | None = None
    macro_recall: float | None = None
    macro_f1: float | None = None
    drop_pp: float | None = None
    drop_low_pp: float | None = None
    drop_high_pp: float | None = None
    agreement: float | None = None
    load_ms: float | None = None
    p50_us: float | None = None
    p90_us: float | None = None
    p99_us: float | None = None
    count: int = 0
    speedup: float | None = None
    speedup_low: float | None = None
    speedup_high: float | None = None
    status: str = ""

    @property
    def failed(self) -> bool:
        """Whether it could not be measured."""
        return self.status.startswith("failed")


@dataclass(frozen=True, kw_only=True)
class Advice:
    """Which file to ship.

    Attributes:
        ship: Path of the file, None if none qualifies.
        engine: The engine that it was checked on.
        why: The reason in a few sentences, or why there is none and what would help.
    """

    ship: str | None
    engine: str | None
    why: str


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """All that `benchmark.json` holds.

    Attributes:
        host: What it was measured on; see `edgepress.toolkit.host`.
        data: "source", "sha256", "split" and "count" of the items that were classified.
        baseline: "file", "scheme" and "engine" that drops and speed-ups refer to; None if there is none.
        keras_accuracy: Accuracy of the Keras parent on its test split, 0-1, by the contract.
        max_drop_pp: Limit of the accuracy drop, percentage points.
        results: One measurement a file and engine.
        advice: Which file to ship and why.
        notes: What a reader must know beside the figures.
    """

    host: Mapping[str, Any]
    data: Mapping[str, Any]
    baseline: Mapping[str, str] | None
    keras_accuracy: float | None
    max_drop_pp: float
    results: tuple[Measurement, ...]
    advice: Advice
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The content of `benchmark.json`; figures are rounded to what they can mean."""
        document = {"schema_version": SCHEMA_VERSION} | dataclasses.asdict(self)
        return {name: _rounded(value) for name, value in document.items()}


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, dict):
        return {k: _rounded(v) for k, v in value.items()}
    return [_rounded(v) for v in value] if isinstance(value, (list, tuple)) else value
