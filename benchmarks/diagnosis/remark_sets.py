"""Data and trainings made so that one thing limits them, and healthy ones, for `remarks.py` and the tests."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Arrays = dict[str, npt.NDArray[Any]]
FEATURES = 16
TEN = {"epochs": 10}
"""Enough for the dense net on these sets."""


@dataclass(frozen=True)
class Case:
    """A training, and what must be remarked on it.

    Attributes:
        arch: The network.
        make: The arrays of an `.npz`, made of a seed; None for the digits.
        remark: The kind of remark that must be there; "" for a healthy case, which must have none.
        options: Options of `train`.
        size: Side that images are resized to; None keeps theirs.
    """

    arch: str
    make: Callable[[np.random.Generator], Arrays] | None
    remark: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    size: int | None = None

    def data(self, folder: Path, seed: int) -> str:
        """Write the data into a folder, and return what `--data` takes."""
        if self.make is None:
            return "digits"
        path = folder / "items.npz"
        arrays: Any = self.make(np.random.default_rng(seed))
        np.savez(path, **arrays)
        return str(path)


def groups(rng: np.random.Generator, counts: list[int], *, apart: float = 4.0) -> Arrays:
    """Groups of points, one a class, whose means are so many standard deviations apart."""
    y = np.repeat(np.arange(len(counts)), counts)
    means = np.linalg.qr(rng.normal(size=(FEATURES, FEATURES)))[0][: len(counts)] * apart / np.sqrt(2)
    return {"x": (means[y] + rng.normal(size=(len(y), FEATURES))).astype(np.float32), "y": y}


def guesses(rng: np.random.Generator, shares: list[float]) -> Arrays:
    """Items that say nothing of their class."""
    return {"x": rng.normal(size=(900, FEATURES)).astype(np.float32), "y": rng.choice(len(shares), 900, p=shares)}


def rare(rng: np.random.Generator) -> Arrays:
    """Three classes, and a fourth of 40 items that lie where those of the first do."""
    found = groups(rng, [500, 500, 500])
    hidden = rng.choice(500, 40, replace=False)
    return {
        "x": np.concatenate(
            [found["x"], found["x"][hidden] + 0.3 * rng.normal(size=(40, FEATURES)).astype(np.float32)]
        ),
        "y": np.append(found["y"], np.full(40, 3)),
    }


def contradictory(rng: np.random.Generator) -> Arrays:
    """Three classes, and 12 items that are in another class, too."""
    found = groups(rng, [400, 400, 400])
    rows = rng.choice(1200, 12, replace=False)
    return {
        "x": np.append(found["x"], found["x"][rows], axis=0),
        "y": np.append(found["y"], (found["y"][rows] + 1) % 3),
    }


def by_heart(rng: np.random.Generator) -> Arrays:
    """Few training items of overlapping groups, and many test items."""
    found = groups(rng, [450] * 4, apart=2.0)
    order = rng.permutation(1800)
    first, rest = order[:160], order[160:]
    return {f"{k}_{part}": found[k][rows] for part, rows in (("train", first), ("test", rest)) for k in "xy"}


def stripes(rng: np.random.Generator) -> Arrays:
    """Large images that differ in stripes of one pixel, across or down."""
    y = rng.integers(0, 2, 500)
    x = np.stack([np.indices((160, 160))[k] % 2 * 50 for k in y]) + rng.normal(100, 20, (500, 160, 160))
    return {"x": np.clip(x, 0, 255).astype(np.uint8), "y": y}


CASES: dict[str, Case] = {
    "guesses of three classes": Case("dense", lambda rng: guesses(rng, [0.4, 0.3, 0.3]), "near the largest class", TEN),
    "guesses, one class in six": Case("dense", lambda rng: guesses(rng, [0.84, 0.16]), "near the largest class", TEN),
    "a rare class inside another": Case("dense", rare, "never predicted", TEN),
    "digits, 1 epoch": Case("lenet", None, "still improving", {"epochs": 1}),
    "digits, 2 epochs": Case("lenet", None, "still improving", {"epochs": 2}),
    "160 training items": Case("dense", by_heart, "far above validation", {"epochs": 200, "patience": None}),
    "12 items in two classes": Case("dense", contradictory, "contradictory labels", TEN),
    "stripes, too small to see": Case("lenet", stripes, "image size", {"epochs": 4}, size=28),
    "80 overlapping items": Case("dense", lambda rng: groups(rng, [100, 100], apart=2.0), "few test items"),
    "healthy: digits, LeNet": Case("lenet", None),
    "healthy: digits, dense": Case("dense", None),
    "healthy: groups": Case("dense", lambda rng: groups(rng, [300] * 5), options=TEN),
    "healthy: groups that overlap": Case("dense", lambda rng: groups(rng, [1200] * 3, apart=2.5)),
    "healthy: unequal classes": Case("dense", lambda rng: groups(rng, [1200, 120, 60])),
    "healthy: 90 items": Case("dense", lambda rng: groups(rng, [150] * 3, apart=6.0)),
}
