"""Which engine runs each file fastest on this host, among those that keep its accuracy."""

from __future__ import annotations

from collections.abc import Sequence

from edgepress.toolkit.results.records import DROP, LARGE_ERROR, BestEngine, Measurement
from edgepress.toolkit.stats.intervals import paired_ratio


def best_engines(results: Sequence[Measurement]) -> tuple[BestEngine, ...]:
    """The best engine for each file that several engines were timed on, in the order of the results.

    Engines that failed, or on which the accuracy drop or the error exceeds the limit, are excluded. The others are
    compared by median latency, paired by round; `beyond_doubt` says whether all confidence intervals confirm it.

    Args:
        results: Measurements of one host, with the same threads and batch.
    """
    timed: dict[str, list[Measurement]] = {}
    for row in results:
        if row.round_medians_us and not row.failed and row.status not in (DROP, LARGE_ERROR):
            timed.setdefault(row.file, []).append(row)
    found = []
    for file, rows in timed.items():
        if len({r.engine for r in rows}) > 1:
            first, *others = sorted(rows, key=lambda r: r.p50_us or 0.0)
            ratios = [paired_ratio(r.round_medians_us, first.round_medians_us) for r in others]
            sure = all(ratio.low is not None and ratio.low > 1 for ratio in ratios)
            against = {r.engine: ratio.estimate for r, ratio in zip(others, ratios, strict=True)}
            found.append(BestEngine(file=file, engine=first.engine, beyond_doubt=sure, slower=against))
    return tuple(found)
