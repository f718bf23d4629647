"""What repairs report: the stages that were tried, and the graphs that came of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from edgepress.converters.schemes import Tuning
from edgepress.converters.tuning.judge import Score
from edgepress.converters.tuning.methods import Chosen


@dataclass(frozen=True)
class Stage:
    """One repair that was tried.

    Attributes:
        name: "equalization", "bias-correction" and so on.
        tuning: The kind of tuning that it was tried for.
        kept: Whether it was kept.
        before: The score without it.
        after: The score with it.
        what: What it did, in words.
    """

    name: str
    tuning: Tuning
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
    """What tuning made of a graph.

    Attributes:
        models: The tuned graphs by kind of tuning; none for a kind that changed nothing.
        stages: The repairs that were tried, in order.
        chosen: The methods by which ranges of 8-bit tensors follow from calibration items; None: all by `minmax`.
        notes: Remarks for the user.
    """

    models: Mapping[Tuning, bytes] = field(default_factory=dict)
    stages: tuple[Stage, ...] = ()
    chosen: Chosen | None = None
    notes: tuple[str, ...] = ()
