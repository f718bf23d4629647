"""The result of converting to one scheme."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from edgepress.converters.arrays import Floats
from edgepress.converters.schemes import SCHEMES
from edgepress.runtime.contract import Verification

Cause = Literal["", "unlike", "broken", "scales"]


@dataclass(frozen=True)
class Variant:
    """One converted file, or why there is none.

    Attributes:
        scheme: Name in the scheme table.
        path: The file; None if the scheme failed.
        size_bytes: Its size, contract included.
        seconds: Time that it took; steps shared by several schemes count for the first of them.
        verification: How far its answers are from the source model's.
        other_format_error: Largest difference of a score to the file of the same precision in the other format, if
            both were made.
        rewrites: Number of places that each rewrite changed, by its name (`converters.rewrites.table`).
        compression: What was done to its graph to keep accuracy, and what that brought, as in its contract.
        notes: Remarks for its user, such as operations that stayed float.
        error: Why there is no file; empty if there is one.
        hint: What to do about `error`.
        cause: Why there is no file, if what to do depends on the other files: "unlike" its source model; "broken", its
            answers are no numbers; "scales" of channels too far apart.
    """

    scheme: str
    path: Path | None
    size_bytes: int | None
    seconds: float
    verification: Verification | None = None
    other_format_error: float | None = None
    rewrites: Mapping[str, int] = dataclasses.field(default_factory=dict)
    compression: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    notes: tuple[str, ...] = ()
    error: str = ""
    hint: str = ""
    cause: Cause = ""

    def __repr__(self) -> str:
        outcome = f"failed, {self.error}" if self.path is None else f"{self.path}, {self.size_bytes} bytes"
        return f"Variant({self.scheme}: {outcome})"

    @property
    def status(self) -> Literal["ok", "failed"]:
        """Whether there is a file."""
        return "failed" if self.path is None else "ok"


def across(variant: Variant, answers: dict[str, Floats]) -> Variant:
    """Note how far a variant is from the file of the same precision in the other format."""
    scheme = SCHEMES[variant.scheme]
    others = (s.name for s in SCHEMES.values() if s.precision == scheme.precision and s.format != scheme.format)
    other = next((name for name in others if name in answers), None)
    if scheme.name not in answers or other is None:
        return variant
    ours = answers[scheme.name]
    theirs = answers[other]
    count = min(len(ours), len(theirs))  # a slow file answers fewer
    return dataclasses.replace(variant, other_format_error=float(np.abs(ours[:count] - theirs[:count]).max()))
