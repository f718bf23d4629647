"""Stages of post-training quantization: what each kind of repairs consists of, and what was tried."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from edgepress.converters.ptq.calibration import ChosenMethods
from edgepress.converters.ptq.score import Score
from edgepress.converters.schemes import RepairKind

StageName = Literal["feature-scaling", "logit-means", "equalization", "bias-absorption", "bias-correction", "adaround"]
KEPT_UNLESS_WORSE: tuple[StageName, ...] = ("bias-correction",)
"""Repairs that are kept unless the file is clearly worse with them; others are kept only if it is clearly better.

Bias correction removes the mean error that rounding adds to a channel, which shifts some classes alike on all data; on
a few hundred validation items that is often within chance. Equalization changes what every channel is rounded to, and
harms where calibration items are few (`docs/decisions.md`)."""


@dataclass(frozen=True)
class Recipe:
    """How a kind of repairs is tried.

    Attributes:
        precision: That of the TFLite file that is scored.
        rewrites: The rewrites of that file's recipe.
        last: The last stage; None for none.
        tensorwise: Kinds of operations whose weights have one scale a tensor in its files.
    """

    precision: str
    rewrites: tuple[str, ...] = ()
    last: StageName | None = "bias-correction"
    tensorwise: tuple[str, ...] = ()


DENSE = ("FULLY_CONNECTED",)
RECIPES: dict[RepairKind, Recipe] = {
    "exact": Recipe("dynamic", ("depthwise-weights",), last=None, tensorwise=DENSE),
    "dynamic": Recipe("dynamic", ("depthwise-weights",), tensorwise=DENSE),
    "weights": Recipe("weights8"),
    "int8": Recipe("int8"),
    "int4": Recipe("int4", last="adaround"),
}
CALIBRATED: tuple[RepairKind, ...] = ("int8", "int4")
"""The kinds for which calibration methods are chosen."""


@dataclass(frozen=True)
class Stage:
    """One repair that was tried.

    Attributes:
        name: "equalization", "bias-correction" and so on.
        kind: The kind of repairs that it was tried for.
        kept: Whether it was kept.
        before: The score without it.
        after: The score with it.
        what: What it did, in words.
    """

    name: StageName
    kind: RepairKind
    kept: bool
    before: Score
    after: Score
    what: str

    def facts(self) -> dict[str, Any]:
        """The stage for JSON and contracts."""
        scores = {"before": self.before.facts(), "after": self.after.facts()}
        return {"name": self.name, "kept": self.kept, **scores, "what": self.what}


@dataclass(frozen=True)
class Repaired:
    """What repairs made of a graph.

    Attributes:
        models: The repaired graphs by kind of repairs; none for a kind that changed nothing.
        stages: The repairs that were tried, in order.
        chosen: The methods by which ranges of 8-bit tensors follow from calibration items; None: all by `minmax`.
        notes: Notes for the user.
    """

    models: Mapping[RepairKind, bytes] = field(default_factory=dict)
    stages: tuple[Stage, ...] = ()
    chosen: ChosenMethods | None = None
    notes: tuple[str, ...] = ()
