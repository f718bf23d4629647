"""Compute how latency changed between two measurements, from the same run or from two runs.

A machine may be faster or slower in another run. If both runs contain the same baseline file on the same version of its
engine, latencies are taken relative to it, and the interval is widened only for the remaining drift. Intervals are
bootstrapped over rounds, because the calls of a round are correlated.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from edgepress.toolkit.results.records import Benchmark, Measurement
from edgepress.toolkit.stats.intervals import Interval

SAME_ENGINE = 1.03
"""Factor by which a latency ratio between two runs may be wrong, relative to a baseline on the same engine.
`benchmarks/proof/gate_power.py --runs` prints how runs of the same files differ."""
OTHER_ENGINE = 1.1
"""The same, relative to a baseline on another engine."""
NO_YARDSTICK = 1.5
"""The same, without a baseline."""
BY_ROUND = {"p50_us": "round_medians_us", "p90_us": "round_p90s_us", "p99_us": "round_p99s_us"}
"""Fields with the values of each latency by round."""
RESAMPLES = 2000
"""Resamples of a bootstrap over rounds."""
MIN_ROUNDS = 6
"""With fewer rounds there is no interval."""
MAX_ROUNDS = 1000
"""More rounds are ignored."""


def ratio_interval(new: npt.NDArray[Any], old: npt.NDArray[Any]) -> Interval:
    """Median of `new` over median of `old` with its 95 % percentile bootstrap interval over rounds.

    Source: B. Efron, R. J. Tibshirani, An Introduction to the Bootstrap (1993), chapter 13.

    Args:
        new: One figure per round, > 0, shape (R,).
        old: The same of another run, shape (S,); or a single figure, taken as exact.
    """
    estimate = float(np.median(new) / np.median(old))
    if len(new) < MIN_ROUNDS or 1 < len(old) < MIN_ROUNDS:
        return Interval(estimate, None, None)
    random = np.random.default_rng(0)
    logs = [np.log(side[:MAX_ROUNDS]) for side in (new, old)]
    sides = [np.median(random.choice(log, (RESAMPLES, len(log))), axis=1) for log in logs]
    low, high = np.exp(np.quantile(sides[0] - sides[1], (0.025, 0.975)))
    return Interval(estimate, min(float(low), estimate), max(float(high), estimate))


def latency_ratio(
    old: Side, new: Side, name: str = "p50_us", *, same_run: bool = False
) -> tuple[Interval | None, str, float | None]:
    """NEW / OLD of a latency, the method, and the factor by which the interval was widened for drift.

    Args:
        old: The first measurement.
        new: The second one.
        name: A key of `BY_ROUND`.
        same_run: Whether both were measured in the same rounds.
    """
    rounds = [side.rounds(name) for side in (old, new)]
    kept = all(map(len, rounds))
    if same_run and kept:
        return ratio_interval(_over(rounds[1], rounds[0]), np.ones(1)), "in the same rounds", None
    if not old.like(new):
        return None, f"measured on another machine ({old.host.get('cpu')}, then {new.host.get('cpu')})", None
    base, how, drift = yardstick(old, new)
    if name != "p50_us" and not old.timed_like(new):
        drift = math.inf
    if not kept:
        plain = Interval(getattr(new.row, name) / getattr(old.row, name), None, None)
        return plain, "the rounds of both are not recorded", drift
    if base is not None:
        rounds = [_over(one, side.rounds("p50_us")) for one, side in zip(rounds, base, strict=True)]
    return allow(ratio_interval(rounds[1], rounds[0]), drift), how, drift


def yardstick(old: Side, new: Side) -> tuple[tuple[Side, Side] | None, str, float | None]:
    """The baseline of both results if it is the same file and engine, the method, and the allowance for drift.

    The allowance is infinite if there is no baseline on the same engine, and a run was noisy or the turns of the two
    were started in different ways.
    """
    base = old.baseline(), new.baseline()
    noisy = old.noisy or new.noisy or not old.timed_like(new)
    if base[0] and base[1] and base[0].row.sha256 == base[1].row.sha256 != "" and base[0].engine == base[1].engine:
        name = base[1].row.scheme
        engine = base[1].row.engine
        if engine == new.row.engine:
            return (base[0], base[1]), f"relative to the same {name} on {engine}", SAME_ENGINE
        drift = math.inf if noisy else OTHER_ENGINE
        return (base[0], base[1]), f"relative to the same {name}, but on {engine}", drift
    return None, "two runs without a common baseline", math.inf if noisy else NO_YARDSTICK


def allow(interval: Interval, factor: float | None) -> Interval:
    """An interval widened by a factor on both sides; without ends if the factor is infinite."""
    if factor is None or interval.low is None or interval.high is None:
        return interval
    if factor == math.inf:
        return Interval(interval.estimate, None, None)
    return Interval(interval.estimate, interval.low / factor, interval.high * factor)


def _over(rounds: npt.NDArray[Any], base: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Ratios of the rounds that both have."""
    common = min(len(rounds), len(base))
    ratios: npt.NDArray[Any] = rounds[:common] / base[:common]
    return ratios


class Side(NamedTuple):
    """A measurement and its result."""

    run: Benchmark
    row: Measurement

    @property
    def host(self) -> Mapping[str, Any]:
        """The host or board it was measured on."""
        return next((b for b in self.run.boards if b["name"] == self.row.host), self.run.host)

    @property
    def engine(self) -> tuple[str, object]:
        """The engine and its version."""
        versions = self.host.get("engines")
        return self.row.engine, versions.get(self.row.engine) if isinstance(versions, Mapping) else None

    def rounds(self, name: str) -> npt.NDArray[Any]:
        """A latency of `BY_ROUND` for each round, microseconds."""
        return np.array(getattr(self.row, BY_ROUND[name]), float)

    @property
    def noisy(self) -> bool:
        """Whether the host was under load, so that latencies are unreliable."""
        return self.run.noise is not None and self.run.noise.noisy

    def timed_like(self, other: Side) -> bool:
        """Whether the turns of both were started in the same way, as far as is known."""
        noise = self.run.noise, other.run.noise
        return noise[0] is None or noise[1] is None or noise[0].turns == noise[1].turns

    def like(self, other: Side) -> bool:
        """Whether both were measured on the same kind of machine."""
        return all(self.host.get(key) == other.host.get(key) for key in ("cpu", "machine", "cores"))

    def baseline(self) -> Side | None:
        """The baseline of its result with the same host, threads and batch, preferably on the same engine."""
        about = self.run.baseline or {}
        rows = [
            r
            for r in self.run.results
            if r.file == about.get("file")
            and (r.host, r.threads, r.batch) == (self.row.host, self.row.threads, self.row.batch)
            and r.round_medians_us
        ]
        rows.sort(key=lambda r: (r.engine != self.row.engine, r.engine != about.get("engine")))
        return Side(self.run, rows[0]) if rows else None
