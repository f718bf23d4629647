"""One file that was tried, with its figures on validation items and where its speed was measured."""

from __future__ import annotations

import base64
import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgepress.toolkit.compressing.limits import KINDS, Limits
from edgepress.toolkit.stats.intervals import paired_drop


@dataclass(frozen=True, kw_only=True)
class Trial:
    """A file and its figures; None where a figure is not known.

    Attributes:
        number: Its place in the climb, from 0, which is the float file.
        rung: Name of the rung that made it.
        cost: Place of that rung in the ladder: a cheaper one has a lower number.
        how: How it was made, in words.
        scheme: Its scheme.
        file: The file; None if it could not be made.
        sha256: SHA-256 of the file.
        size_bytes: Its size.
        accuracy: Share of the validation items that it classifies correctly, 0-1.
        drop_pp, drop_low_pp, drop_high_pp: Accuracy of the float file minus its own on these, percentage points, with
            the 95 % interval (paired).
        latency_us: Median latency of a call, microseconds.
        latency_low_us, latency_high_us: Its 95 % interval over rounds.
        memory_bytes: Peak memory of its process minus that of one that has only imported the engine.
        seconds: Time that it took to make and measure it.
        error: Why it could not be made or measured; empty if it was.
        facts: More about how it was made: the share of MACs, the width, figures of a training.
        correct: Base64 of `numpy.packbits` of which validation items it classifies correctly.
    """

    number: int = 0
    rung: str
    cost: int
    how: str
    scheme: str
    file: Path | None = None
    sha256: str = ""
    size_bytes: int | None = None
    accuracy: float | None = None
    drop_pp: float | None = None
    drop_low_pp: float | None = None
    drop_high_pp: float | None = None
    latency_us: float | None = None
    latency_low_us: float | None = None
    latency_high_us: float | None = None
    memory_bytes: int | None = None
    seconds: float = 0.0
    error: str = ""
    facts: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    correct: str = ""

    @property
    def figures(self) -> dict[str, float | None]:
        """The values that limits are about, by the names in `KINDS`."""
        return {name: getattr(self, kind.figure) for name, kind in KINDS.items()}

    def missed(self, limits: Limits) -> dict[str, float | None]:
        """The limits that it misses; see `Limits.excess`."""
        return limits.excess(self.figures)

    def to_dict(self) -> dict[str, Any]:
        """As in `compress --json`, without the single answers."""
        document = dataclasses.asdict(self)
        del document["correct"]
        return document | {"file": None if self.file is None else str(self.file)}


def packed(correct: npt.NDArray[np.bool_]) -> str:
    """Which items are classified correctly, as text."""
    return base64.b64encode(np.packbits(correct).tobytes()).decode()


def unpacked(text: str, count: int) -> npt.NDArray[np.bool_]:
    """The reverse of `packed`, for `count` items."""
    return np.unpackbits(np.frombuffer(base64.b64decode(text), np.uint8), count=count).astype(bool)


def with_drop(trial: Trial, reference: Trial, count: int) -> Trial:
    """A trial with its accuracy drop against the float file, both measured on the same `count` items."""
    if not trial.correct or not reference.correct:
        return trial
    drop = paired_drop(unpacked(reference.correct, count), unpacked(trial.correct, count))
    return replace(trial, drop_pp=drop.estimate, drop_low_pp=drop.low, drop_high_pp=drop.high)


def best_of(trials: list[Trial], limits: Limits, count: int) -> Trial | None:
    """The best file: it keeps all limits, loses least accuracy, and among equals was the cheapest to make.

    The float file is not among them.

    Two files lose equally much if the 95 % interval of the difference between them, on the same `count` validation
    items, includes 0. Of files of one rung, that is the smallest one; of equally small ones, the first.
    """
    fit = [t for t in trials if t.cost and t.file is not None and not t.error and not t.missed(limits)]
    if not fit:
        return None
    least = min(fit, key=lambda t: (t.drop_pp, t.cost, t.size_bytes, t.number))
    equal = [t for t in fit if not _worse(t, least, count)]
    return min(equal, key=lambda t: (t.cost, t.size_bytes, t.number))


def _worse(trial: Trial, best: Trial, count: int) -> bool:
    """Whether a file is worse than the best one beyond chance."""
    difference = paired_drop(unpacked(best.correct, count), unpacked(trial.correct, count))
    return difference.low is not None and difference.low > 0
