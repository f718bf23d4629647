"""What rows of `accuracy.py` are made of: accuracies with paired intervals, and verdicts."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

sys.path.append(str(Path(__file__).parents[1] / "shared"))

from accuracy_nets import Net

from edgepress.toolkit.stats.intervals import Interval, paired_drop

Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Line:
    """A line of the output.

    Attributes:
        text: What it says.
        broken: What was asked of it and is not so; empty if all is.
        judged: Whether anything was asked of it.
    """

    text: str
    broken: str = ""
    judged: bool = True

    def __str__(self) -> str:
        return f"{self.text}   NOT KEPT: {self.broken}" if self.broken else self.text


def note(text: str) -> Line:
    """A line of which nothing is asked."""
    return Line(text, judged=False)


def accuracy(flags: Flags) -> str:
    """Share of right answers, %."""
    return f"{100 * flags.mean():.2f}"


def drop(reference: Flags, candidate: Flags) -> str:
    """Accuracy, and the drop in percentage points with its 95 % interval."""
    found = paired_drop(reference, candidate)
    return f"{accuracy(candidate):>6} ({shown(found)})"


def shown(found: Interval) -> str:
    """An estimate with its interval."""
    return f"{found.estimate:+.2f} [{found.low:+.2f}, {found.high:+.2f}]"


def worse_than(ours: Flags, theirs: Mapping[str, Flags]) -> list[str]:
    """The tools than whose file ours is worse beyond the interval."""
    found = []
    for name, flags in theirs.items():
        lost = paired_drop(flags, ours)  # positive: ours is worse
        if lost.low is not None and lost.low > 0:
            found.append(f"{name} is better by {shown(lost)}")
    return found


def flags_of(net: Net, files: Mapping[str, Path | str]) -> dict[str, Flags]:
    """Right answers of the files that there are; a file that does not run is left out."""
    found = {}
    for name, path in files.items():
        if isinstance(path, Path):
            try:
                found[name] = net.right(path)[0]
            except Exception as e:  # the engines' own, which share no base class, and dead processes
                print(f"{net.name} {name} does not run: {type(e).__name__}: {str(e)[:100]}", flush=True)
    return found


def beside(flags: Mapping[str, Flags], reference: Flags) -> str:
    """The tools' accuracies and drops, in words."""
    return "; ".join(f"{name} {drop(reference, one)}" for name, one in flags.items())
