"""The optional step of a benchmark that explains latencies: the limits of the CPU, and the time of each operation.

Both are measured after the timing, in child processes, and influence neither status nor advice. How close a model comes
to the limits is a roofline (Williams et al. 2009, doi:10.1145/1498765.1498785): a latency becomes multiply-accumulates
per second, as a share of the ceiling of its data type. Depthwise convolutions and activations can't reach that of a
matrix product.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy.typing as npt

from edgepress.converters.inspection import read
from edgepress.converters.schemes import SCHEMES, Scheme
from edgepress.runtime import ENGINES
from edgepress.toolkit.arguments import OnProgress
from edgepress.toolkit.diagnosis.profiling.ceiling import FLOAT32, INT8, measure_ceiling
from edgepress.toolkit.diagnosis.profiling.profile import profile
from edgepress.toolkit.diagnosis.speed.diagnose import diagnosis
from edgepress.toolkit.errors import EdgepressError
from edgepress.toolkit.measurement.benchmarking.options import BenchmarkOptions
from edgepress.toolkit.results.figures import ExplainingFigures, FileFigures
from edgepress.toolkit.results.records import Ceiling
from edgepress.toolkit.workers.opening import Candidate

_LIMITS = ("macs", "macs_per_s", "compute_share", "memory_share")
"""The figures of `limit_figures`; the others come from a profile."""
UNITS = {"float32": FLOAT32, "int8": INT8, None: None}
"""The ceiling of each kind of arithmetic; 16-bit activations have none."""


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
        figures = self.profiles.get(candidate._replace(batch=1), ExplainingFigures())
        macs = self.macs.get(candidate.file)
        ceiling = self.ceilings.get(candidate.threads)
        if macs is None or ceiling is None:
            return figures
        limits = limit_figures(file, p50_us, ceiling, macs=macs)
        return replace(figures, **{name: value for name, value in vars(limits).items() if name in _LIMITS})


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
    explained = Explained()
    if options.limits:
        _measure_limits(timed, explained)
    to_profile = [c for c in timed if options.profile and c.engine and ENGINES[c.engine].profiler]
    profiled = dict.fromkeys(c._replace(batch=1) for c in to_profile)
    for done, candidate in enumerate(profiled, 1):
        try:
            own = None if candidate.contract else items  # a published file takes others; values hardly affect the time
            new_profile = profile(candidate.file, candidate.engine, threads=candidate.threads, items=own)
            told = diagnosis(new_profile, explained.ceilings.get(candidate.threads))
            explained.profiles[candidate] = ExplainingFigures(
                profile=new_profile.operations,
                delegated_share=new_profile.delegated_share,
                diagnosis=told.text,
                findings=told.findings,
            )
        except EdgepressError as e:
            explained.notes.append(f"{candidate.file.name} on {candidate.engine} could not be profiled: {e.message}")
        if on_progress is not None:
            on_progress("profile", done / len(profiled))
    return explained


def _measure_limits(timed: Sequence[Candidate], explained: Explained) -> None:
    try:
        explained.ceilings.update({n: measure_ceiling(n) for n in dict.fromkeys(c.threads for c in timed)})
    except EdgepressError as e:  # the measurements so far must not be lost
        explained.notes.append(f"The limits of this CPU are unknown: {e.message}")
        return
    for file in dict.fromkeys(c.file for c in timed):
        try:
            about = read(file)
        except EdgepressError as e:
            explained.notes.append(f"The multiply-accumulates of {file.name} could not be counted: {e.message}")
            continue
        if about.macs is not None and not about.macs_not_counted:
            explained.macs[file] = about.macs


def limit_figures(file: FileFigures, p50_us: float | None, ceiling: Ceiling, *, macs: int) -> ExplainingFigures:
    """How close a file comes to the ceilings of the CPU.

    Args:
        file: The file and how it runs. Its size stands for the size of its weights.
        p50_us: Median latency of a call, microseconds; without it, only `macs` is known.
        ceiling: What the host reached with the same number of threads.
        macs: Multiply-accumulates of one item.

    Returns:
        The figures; `memory_share` is None where weights arrive faster than from memory: then they stay in the caches.
    """
    if not p50_us:
        return ExplainingFigures(macs=macs)
    seconds = p50_us / 1e6
    rate = macs * file.batch / seconds
    reading = file.size_bytes / seconds / ceiling.memory_bytes_per_s
    unit = _unit(SCHEMES.get(file.scheme), file.engine)
    return ExplainingFigures(
        macs=macs,
        macs_per_s=rate,
        compute_share=rate / getattr(ceiling, unit) if unit else None,
        memory_share=reading if reading <= 1 else None,
    )


def _unit(scheme: Scheme | None, engine: str) -> str | None:
    if scheme is None:
        return None
    unpacks = not scheme.calibrated and engine in ENGINES and ENGINES[engine].dynamic_in_float
    return FLOAT32 if unpacks else UNITS[scheme.arithmetic]
