"""The settings of a benchmark, documented once for the public function, the command line and every step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgepress.toolkit.benchmarking.advice import MAX_DROP_PP

ROUNDS = 20


@dataclass(frozen=True, kw_only=True)
class BenchmarkOptions:
    """How files are measured.

    Attributes:
        engines: "all" (every usable engine that opens a file), or engine names separated by commas.
        threads: Number of threads that an engine may use, 1 to 256; of several numbers, all are timed.
        batch: Number of items in one timed call, 1 to 4096; of several numbers, all are timed.
        rounds: Number of timing rounds over all files; at least 6 for confidence intervals.
        cpus: CPUs to time on; None: as many as a file has threads, where the system can pin processes.
        time_cap_s: Seconds that one file on one engine may take to classify the test split before it fails.
        timing_s: Seconds of timing after which a file on an engine takes no more turns.
        baseline: File or scheme among the files that the others are compared with; None: the float32
            file, TFLite before ONNX.
        max_drop_pp: Largest accuracy drop that counts as usable, percentage points.
        skip_unreadable: Skip images that cannot be read instead of failing.
        limits: Also measure what this CPU can reach at most; takes some seconds.
        profile: Also measure the time of each operation, where the engine reports it; some seconds per file and engine.
        cache: Folder that keeps answers, so that an interrupted benchmark can resume; None keeps none. See
            `edgepress.toolkit.caches.default_cache`.
        command: Command line to record in the result.
    """

    engines: str = "all"
    threads: int | Sequence[int] = 1
    batch: int | Sequence[int] = 1
    rounds: int = ROUNDS
    cpus: Sequence[int] | None = None
    time_cap_s: float = 120.0
    timing_s: float = 10.0
    baseline: str | None = None
    max_drop_pp: float = MAX_DROP_PP
    skip_unreadable: bool = False
    limits: bool = False
    profile: bool = False
    cache: Path | None = None
    command: str = ""
