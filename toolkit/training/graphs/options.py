"""The options of `tune` and `prune`, declared once for the public functions, the command line and every step."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from edgepress.converters.options.records import OptionError, Setting, record
from edgepress.converters.pruning.importance import MEASURES
from edgepress.converters.pruning.plan import Cost
from edgepress.toolkit.data.reading import Reading, ReadingArguments
from edgepress.toolkit.errors import InputError
from edgepress.toolkit.text import SHARE, SIZE, TIME, parse
from edgepress.toolkit.training.options import AUGMENTATION, RunArguments, RunOptions

IMPORTANCE = ("auto", *MEASURES)
"""What may rank channels."""
Target = partial(Setting, typed=str | None)
MACS = Target(
    "Share of the multiply-accumulates that may be left, such as 50%", more="0.5 is the same", metavar="SHARE"
)
MAX_SIZE = Target("Largest size of the int8 TFLite file, such as 100kB", more="A number is bytes", metavar="SIZE")
MAX_LATENCY = Target(
    "Maximum latency of the int8 file on this machine, one thread, such as 2ms",
    more="A number is milliseconds",
    metavar="TIME",
)
MINUTES = Setting("Time for training; preparing takes a minute or two more", above=0, below=1e5)
STEPS = Setting("Most steps instead of a time, for a result that no machine's speed changes", min=1, command_line=False)
OUT = Setting("Folder for the result", show_default="next to the model", typed=Path | None)


class GraphArguments(RunArguments, ReadingArguments, total=False):
    """The arguments that `tune` and `prune` share."""

    minutes: float
    steps: int | None
    out: str | Path | None
    augmentation: str
    seed: int


class TuneArguments(GraphArguments, total=False):
    """The arguments of `tune` that make `TuneOptions`."""

    bits: int


class PruneArguments(GraphArguments, total=False):
    """The arguments of `prune` that make `PruneOptions`."""

    macs: str | float | None
    max_size: str | float | None
    max_latency: str | float | None
    importance: str


@record(GraphArguments)
@dataclass(frozen=True, kw_only=True)
class GraphOptions(RunOptions, Reading):
    """How a float graph is trained."""

    minutes: Annotated[float, MINUTES] = 10.0
    steps: Annotated[int | None, STEPS] = None
    out: Annotated[str | Path | None, OUT] = None
    augmentation: Annotated[str, AUGMENTATION()] = "auto"
    seed: Annotated[int, Setting("Seed of the order and augmentation of the items", min=0)] = 0

    @property
    def recorded(self) -> dict[str, Any]:
        """What a run's file records of them."""
        return {name: getattr(self, name) for name in ("minutes", "steps", "seed", "augmentation")}


@record(TuneArguments)
@dataclass(frozen=True, kw_only=True)
class TuneOptions(GraphOptions):
    """How a model is tuned."""

    bits: Annotated[int, Setting("Bits of the weights, 8 or 4")] = 8

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.bits not in (8, 4):
            raise OptionError("bits", f"is {self.bits}; accepted: 8 or 4.")

    @property
    def recorded(self) -> dict[str, Any]:
        """What a run's file records of them."""
        return {**super().recorded, "bits": self.bits}


@record(PruneArguments)
@dataclass(frozen=True, kw_only=True)
class PruneOptions(GraphOptions):
    """How small a model is made; all targets that are given are kept."""

    macs: Annotated[str | float | None, MACS] = None
    max_size: Annotated[str | float | None, MAX_SIZE] = None
    max_latency: Annotated[str | float | None, MAX_LATENCY] = None
    importance: Annotated[str, Setting("What ranks channels: l1, taylor, variance or auto")] = "auto"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.importance not in IMPORTANCE:
            raise OptionError("importance", f"is {self.importance!r}; accepted: {', '.join(IMPORTANCE)}.")

    @property
    def targets(self) -> Targets:
        """The targets as numbers.

        Raises:
            InputError: There are none, or one is out of range.
        """
        size = parse("--max-size", self.max_size, SIZE)
        latency_us = parse("--max-latency", self.max_latency, TIME)
        return Targets(
            parse("--macs", self.macs, SHARE),
            None if size is None else int(size),
            None if latency_us is None else latency_us / 1e3,
        )

    @property
    def recorded(self) -> dict[str, Any]:
        """What a run's file records of them."""
        return {**super().recorded, "importance": self.importance, **dataclasses.asdict(self.targets)}


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
            raise OptionError("macs", f"is {self.macs:g}; accepted: a share above 0 and below 1, such as 50% or 0.5.")
        for name, value in (("size_bytes", self.size_bytes), ("latency_ms", self.latency_ms)):
            if value is not None and not 0 < value < 1e15:
                raise OptionError(name, f"is {value:g}; accepted: a number above 0.")
