"""What travels between `prune` and its child process: how small the model shall be, and the plan of a run."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import Field, TypeAdapter

from edgepress.converters.errors import ConversionError
from edgepress.converters.files import write_text
from edgepress.converters.pruning.plan import Cost
from edgepress.toolkit.documents import read_json
from edgepress.toolkit.errors import InputError
from edgepress.toolkit.results.file import first_wrong
from edgepress.toolkit.retraining.job import GraphJob


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


@dataclass(frozen=True, kw_only=True)
class PruneJob(GraphJob):
    """Prune the model that is open.

    Attributes:
        targets: How small it shall be.
        importance: A measure, or "auto".
    """

    targets: Targets
    importance: str


@dataclass
class PrunePlan:
    """What a run does, which a resumed one does not decide again.

    Attributes:
        shares: Share of the multiply-accumulates that is left after each part.
        block: What wide layers are cut to multiples of.
        steps: Steps of the training of each part; 0 of the last one, until that is measured.
        rate: Learning rate at the beginning of each part; 0 until it is found.
    """

    shares: Annotated[list[Annotated[float, Field(ge=0, le=1)]], Field(min_length=1)]
    block: Annotated[int, Field(ge=1)]
    steps: list[Annotated[int, Field(ge=0, lt=1 << 31)]]
    rate: Annotated[float, Field(ge=0, le=1)] = 0.0


def read_plan(path: Path) -> PrunePlan:
    """The plan of a run that is resumed.

    Raises:
        ConversionError: It can't be read.
    """
    try:
        plan = TypeAdapter(PrunePlan).validate_json(json.dumps(read_json(path)), strict=True)
        if len(plan.steps) != len(plan.shares):
            raise ValueError(f"it has {len(plan.shares)} parts and steps of {len(plan.steps)}")
        if not all(plan.steps[:-1]):
            raise ValueError("a part before the last one has no steps")
    except (OSError, ValueError) as e:
        raise ConversionError(
            f"The plan {path} can't be read: {first_wrong(e)}.", "Start again with --overwrite."
        ) from e
    return plan


def save_plan(plan: PrunePlan, path: Path) -> None:
    """Write the plan of a run."""
    write_text(path, json.dumps(dataclasses.asdict(plan)))
