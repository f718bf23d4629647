"""What explains a latency: how far it is from what this CPU can do, and which operations take the time.

Both are measured after the timing, in processes of their own, and neither decides anything.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy.typing as npt

from edgepress.converters.inspection import read
from edgepress.toolkit.benchmarking.roofline import measure_ceiling, with_limits
from edgepress.toolkit.errors import EdgepressError
from edgepress.toolkit.profiling.profile import profile_file
from edgepress.toolkit.progress import OnProgress
from edgepress.toolkit.results.records import Ceiling, Measurement
from edgepress.toolkit.workers.trace import TRACERS


def with_ceilings(results: Sequence[Measurement]) -> tuple[list[Measurement], Ceiling | None, list[str]]:
    """Measurements with the share of the CPU's ceilings that each reached.

    Args:
        results: Measurements of this host. Rows without a latency stay as they are, and files in which an operation's
            work can't be counted.

    Returns:
        The rows, the ceiling for the first row's threads (None if nothing was timed or it could not be measured), and
        a note for each thing that could not be known.
    """
    timed = [r for r in results if r.p50_us is not None]
    notes: list[str] = []
    try:
        ceilings = {threads: measure_ceiling(threads) for threads in dict.fromkeys(r.threads for r in timed)}
    except EdgepressError as e:  # hours of measuring shall not be lost by it
        return list(results), None, [f"What this CPU can do at most is not known: {e.message}"]
    macs: dict[str, int | None] = {}
    for file in dict.fromkeys(r.file for r in timed):
        try:
            found = read(Path(file))
            macs[file] = None if found.macs_not_counted else found.macs
        except EdgepressError as e:
            notes.append(f"The work that {Path(file).name} takes could not be counted: {e.message}")
    rows = []
    for row in results:
        count = macs.get(row.file) if row.p50_us is not None else None
        rows.append(row if count is None else with_limits(row, ceilings[row.threads], count))
    return rows, next(iter(ceilings.values()), None), notes


def with_profiles(
    results: Sequence[Measurement], items: npt.NDArray[Any], *, on_progress: OnProgress | None = None
) -> tuple[list[Measurement], list[str]]:
    """Measurements with the time of their operations, where the engine tells it.

    Args:
        results: Measurements of this host; those that were timed are profiled, once for all batch sizes.
        items: Inputs, shape (N, *item shape).
        on_progress: Called with "profile" and the share that is done, 0-1.

    Returns:
        The rows, and a note for each that could not be profiled.
    """
    wanted = [r for r in results if r.p50_us is not None and r.engine in TRACERS]
    keys = list(dict.fromkeys((r.file, r.engine, r.threads) for r in wanted))
    found: dict[tuple[str, str, int], dict[str, Any]] = {}
    notes = []
    for done, (file, engine, threads) in enumerate(keys, 1):
        try:
            profile = profile_file(file, engine, threads=threads, items=items)
            fields = {"profile": profile.operations, "delegated_share": profile.delegated_share}
            found[file, engine, threads] = fields
        except EdgepressError as e:
            notes.append(f"{Path(file).name} on {engine} could not be profiled: {e.message}")
        if on_progress is not None:
            on_progress("profile", done / len(keys))
    return [replace(r, **found.get((r.file, r.engine, r.threads), {})) for r in results], notes
