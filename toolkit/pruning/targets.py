"""How small a pruned model shall be, as the user says it."""

from __future__ import annotations

from dataclasses import dataclass

from edgepress.converters.pruning.plan import Cost
from edgepress.toolkit.errors import InputError


@dataclass(frozen=True)
class Targets:
    """Bounds that the pruned model shall keep, each or None.

    Attributes:
        macs: Share of the multiply-accumulates that is left at most, 0-1.
        size_bytes: Size of its int8 TFLite file at most.
        latency_ms: Time of one answer of that file at most, with LiteRT and one thread on this machine.
    """

    macs: float | None = None
    size_bytes: int | None = None
    latency_ms: float | None = None

    @property
    def cost(self) -> Cost:
        """What channels are weighed by: their weights if only a size is asked for."""
        return "bytes" if self.macs is None and self.latency_ms is None else "macs"

    def __post_init__(self) -> None:
        """Check them.

        Raises:
            InputError: There are none, or one is out of range.
        """
        if self.macs is None and self.size_bytes is None and self.latency_ms is None:
            raise InputError(
                "There is no target.", "Give a share of the multiply-accumulates (--macs 50%), a size or a latency."
            )
        if self.macs is not None and not 0 < self.macs < 1:
            raise InputError(f"macs is {self.macs:g}; accepted: a share above 0 and below 1, such as 50% or 0.5.")
        for name, value in (("size_bytes", self.size_bytes), ("latency_ms", self.latency_ms)):
            if value is not None and not 0 < value < 1e15:
                raise InputError(f"{name} is {value:g}; accepted: a number above 0.")
