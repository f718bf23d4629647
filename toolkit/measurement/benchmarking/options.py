"""The settings of a benchmark, documented once for the public function, the command line and every step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgepress.toolkit.data.reading import Reading
from edgepress.toolkit.measurement.benchmarking.advice import MAX_DROP_PP
from edgepress.toolkit.stats.choice import CONFIDENCE

ROUNDS = 20
"""Rounds of a benchmark; in each, every candidate is timed once."""


@dataclass(frozen=True, kw_only=True)
class BenchmarkOptions(Reading):
    """How files are measured.

    Attributes:
        engine: "all" (every usable engine that opens a file; recommended for are those that bundles install), or
            engine names separated by commas.
        threads: Number of threads that an engine may use, 1 to 256; of several numbers, all are timed.
        batch: Number of items in one timed call, 1 to 4096; of several numbers, all are timed.
        rounds: Number of timing rounds over all files; at least 6 for confidence intervals.
        cpus: CPUs to time on; None: as many as a file has threads, where the system can pin processes.
        time_cap: Seconds that one file on one engine may take to classify the test split before it fails.
        timing_s: Seconds of timing after which a file on an engine takes no more turns.
        baseline: File or scheme among the files that the others are compared with; None: the float32
            file, TFLite before ONNX.
        max_drop: Largest accuracy drop that counts as usable, percentage points.
        confidence: The probability of a drop within it from which a file may be recommended, such as 0.9 or "90%".
        prefer: What is recommended of those that are sure enough: "balanced", the least product of size and latency,
            "size" or "latency".
        more: Further items, labelled or not, that took no part in training, calibration or choosing: how often a file
            and the baseline differ on them is evidence of the drop. As `data`; None: none.
        differences: Folder that images of `more` are written to if their labels would make the choice surer, and
            whose labels count; None writes none.
        limits: Also measure what this CPU can reach at most; takes some seconds.
        profile: Also measure the time of each operation, where the engine reports it; some seconds per file and engine.
        cache: Folder that keeps answers, so that an interrupted benchmark can resume; None keeps none. See
            `edgepress.toolkit.documents.default_cache`.
        command: Command line to record in the result.
    """

    engine: str = "all"
    threads: int | Sequence[int] = 1
    batch: int | Sequence[int] = 1
    rounds: int = ROUNDS
    cpus: Sequence[int] | None = None
    time_cap: float = 120.0
    timing_s: float = 10.0
    baseline: str | None = None
    max_drop: float = MAX_DROP_PP
    confidence: str | float = CONFIDENCE
    prefer: str = "balanced"
    more: str | None = None
    differences: Path | None = None
    limits: bool = False
    profile: bool = False
    cache: Path | None = None
    command: str = ""
