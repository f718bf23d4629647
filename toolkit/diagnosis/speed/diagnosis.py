"""The result of a diagnosis of speed, and what each kernel of a profile does and reaches."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from edgepress.toolkit.diagnosis.profiling.ceiling import FLOAT32, INT8
from edgepress.toolkit.diagnosis.profiling.pairing import plain_name
from edgepress.toolkit.diagnosis.profiling.profile import NodeTime, Profile
from edgepress.toolkit.results.figures import Finding
from edgepress.toolkit.results.records import Ceiling, round_floats

PRODUCT = "convolutions and dense layers"
DEPTHWISE = "depthwise convolutions"
CONVERSION = "conversions"
TABLE = "look-up tables"
OTHER = "other operations"
SHORT_US = 5.0
"""Engines round the times of kernels to whole microseconds: a rate of a shorter one would be off by over a fifth."""
ENOUGH = 0.5
"""Share of the time of kernels that must have a rate, or none is reported for them."""
DISTURBED = 2.0
"""Mean time / shortest time above which other programs have disturbed a kernel; a microsecond more is rounding."""
MULTIPLYING = re.compile(
    r"(Group|Deconv|QLinear|Nhwc|Fused|Q)?(Convolution|Conv|Gemm|MatMul)(Integer|ToFloat|\d)*"
    r"|Fully ?Connected|Deconvolution|Batch Matrix Multiply|(CONV_2D|DEPTHWISE_CONV_2D|FULLY_CONNECTED|TRANSPOSE_CONV"
    r"|BATCH_MATMUL|CONV_3D)"
)
CONVERSIONS = {
    *("QUANTIZE", "DEQUANTIZE", "CAST", "TRANSPOSE", "Convert", "Transpose", "Cast", "FakeQuantize", "Reorder"),
    *("QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "ReorderInput", "ReorderOutput"),
}
"""Operations of files and kernels of engines that change only the type or the layout of their data."""
TABLES = ("Invalid Unary Op",)
"""XNNPACK's name for a look-up table that has taken the place of several operations (src/operator-utils.c)."""
INTEGERS = ("int8", "uint8", "dynamic")
_XNNPACK_TYPES = re.compile(r"\((?:N\w+, )?([A-Z]+\d+)")


@dataclass(frozen=True)
class SortedKernel:
    """A kernel of a profile with what is known about it.

    Attributes:
        node: It, as the profile has it.
        sort: What it does: `PRODUCT`, `DEPTHWISE`, `CONVERSION`, `TABLE` or `OTHER`.
        arithmetic: What it computes in: "float32" or "int8"; "" for other types and where it is not known.
        reach: Multiply-accumulates per second that this CPU reaches in such a kernel; None if that is not known.
        memory: Bytes per second that this CPU reads from memory; None if that is not known.
        tracing_us: Time that tracing adds to a kernel, microseconds.
    """

    node: NodeTime
    sort: str
    arithmetic: str
    reach: float | None
    memory: float | None = None
    tracing_us: float = 0.0

    @property
    def time_us(self) -> float:
        """Its time in one inference, microseconds; a mean far above its shortest time is that of a disturbed kernel."""
        return max(_least_time(self.node) - self.tracing_us, 0.0)

    @property
    def least_us(self) -> float:
        """Its shortest time, microseconds."""
        return max(self.node.least_us - self.tracing_us, 0.0)

    @property
    def computing_us(self) -> float:
        """Time of its multiply-accumulates at this CPU's reach, microseconds; 0 if that is not known."""
        return 1e6 * (self.node.macs or 0) / self.reach if self.reach else 0.0

    @property
    def reading_us(self) -> float:
        """Time in which its weights come from memory, microseconds; 0 if that is not known."""
        return 1e6 * (self.node.weight_bytes or 0) / self.memory if self.memory else 0.0

    @property
    def share_of_reach(self) -> float | None:
        """Its time at this CPU's reach as a share of its shortest time, at most 1, which other programs disturb least.

        None if it has no reach, or is too short to have a rate.
        """
        if not self.computing_us or self.least_us < SHORT_US:
            return None
        return min(max(self.computing_us, self.reading_us) / self.least_us, 1.0)


def sort(profile: Profile, ceiling: Ceiling | None, grouped: Iterable[str] = ()) -> list[SortedKernel]:
    """What each kernel does.

    What all kernels together take longer than an inference without tracing is taken as the time that tracing adds to
    each: the same for all, and not more than the shortest tenth of them takes.

    Args:
        profile: The profile.
        ceiling: What this CPU reaches with as many threads; None if it was not measured.
        grouped: Names of the file's convolutions whose groups are their channels.
    """
    known = set(grouped)
    kernels = []
    traced = sum(_least_time(node) for node in profile.nodes)
    shortest = sorted(node.least_us for node in profile.nodes)[len(profile.nodes) // 10]
    tracing = min(max(traced - profile.total_us, 0.0) / len(profile.nodes), shortest)
    for node in profile.nodes:
        kind = _sort(node, known)
        arithmetic = _arithmetic(node)
        reach = None
        if ceiling is not None and arithmetic and kind in (PRODUCT, DEPTHWISE):
            field = INT8 if arithmetic == "int8" else FLOAT32
            reach = getattr(ceiling, field if kind == PRODUCT else f"depthwise_{field}")
        kernels.append(
            SortedKernel(node, kind, arithmetic, reach, ceiling.memory_bytes_per_s if ceiling else None, tracing)
        )
    return kernels


def _least_time(node: NodeTime) -> float:
    return min(node.time_us, DISTURBED * node.least_us + 1)


def _sort(node: NodeTime, grouped: set[str]) -> str:
    kind = node.kernel.partition(" (")[0]
    if kind in TABLES:
        return TABLE
    if {node.operation, kind} & CONVERSIONS:
        return CONVERSION
    if not (MULTIPLYING.fullmatch(node.operation) or MULTIPLYING.fullmatch(kind)):
        return OTHER
    depthwise = node.operation in ("DEPTHWISE_CONV_2D", "GroupConvolution") or node.kernel.endswith("DWConv")
    return DEPTHWISE if depthwise or plain_name(node.name) in grouped else PRODUCT


def _arithmetic(node: NodeTime) -> str:
    if (match := _XNNPACK_TYPES.search(node.kernel)) and node.delegated:
        return {"F32": "float32", "F16": ""}.get(match[1], "int8")
    return "int8" if node.computes_in in INTEGERS else "float32" if node.computes_in == "float32" else ""


def rate_kernels(kernels: Iterable[SortedKernel]) -> list[SortedKernel]:
    """The kernels whose rate is known; none if most of the time goes to others, of which these say nothing."""
    whole = list(kernels)
    known = [k for k in whole if k.share_of_reach is not None]
    return known if sum(k.time_us for k in known) >= ENOUGH * sum(k.time_us for k in whole) else []


def reached_share(kernels: Iterable[SortedKernel]) -> float | None:
    """How close kernels come to this CPU's reach, 0-1, weighted by their times; None if most of them have no rate."""
    known = [(k.share_of_reach, k.time_us) for k in rate_kernels(kernels)]
    time_us = sum(time for _, time in known)
    return sum((share or 0.0) * time for share, time in known) / time_us if time_us else None


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
