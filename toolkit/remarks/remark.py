"""The record of a remark."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any


@dataclasses.dataclass(frozen=True, kw_only=True)
class Remark:
    """Something else than quantization that limits the accuracy.

    Attributes:
        kind: Name of the check; see docs/advice.md.
        text: What was found, with its figures, in one sentence.
        command: The next command; empty if there is none to give.
        figures: The measured figures by name; shares are 0-1.
    """

    kind: str
    text: str
    command: str = ""
    figures: Mapping[str, float] = dataclasses.field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """The remark for JSON, rounded to six significant digits."""
        rounded = {name: float(f"{value:.6g}") for name, value in self.figures.items()}
        return {"kind": self.kind, "text": self.text, "command": self.command, "figures": rounded}
