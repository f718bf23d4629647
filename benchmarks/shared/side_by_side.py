"""Compare two ways of doing one thing, in one run: interleaved rounds, the ratio of each round, its spread.

Machines are shared and drift, so a figure of one run says nothing beside a figure of another. Every script here runs
both sides in alternation and reports the median over rounds of the ratio, its 95 % interval and its quartiles.
"""

from __future__ import annotations

import gc
import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np

from edgepress.toolkit.machine.host import describe_host
from edgepress.toolkit.stats.intervals import paired_ratio


@dataclass(frozen=True)
class Comparison:
    """One line of a report; times are medians over rounds, in microseconds.

    Attributes:
        name: What was compared.
        ours_us: Median time of our side.
        theirs_us: Median time of the other side.
        ratio: Median over rounds of ours / theirs, with its 95 % interval and quartiles.
        limit: Largest ratio that passes; None if there is none.
    """

    name: str
    ours_us: float
    theirs_us: float
    ratio: float
    ratio_low: float | None
    ratio_high: float | None
    quartiles: tuple[float, float]
    rounds: int
    limit: float | None = None

    @property
    def passes(self) -> bool:
        """Whether the limit was kept."""
        return self.limit is None or self.ratio <= self.limit


def compare(
    name: str,
    ours: Callable[[], object],
    theirs: Callable[[], object],
    *,
    rounds: int,
    calls: int,
    limit: float | None = None,
) -> Comparison:
    """Time two functions in alternation, which goes first changing each round.

    Args:
        name: What is compared.
        ours: Our side.
        theirs: What it is compared with.
        rounds: Number of pairs of blocks.
        calls: Calls in a block; a block's time is the median of its calls.
        limit: Largest ratio that passes.
    """
    for function in (ours, theirs):
        for _ in range(max(3, calls // 4)):
            function()
    blocks: tuple[list[float], list[float]] = ([], [])
    gc.disable()
    try:
        for turn in range(rounds):
            for side in (0, 1) if turn % 2 else (1, 0):
                blocks[side].append(_block((ours, theirs)[side], calls))
    finally:
        gc.enable()
    return summarize(name, *blocks, limit=limit)


def summarize(name: str, ours_s: list[float], theirs_s: list[float], *, limit: float | None = None) -> Comparison:
    """A comparison from paired times in seconds, one a round."""
    ours, theirs = np.array(ours_s), np.array(theirs_s)
    interval = paired_ratio(ours, theirs)
    low, high = (float(q) for q in np.quantile(ours / theirs, (0.25, 0.75)))
    medians = float(np.median(ours)) * 1e6, float(np.median(theirs)) * 1e6
    return Comparison(name, *medians, interval.estimate, interval.low, interval.high, (low, high), len(ours), limit)


def report(comparisons: list[Comparison]) -> None:
    """Print a table on stderr and one JSON document on stdout; exit with 1 if a limit was not kept."""
    for c in comparisons:
        spread = f"[{c.ratio_low:.3f}, {c.ratio_high:.3f}]" if c.ratio_low and c.ratio_high else ""
        limit = f"limit {c.limit:.2f} {'kept' if c.passes else 'NOT KEPT'}" if c.limit else ""
        print(
            f"{c.name:58} ours {c.ours_us:12.1f} us  theirs {c.theirs_us:12.1f} us  ratio {c.ratio:.3f} {spread:16}"
            f" quartiles {c.quartiles[0]:.3f}-{c.quartiles[1]:.3f}  rounds {c.rounds}  {limit}",
            file=sys.stderr,
        )
    print(json.dumps({"host": describe_host(), "comparisons": [asdict(c) for c in comparisons]}))
    sys.exit(any(not c.passes for c in comparisons))


def _block(function: Callable[[], object], calls: int) -> float:
    clock, times = time.perf_counter_ns, []
    for _ in range(calls):
        start = clock()
        function()
        times.append(clock() - start)
    return float(np.median(times)) / 1e9
