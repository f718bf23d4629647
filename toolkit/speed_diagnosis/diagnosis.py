"""The result of a diagnosis, as a frozen record that becomes one JSON document."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from edgepress.toolkit.results.figures import Finding
from edgepress.toolkit.results.records import Ceiling, round_floats
from edgepress.toolkit.speed_diagnosis.sorting import (
    CONVERSION,
    DEPTHWISE,
    OTHER,
    PRODUCT,
    TABLE,
    SortedKernel,
    rate_kernels,
    reached_share,
)

CALL = "outside of kernels"


@dataclass(frozen=True, kw_only=True)
class WorkTime:
    """The time of all kernels that do one kind of work.

    Attributes:
        work: What they do.
        delegated: Whether a delegate ran them; None if the engine has no delegates.
        count: Number of them.
        time_us: Their time in one inference, microseconds.
        share: Share of the time of one inference, 0-1.
        macs_per_s: Multiply-accumulates per second of those that are long enough to have a rate; None if these take
            less than half of the time.
        reach: These as a share of what this CPU reaches in such kernels; None where that is not known.
    """

    work: str
    delegated: bool | None
    count: int
    time_us: float
    share: float
    macs_per_s: float | None = None
    reach: float | None = None


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """Why a file is slow on an engine, or that nothing stands out.

    Attributes:
        file: The file.
        engine: What ran it.
        threads: Number of threads that it was allowed to use.
        scheme: Its scheme; of a file that others made, that of the same kind of files.
        total_us: Latency of a whole inference, microseconds.
        text: What was found, in a few sentences.
        parts: Where the time goes, by kind of work.
        findings: What makes it slow, that with the largest share of the time first.
        mapped_share: Share of the time of convolutions and dense layers whose multiply-accumulates are known, 0-1.
        ceiling: What this CPU reaches in calibration kernels; None if it could not be measured.
        notes: What a reader must know beside that.
    """

    file: str
    engine: str
    threads: int
    scheme: str
    total_us: float
    text: str
    parts: tuple[WorkTime, ...]
    findings: tuple[Finding, ...]
    mapped_share: float
    ceiling: Ceiling | None
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"Diagnosis({self.file} on {self.engine}: {self.text})"

    def to_dict(self) -> dict[str, Any]:
        """The JSON document, rounded to six significant digits."""
        return {name: round_floats(value) for name, value in asdict(self).items()}


def parts(kernels: Sequence[SortedKernel], rest_us: float, whole_us: float, *, delegates: bool) -> tuple[WorkTime, ...]:
    """Where the time goes, most expensive first.

    Args:
        kernels: Every kernel of an inference.
        rest_us: Time that no kernel accounts for, microseconds.
        whole_us: The time that shares are relative to, microseconds.
        delegates: Whether the engine has delegates.
    """
    times = []
    for work in (PRODUCT, DEPTHWISE, CONVERSION, TABLE, OTHER):
        for delegated in (True, False) if delegates else (None,):
            group = [k for k in kernels if k.sort == work and delegated in (None, k.node.delegated)]
            if group:
                time_us = sum(k.time_us for k in group)
                reach = reached_share(group)
                rate = _rate(group)
                times.append(
                    WorkTime(
                        work=work,
                        delegated=delegated,
                        count=len(group),
                        time_us=time_us,
                        share=time_us / whole_us,
                        macs_per_s=rate,
                        reach=reach,
                    )
                )
    if rest_us:
        times.append(WorkTime(work=CALL, delegated=None, count=0, time_us=rest_us, share=rest_us / whole_us))
    return tuple(sorted(times, key=lambda part: -part.time_us))


def _rate(kernels: Sequence[SortedKernel]) -> float | None:
    known = rate_kernels(kernels)
    least_us = sum(k.least_us for k in known)
    return 1e6 * sum(k.node.macs or 0 for k in known) / least_us if least_us else None
