"""Answers that know their limits: calibrated probabilities, and whether an answer is accepted.

`edgepress calibrate` measures what is here for a file on an engine and stores it in the contract. A board applies it to
the scores of each answer. The promise holds for items like those that it was measured on.
"""

from __future__ import annotations

import base64
import dataclasses
import math
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    Floats = npt.NDArray[np.float32]

Promise = Literal["error", "rejected"]
SMALLEST = 1e-6
"""Probabilities below are taken for this, before their logarithm."""
MAX_REFERENCES = 4096
"""Largest number of reference answers; each answer is compared with all of them."""
MAX_VALUES = 1 << 20
"""Largest number of their values."""
LARGEST_ODDS = 1e4
"""The odds of the best label are clipped to this and to its inverse."""
LEAST_SLOPE = -0.1
"""Least slope of exponents; of two labels, the more certain answer stays so above -1 / ln(`LARGEST_ODDS`)."""
MOST_SLOPE = 0.5
"""Largest slope."""
LEAST_FLOOR = 1e-9
"""Smallest score whose logarithm is told from that of 0."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Temperature:
    """How scores become calibrated probabilities: (score + offset)^exponent, divided by their sum.

    All labels of an item have the same exponent, odds^slope / temperature, so their order stays. Source of
    temperatures: C. Guo et al., "On calibration of modern neural networks", ICML 2017.

    Attributes:
        temperature: 0.01 to 100; above 1, probabilities become more alike.
        offset: What is added to scores, 0-1, for what a quantized softmax has rounded to 0.
        slope: How much larger the exponent of certain answers is, `LEAST_SLOPE` to `MOST_SLOPE`. The odds are those of
            the best label against all others, with the offset added.
    """

    temperature: float
    offset: float
    slope: float = 0.0

    def __post_init__(self) -> None:
        sound = 0.01 <= self.temperature <= 100 and 0 <= self.offset <= 1 and LEAST_SLOPE <= self.slope <= MOST_SLOPE
        if not sound:
            raise ValueError(f"temperature is {self.temperature}, offset {self.offset}, slope {self.slope}")

    def probabilities(self, scores: Floats) -> Floats:
        """Calibrated probabilities, float32, of scores of the same shape, (N, labels)."""
        known = np.maximum(scores, 0) + max(self.offset, SMALLEST)
        logits = np.log(known) / self.temperature
        if self.slope:
            top = known.max(axis=1, keepdims=True)
            others = np.maximum((known / top).sum(axis=1, keepdims=True) - 1, SMALLEST)  # as shares, no sum overflows
            logits = logits * np.clip(1 / others, 1 / LARGEST_ODDS, LARGEST_ODDS) ** self.slope
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))  # exponents <= 0 cannot overflow
        return np.asarray(powers / powers.sum(axis=1, keepdims=True), np.float32)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Unknown:
    """What known items look like, so that unlike ones are not accepted: the nearest reference answer must be near.

    Attributes:
        references: Base64 of int8, reference by reference: directions (`directions_of`) times 127.
        labels: Length of a reference.
        at_least: The least cosine between an accepted answer and the nearest reference, -1 to 1.
        floor: Scores below are taken for this, before their logarithm: half a step of a quantized softmax.
    """

    references: str
    labels: int
    at_least: float
    floor: float

    def __post_init__(self) -> None:
        numbers = -2 <= self.at_least <= 1 and LEAST_FLOOR <= self.floor < 1
        if not (numbers and type(self.labels) is int and self.labels > 1 and len(self.references) <= 2 * MAX_VALUES):
            raise ValueError("its references of known items are damaged")
        count, rest = divmod(len(self._stored), self.labels)
        if rest or not 0 < count <= MAX_REFERENCES or len(self._stored) > MAX_VALUES:
            raise ValueError("its references of known items are damaged")

    @cached_property
    def _stored(self) -> npt.NDArray[np.int8]:
        return np.frombuffer(base64.b64decode(self.references, validate=True), np.int8)

    @cached_property
    def directions(self) -> Floats:
        """The references, float32, shape (references, labels), of length 1."""
        stored = self._stored.reshape(-1, self.labels).astype(np.float32)
        return np.asarray(stored / np.maximum(np.linalg.norm(stored, axis=1, keepdims=True), SMALLEST), np.float32)

    def similarity(self, scores: Floats) -> Floats:
        """The cosine to the nearest reference, float32, shape (N,), of scores, (N, labels)."""
        return np.asarray((directions_of(scores, self.floor) @ self.directions.T).max(axis=1), np.float32)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Acceptance:
    """From which certainty on an answer is accepted, and what is promised of it.

    Attributes:
        at_least: The least certainty of an accepted answer (`certainty_of`), 0-1.
        promise: "error": at most a share `limit` of accepted answers is wrong. "rejected": at most a share `limit` of
            items is not accepted.
        limit: The promised share, 0-1.
        confidence: Probability that the promise holds, 0-1.
        items: Number of items that it was measured on, all others than those that chose the thresholds to test.
        accepted: How many of them are accepted.
        errors: How many of these have a wrong answer.
        upper: Upper bound of the promised share.
        engine: The engine that answered. With another one, nothing is promised.
        data: Where the items came from.
    """

    at_least: float
    promise: Promise
    limit: float
    confidence: float
    items: int
    accepted: int
    errors: int
    upper: float
    engine: str
    data: str = ""

    def __post_init__(self) -> None:
        shares = self.limit, self.confidence, self.upper
        counts = self.errors, self.accepted, self.items
        if self.promise not in get_args(Promise) or not isinstance(self.engine, str):
            raise ValueError(f"promise is {self.promise!r}, engine {self.engine!r}")
        if not all(type(n) is int for n in counts) or not 0 <= self.errors <= self.accepted <= self.items:
            raise ValueError(f"{self.errors} errors, {self.accepted} accepted, {self.items} items")
        if not all(0 <= share <= 1 for share in shares) or not -1 <= self.at_least <= 1:
            raise ValueError("a share is out of range")

    def words(self) -> str:
        """The promise with its condition, one sentence."""
        what = "accepted answers are wrong" if self.promise == "error" else "known items are not accepted"
        sure = f"{100 * self.confidence:.4g} %"
        limit = f"{100 * self.limit:.3g} %"
        return (
            f"With {sure} confidence, at most {limit} of {what}, for items like the {self.items} "
            f"that this was measured on, with {self.engine}."
        )


def certainty_of(scores: Floats) -> Floats:
    """How certain answers are, float32, shape (N,): 1 minus the entropy as a share of the largest one, 0-1.

    It is that of the scores, (N, labels), not of calibrated probabilities, which a small temperature makes all equal.
    """
    known = np.maximum(scores, SMALLEST)
    known = known / known.sum(axis=1, keepdims=True)
    entropy = -(known * np.log(known)).sum(axis=1)
    return np.asarray(1 - entropy / math.log(max(scores.shape[1], 2)), np.float32)


def directions_of(scores: Floats, floor: float) -> Floats:
    """Logarithms of scores without their mean, of length 1, shape (N, labels): the direction of the logits."""
    logits = np.log(np.maximum(scores, floor))
    centred = logits - logits.mean(axis=1, keepdims=True)
    return np.asarray(centred / np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), SMALLEST), np.float32)


def stored_directions(directions: Floats) -> str:
    """Directions as `Unknown.references` has them."""
    return base64.b64encode(np.rint(127 * directions).astype(np.int8).tobytes()).decode()


@dataclasses.dataclass(frozen=True)
class AnswerLimits:
    """What a contract says of a file's answers, each None if it does not.

    Attributes:
        probability: How scores become calibrated probabilities.
        accept: Which answers are accepted.
        unknown: What known items look like.
    """

    probability: Temperature | None = None
    accept: Acceptance | None = None
    unknown: Unknown | None = None

    def promise(self, engine: str) -> str:
        """What is promised of answers of an engine, with the condition; empty if nothing is accepted or rejected."""
        if self.accept is None:
            return ""
        if not self.promises(engine):
            return f"Nothing is promised with {engine}: acceptance was measured with {self.accept.engine}."
        return self.accept.words()

    def promises(self, engine: str) -> bool:
        """Whether anything is promised of answers of an engine: it is the one that acceptance was measured with."""
        return self.accept is not None and engine == self.accept.engine

    def probabilities(self, scores: Floats) -> Floats:
        """Calibrated probabilities; the scores themselves if there is no temperature."""
        return scores if self.probability is None else self.probability.probabilities(scores)

    def accepted(self, scores: Floats, certainty: Floats | None = None) -> npt.NDArray[Any] | None:
        """Whether each answer is accepted, bool, shape (N,); None if nothing says so.

        Args:
            scores: Scores of the items, float32, shape (N, labels).
            certainty: What `certainty` returns for them; None computes it.
        """
        if self.accept is None:
            return None
        certainty = self.certainty(scores) if certainty is None else certainty
        return certainty >= np.float32(self.accept.at_least)

    def certainty(self, scores: Floats) -> Floats:
        """The certainty of answers, float32, shape (N,); minus infinity for those that are unlike all references."""
        certainty = certainty_of(scores)
        if self.unknown is None:
            return certainty
        return np.where(self.unknown.similarity(scores) >= self.unknown.at_least, certainty, np.float32(-np.inf))
