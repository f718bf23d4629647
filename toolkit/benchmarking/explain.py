"""The optional step of a benchmark that explains latencies: the limits of the CPU, and the time of each operation.

Both are measured after the timing, in child processes, and influence neither status nor advice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy.typing as npt

from edgepress.converters.inspection import read
from edgepress.runtime import ENGINES
from edgepress.toolkit.benchmarking.options import BenchmarkOptions
from edgepress.toolkit.benchmarking.roofline import limit_figures
from edgepress.toolkit.diagnosing.diagnose import diagnosis
from edgepress.toolkit.errors import EdgepressError
from edgepress.toolkit.profiling.ceiling import measure_ceiling
from edgepress.toolkit.profiling.profile import profile
from edgepress.toolkit.progress import OnProgress
from edgepress.toolkit.results.figures import ExplainingFigures, FileFigures
from edgepress.toolkit.results.records import Ceiling
from edgepress.toolkit.workers.opening import Candidate

_LIMITS = ("macs", "macs_per_s", "compute_share", "memory_share")
"""The figures of `limit_figures`; the others come from a profile."""


@dataclass(frozen=True)
class Explained:
    """What explains the latencies of a benchmark.

    Attributes:
        ceilings: What the CPU reached, by number of threads.
        macs: Multiply-accumulates of one item, by file; files with operations that cannot be counted are left out.
        profiles: Time by operation, and diagnosis, of each file, engine and number of threads (with batch size 1).
        notes: What could not be measured, and why.
    """

    ceilings: dict[int, Ceiling] = field(default_factory=dict)
    macs: dict[Path, int] = field(default_factory=dict)
    profiles: dict[Candidate, ExplainingFigures] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def of(self, candidate: Candidate, file: FileFigures, p50_us: float | None) -> ExplainingFigures:
        """The figures of a timed candidate."""
        found = self.profiles.get(candidate._replace(batch=1), ExplainingFigures())
        macs, ceiling = self.macs.get(candidate.file), self.ceilings.get(candidate.threads)
        if macs is None or ceiling is None:
            return found
        limits = limit_figures(file, p50_us, ceiling, macs=macs)
        return replace(found, **{name: value for name, value in vars(limits).items() if name in _LIMITS})


def explain(
    timed: Sequence[Candidate], items: npt.NDArray[Any], options: BenchmarkOptions, on_progress: OnProgress | None
) -> Explained:
    """Measure what `options` want to know: limits, profile, both or nothing.

    Args:
        timed: The candidates that were timed.
        items: Inputs, shape (N, *item shape).
        options: The benchmark's settings.
        on_progress: Called with "profile" and the share that is done, 0-1.
    """
    found = Explained()
    if options.limits:
        _measure_limits(timed, found)
    wanted = [c for c in timed if options.profile and c.engine and ENGINES[c.engine].profiler]
    profiled = dict.fromkeys(c._replace(batch=1) for c in wanted)
    for done, candidate in enumerate(profiled, 1):
        try:
            own = None if candidate.contract else items  # a published file takes others; values hardly affect the time
            made = profile(candidate.file, candidate.engine, threads=candidate.threads, items=own)
            told = diagnosis(made, found.ceilings.get(candidate.threads))
            found.profiles[candidate] = ExplainingFigures(
                profile=made.operations,
                delegated_share=made.delegated_share,
                diagnosis=told.text,
                findings=told.findings,
            )
        except EdgepressError as e:
            found.notes.append(f"{candidate.file.name} on {candidate.engine} could not be profiled: {e.message}")
        if on_progress is not None:
            on_progress("profile", done / len(profiled))
    return found


def _measure_limits(timed: Sequence[Candidate], found: Explained) -> None:
    try:
        found.ceilings.update({n: measure_ceiling(n) for n in dict.fromkeys(c.threads for c in timed)})
    except EdgepressError as e:  # the measurements so far must not be lost
        found.notes.append(f"The limits of this CPU are unknown: {e.message}")
        return
    for file in dict.fromkeys(c.file for c in timed):
        try:
            about = read(file)
        except EdgepressError as e:
            found.notes.append(f"The multiply-accumulates of {file.name} could not be counted: {e.message}")
            continue
        if about.macs is not None and not about.macs_not_counted:
            found.macs[file] = about.macs
