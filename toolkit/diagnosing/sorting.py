"""What each kernel of a profile does, what it computes in, and how close it comes to what this CPU reaches."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from edgepress.toolkit.profiling.ceiling import FLOAT32, INT8
from edgepress.toolkit.profiling.pairing import plain_name
from edgepress.toolkit.profiling.profile import NodeTime, Profile
from edgepress.toolkit.results.records import Ceiling

PRODUCT, DEPTHWISE, CONVERSION, TABLE, OTHER = (
    "convolutions and dense layers",
    "depthwise convolutions",
    "conversions",
    "look-up tables",
    "other operations",
)
SHORT_US = 5.0
"""Engines round the times of kernels to whole microseconds: a rate of a shorter one would be off by over a fifth."""
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
class Kernel:
    """A kernel of a profile with what is known about it.

    Attributes:
        node: It, as the profile has it.
        sort: What it does: `PRODUCT`, `DEPTHWISE`, `CONVERSION`, `TABLE` or `OTHER`.
        arithmetic: What it computes in: "float32" or "int8"; "" for other types and where it is not known.
        reach: Multiply-accumulates per second that this CPU reaches in such a kernel; None if that is not known.
        memory: Bytes per second that this CPU reads from memory; None if that is not known.
    """

    node: NodeTime
    sort: str
    arithmetic: str
    reach: float | None
    memory: float | None = None

    @property
    def time_us(self) -> float:
        """Its time in one inference, microseconds; a mean far above its shortest time is that of a disturbed kernel."""
        return min(self.node.time_us, DISTURBED * self.node.least_us + 1)

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
        if not self.computing_us or self.node.least_us < SHORT_US:
            return None
        return min(max(self.computing_us, self.reading_us) / self.node.least_us, 1.0)


def sort(profile: Profile, ceiling: Ceiling | None, grouped: Iterable[str] = ()) -> list[Kernel]:
    """What each kernel does.

    Args:
        profile: The profile.
        ceiling: What this CPU reaches with as many threads; None if it was not measured.
        grouped: Names of the file's convolutions whose groups are their channels.
    """
    known, kernels = set(grouped), []
    for node in profile.nodes:
        kind, arithmetic = _sort(node, known), _arithmetic(node)
        reach = None
        if ceiling is not None and arithmetic and kind in (PRODUCT, DEPTHWISE):
            field = INT8 if arithmetic == "int8" else FLOAT32
            reach = getattr(ceiling, field if kind == PRODUCT else f"depthwise_{field}")
        kernels.append(Kernel(node, kind, arithmetic, reach, ceiling.memory_bytes_per_s if ceiling else None))
    return kernels


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
    if (found := _XNNPACK_TYPES.search(node.kernel)) and node.delegated:
        return {"F32": "float32", "F16": ""}.get(found[1], "int8")
    return "int8" if node.computes_in in INTEGERS else "float32" if node.computes_in == "float32" else ""


def reached(kernels: Iterable[Kernel]) -> float | None:
    """How close kernels come to this CPU's reach, 0-1, weighted by their times; None if none has a rate."""
    rated = [(k.share_of_reach, k.time_us) for k in kernels if k.share_of_reach is not None]
    taken = sum(time for _, time in rated)
    return sum((share or 0.0) * time for share, time in rated) / taken if taken else None
