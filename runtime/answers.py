"""What a model says of one item."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

UNKNOWN = "unknown"
"""The label of an answer that is not accepted."""
NO_LABEL = "no label"
"""What stands for an answer without labels in texts."""


class Prediction(NamedTuple):
    """One class and its score, 0-1."""

    label: str
    score: float

    def to_dict(self) -> dict[str, Any]:
        """The document that commands print; a score that is not finite is None, because JSON lacks it."""
        return {"label": self.label, "score": self.score if math.isfinite(self.score) else None}


class Answer(NamedTuple):
    """What a model says of one item.

    Attributes:
        classes: The classes with the highest scores, best first; of independent labels those that reach the threshold,
            possibly none.
        accepted: Whether the answer is accepted; None if the contract does not say.
        drift: State of the test for drift (`DriftWatch.state`); None if there is none.
        promised: Whether the promise of accepted answers holds: not after an alarm of drift, with another engine, or of
            means over images; None if nothing is accepted or rejected.
        state: The label that has lasted for `--hold`, and the event if it changed; None if nothing makes events.
    """

    classes: list[Prediction]
    accepted: bool | None
    drift: dict[str, Any] | None = None
    promised: bool | None = None
    state: dict[str, Any] | None = None

    def to_dict(self) -> dict[str, Any]:
        """The document that commands print; the fields beside "classes" only if they are known."""
        fields = {"accepted": self.accepted, "promised": self.promised, "drift": self.drift}
        known = {name: value for name, value in fields.items() if value is not None}
        return {"classes": [p.to_dict() for p in self.classes], **known, **(self.state or {})}


class Follower(Protocol):
    """Follows the answers of a model, and may replace them (`events.EventMaker`)."""

    def look(self, answer: Answer, scores: npt.NDArray[np.float32], top: int) -> Answer:
        """Take the answer to an item and its scores, shape (1, labels); the answer to give, of `top` classes."""
