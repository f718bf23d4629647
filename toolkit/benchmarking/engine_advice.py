"""Which engine is the best for each file, and what to know of engines before comparing them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from edgepress.converters.schemes import SCHEMES
from edgepress.runtime import ENGINES
from edgepress.toolkit.host.describe import X86
from edgepress.toolkit.results.records import DROP, LARGE_ERROR, BestEngine, Measurement
from edgepress.toolkit.stats.intervals import paired_ratio

INTEGER = [name for name, scheme in SCHEMES.items() if scheme.calibrated and scheme.arithmetic == "int8"]
AMX = (
    "LiteRT's int8 kernels use this CPU's AMX tiles, which make small nets slower, and which no board has. "
    "EDGEPRESS_AMX=0 before the command measures without them."
)


def engine_notes(results: Sequence[Measurement], host: Mapping[str, Any]) -> list[str]:
    """Facts about engines that prevent wrong conclusions from the figures."""
    if host["machine"] not in X86:
        return []
    slow = dict.fromkeys(r.engine for r in results if r.scheme in INTEGER and r.speedup is not None and r.speedup < 1)
    notes = [
        f"{name} has fast int8 kernels for ARM, but not for x86."
        for name in slow
        if name in ENGINES and ENGINES[name].slow_int8_on_x86
    ]
    return [*notes, AMX] if host.get("amx") and "litert" in slow else notes


def best_engines(results: Sequence[Measurement]) -> tuple[BestEngine, ...]:
    """The best engine for each file that several engines were timed on, in the order of the results.

    Engines that failed, or on which the accuracy drop or the error exceeds the limit, are excluded. The others are
    compared by median latency, paired by round; `beyond_doubt` says whether all confidence intervals confirm it. All
    measurements are of one host, with the same threads and batch.
    """
    timed: dict[str, list[Measurement]] = {}
    for row in results:
        if row.round_medians_us and not row.failed and row.status not in (DROP, LARGE_ERROR):
            timed.setdefault(row.file, []).append(row)
    best = []
    for file, rows in timed.items():
        if len({r.engine for r in rows}) > 1:
            first, *others = sorted(rows, key=lambda r: r.p50_us or 0.0)
            ratios = [paired_ratio(r.round_medians_us, first.round_medians_us) for r in others]
            sure = all(ratio.low is not None and ratio.low > 1 for ratio in ratios)
            against = {r.engine: ratio.estimate for r, ratio in zip(others, ratios, strict=True)}
            best.append(BestEngine(file=file, engine=first.engine, beyond_doubt=sure, slower=against))
    return tuple(best)
