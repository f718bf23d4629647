"""Whether a model is better on new items and not worse on old ones: paired intervals on held-out items."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from edgepress.toolkit.stats.intervals import Interval, paired_drop
from edgepress.toolkit.stats.samples import items_to_prove_gain, items_to_rule_out

Verdict = Literal["proven", "open", "worse"]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Proof:
    """What held-out items say of a change.

    Attributes:
        items: Number of items.
        before: Accuracy of the old model, 0-1.
        after: Accuracy of the new model, 0-1.
        gain: After minus before, in percentage points, with its 95 % interval.
        verdict: "proven" if the interval shows what was to be shown, "worse" if it shows the contrary, else "open".
        needed: If it is open, the number of items that would show it with a chance of 80 %; None if more items would
            not, as the observed change is on the other side.
    """

    items: int
    before: float
    after: float
    gain: Interval
    verdict: Verdict
    needed: int | None

    def to_dict(self) -> dict[str, Any]:
        """The document of `improve --json`."""
        return asdict(self)


def prove_better(before: Flags, after: Flags) -> Proof:
    """Whether the new model is better.

    Args:
        before: Whether the old model is right on each item, bool, shape (N,), N > 0.
        after: The same of the new model.
    """
    drop = paired_drop(before, after)
    assert drop.low is not None
    assert drop.high is not None
    verdict: Verdict = "proven" if drop.high < 0 else "worse" if drop.low > 0 else "open"
    lost = int((before & ~after).sum())
    gained = int((~before & after).sum())
    needed = items_to_prove_gain(lost, gained, len(before)) if verdict == "open" else None
    return _proof(before, after, drop, verdict, needed=needed)


def prove_not_worse(before: Flags, after: Flags, max_drop: float) -> Proof:
    """Whether the new model loses at most `max_drop` percentage points; the arguments are those of `prove_better`."""
    drop = paired_drop(before, after)
    assert drop.low is not None
    assert drop.high is not None
    verdict: Verdict = "proven" if drop.high <= max_drop else "worse" if drop.low > max_drop else "open"
    lost = int((before & ~after).sum())
    gained = int((~before & after).sum())
    needed = None
    if verdict == "open" and max_drop == 0:  # no drop at all is shown by a gain
        needed = items_to_prove_gain(lost, gained, len(before))
    elif verdict == "open" and max_drop < 100:
        needed = items_to_rule_out(lost, gained, len(before), drop=max_drop / 100)
    return _proof(before, after, drop, verdict, needed=needed)


def _proof(before: Flags, after: Flags, drop: Interval, verdict: Verdict, *, needed: int | None) -> Proof:
    assert drop.low is not None
    assert drop.high is not None
    gain = Interval(-drop.estimate, -drop.high, -drop.low)
    return Proof(len(before), float(before.mean()), float(after.mean()), gain, verdict, needed)
