"""Drift: whether the images of a board are still like those that its answers' promise was measured on.

The certainty of each answer is compared with a reference: that of calibration items, in the contract, or of the first
scenes on site. If images are like the reference, the p-value of each, smoothed where certainties are equal, is uniform
and independent of the others, because earlier images join what it is compared with: so the number of reference items is
taken into account. `DriftTest` bets against that. Its capital is a martingale that begins at 1 and exceeds 1 / alpha
ever with a probability of at most alpha (Ville's inequality), however often it is looked at.

Sources: V. Vovk, "Testing randomness online", Statistical Science 36 (2021), 595-611; V. Vovk, I. Petej,
I. Nouretdinov, E. Ahlberg, L. Carlsson, A. Gammerman, "Retrain or not retrain: conformal test martingales for
change-point detection", PMLR 152 (2021), 191-210; J. Ville, Étude critique de la notion de collectif (1939); bets take
turns as in M. Herbster, M. K. Warmuth, "Tracking the best expert", Machine Learning 32 (1998), 151-178.

Images of one scene depend on each other, so only the first of each scene counts (`edgepress.runtime.scenes`). A camera
that shows no scenes any more, such as a covered one, is noticed because one of `STILL` images counts in any case.
Tensors have no thumbnails, and all count; windows of sound count where they do not overlap (`sound.listen`).

A board looks at every image, so that what is done for each is done in plain Python: for a few numbers it takes a
fraction of the instructions that calls of NumPy take (`benchmarks/memory/drift_cost.py`).
"""

from __future__ import annotations

import dataclasses
import math
from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from edgepress.runtime.errors import InputError
from edgepress.runtime.scenes import is_other_scene, parts_of

if TYPE_CHECKING:
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]

Counted = Literal["scenes", "items", "windows"]
"""What counts in the test."""
ALPHA = 0.01
"""Probability of an alarm, ever, while images stay like the reference."""
BINS = 16
"""Number of bins of certainty, each with about as many reference items."""
LEAST_REFERENCE = 100
"""Fewest scenes that a reference can be learned from."""
MOST_REFERENCE = 100_000
EDGE_SHARE = 0.25
"""Share of these scenes that sets the edges of the bins, which must not depend on the others, which are counted."""
STILL = 1000
"""Number of images without another scene after which one counts all the same."""
SLOPES = (-0.9, -0.45, 0.45, 0.9)
"""Of linear bets, on certainties that fall (below 0) or rise."""
BENDS = (-0.45, 0.9)
"""Of quadratic bets, on certainties in the middle (below 0) or at both ends."""
POWER = 0.3
"""Exponent of bets on certainties that fall, or rise, beyond most of the reference."""
LEAST_P = 1e-12
"""P-values below are taken for this, and those as near to 1 alike, so that no bet gains without limit."""
WAKE = 100.0
"""Number of images after which half of the waiting capital's rate of betting is left."""
SHARE = 0.01
"""Share of the betting capital that is divided anew among the bets at each image."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class DriftReference:
    """Certainties of items that a promise was measured on, counted in bins.

    Attributes:
        edges: Limits between the bins, ascending; chosen by other items than those that are counted.
        counts: Number of items in each bin, one more than edges; a certainty equal to an edge is in the bin above it.
        engine: The engine that answered.
    """

    edges: tuple[float, ...]
    counts: tuple[int, ...]
    engine: str

    def __post_init__(self) -> None:
        edges = tuple(map(float, self.edges))
        counts = tuple(self.counts)
        if not (0 < len(edges) < 256 and all(-1 <= edge <= 2 for edge in edges) and list(edges) == sorted({*edges})):
            raise ValueError("the edges of its drift reference are damaged")
        if len(counts) != len(edges) + 1 or not all(type(n) is int and 0 <= n < 1 << 40 for n in counts):
            raise ValueError("the counts of its drift reference are damaged")
        if not isinstance(self.engine, str) or not sum(counts):
            raise ValueError("its drift reference is empty or of no engine")
        object.__setattr__(self, "edges", edges)
        object.__setattr__(self, "counts", counts)

    @classmethod
    def of(cls, edges: Iterable[float], certainty: npt.NDArray[Any], engine: str) -> DriftReference:
        """The reference of items with these certainties, shape (N,), N > 0; those not finite are in the lowest bin."""
        edges = tuple(edges)
        counts = [0] * (len(edges) + 1)
        for each in certainty.tolist():
            counts[bin_of(edges, each)] += 1
        return cls(edges=edges, counts=tuple(counts), engine=engine)


def bin_of(edges: Sequence[float], certainty: float) -> int:
    """The bin of a certainty, 0 to len(edges); one that is not finite is in the lowest."""
    return bisect_right(edges, certainty) if math.isfinite(certainty) else 0


def edges_of(certainty: npt.NDArray[Any], bins: int = BINS) -> tuple[float, ...]:
    """Limits between bins with about as many of these certainties, shape (N,), N > 0, in each; at least one."""
    known = np.where(np.isfinite(certainty), certainty, -1.0).astype(np.float64)
    quantiles = np.quantile(known, np.arange(1, bins) / bins, method="higher")
    return tuple(float(f"{edge:.6g}") for edge in np.unique(np.round(quantiles, 6)))


class DriftTest:
    """The capital of bets against a stream that is like its reference.

    Attributes:
        counted: Number of certainties so far.
        capital: What 1 has become.
        most: The largest capital so far.
    """

    def __init__(self, reference: DriftReference, *, alpha: float = ALPHA, seed: int = 0) -> None:
        self._edges = reference.edges
        self._seen = [*reference.counts]
        self._sum = sum(reference.counts)
        self._random = np.random.default_rng(seed)
        self._alpha = alpha
        self._waiting = 1.0
        self._bets = [0.0] * len(bets_on(0.5))
        self.counted = 0
        self.capital = 1.0
        self.most = 1.0

    @property
    def alarm(self) -> bool:
        """Whether the capital has reached 1 / alpha; stays so."""
        return self.most >= 1 / self._alpha

    def observe(self, certainty: float) -> None:
        """Bet on the certainty of the next image; after an alarm, nothing changes."""
        if self.alarm:
            return
        p = self._p_value(certainty)
        woken = self._waiting * 0.5 / (WAKE + self.counted)
        self._waiting -= woken
        part = (SHARE * sum(self._bets) + woken) / len(self._bets)
        self._bets = [((1 - SHARE) * bet + part) * gain for bet, gain in zip(self._bets, bets_on(p), strict=True)]
        self.counted += 1
        self.capital = self._waiting + sum(self._bets)
        self.most = max(self.most, self.capital)

    def _p_value(self, certainty: float) -> float:
        """The smoothed conformal p-value, 0-1, of a certainty, which joins what the next one is compared with."""
        place = bin_of(self._edges, certainty)
        self._seen[place] += 1
        self._sum += 1
        return (sum(self._seen[:place]) + self._random.random() * self._seen[place]) / self._sum


def bets_on(p: float) -> list[float]:
    """What each bet makes of 1 at a p-value, 0-1: densities of p."""
    p = min(max(p, LEAST_P), 1 - LEAST_P)
    u = 2 * p - 1
    bend = 3 * u * u - 1
    linear = [1 + slope * u for slope in SLOPES]
    bent = [1 + each * bend for each in BENDS]
    return [*linear, *bent, POWER * p ** (POWER - 1), POWER * (1 - p) ** (POWER - 1)]


def reference_in(where: str, stored: DriftReference | None, *, engine: str, learn: int | None) -> DriftReference | None:
    """The reference to test against: that of a contract, `stored`; None if one is to be learned from `learn` scenes.

    Raises:
        InputError: There is none for this engine, or `learn` is out of range.
    """
    hint = "Learn one here with --reference 300."
    if learn is not None:
        if not LEAST_REFERENCE <= learn <= MOST_REFERENCE:
            problem = f"The reference is of {learn} items; accepted: {LEAST_REFERENCE} to {MOST_REFERENCE}."
            raise InputError(problem, hint)
        return None
    if stored is None:
        raise InputError(f"{where} holds no reference for drift.", f"{hint} edgepress calibrate writes one.")
    if stored.engine != engine:
        raise InputError(f"The reference for drift in {where} is of {stored.engine}, not of {engine}.", hint)
    return stored


class DriftWatch:
    """Decides which images are of a new scene, learns a reference on site if there is none, and tests.

    Args:
        reference: The reference; None learns one.
        learn: Number of items that it is learned from, then.
        engine: The engine that answers.
        counted: What counts: one image of each of the "scenes", all other "items", or "windows" of sound.
        on_alarm: Called once, with what an alarm means, in words.
    """

    def __init__(
        self,
        reference: DriftReference | None,
        *,
        learn: int = 0,
        engine: str = "",
        counted: Counted = "scenes",
        on_alarm: Callable[[str], None] | None = None,
    ) -> None:
        self._engine = engine
        self._counted = counted
        self._on_alarm = on_alarm
        self._test = None if reference is None else DriftTest(reference)
        self._learn = learn
        self._learned = list[float]()
        self._last: list[float] | None = None
        self._still = 0
        self.of = "learned here" if reference is None else "of calibration"

    def look(self, item: npt.NDArray[Any], certainty: float) -> dict[str, Any]:
        """Take the next item, as the model takes it, and the certainty of its answer; the state (`state`)."""
        if self._is_new(item):
            if self._test is not None:
                before = self._test.alarm
                self._test.observe(certainty)
                if self._test.alarm and not before and self._on_alarm is not None:
                    self._on_alarm(self.words())
            else:
                self._learned.append(certainty)
                if len(self._learned) >= self._learn:
                    known = np.array(self._learned)
                    cut = int(EDGE_SHARE * len(known))
                    self._test = DriftTest(DriftReference.of(edges_of(known[:cut]), known[cut:], self._engine))
                    self._learned = []
        return self.state()

    def state(self) -> dict[str, Any]:
        """The document of answers: how many items counted, the capital, whether there is an alarm and what it means."""
        if self._test is None:
            return self._count(len(self._learned)) | {"learns_from": self._learn, "alarm": False}
        document = self._count(self._test.counted)
        document |= {"capital": float(f"{self._test.capital:.4g}"), "alarm": self._test.alarm}
        return document | ({"meaning": self.words()} if self._test.alarm else {})

    def _count(self, number: int) -> dict[str, Any]:
        """The count, also by its older name, which is not that of sound."""
        return {"counted": number} | ({} if self._counted == "windows" else {"scenes": number})

    def words(self) -> str:
        """What an alarm means."""
        assert self._test is not None
        what = {"scenes": "images", "items": "they", "windows": "sounds"}[self._counted]
        counted = f"{self._test.counted} {self._counted}"
        return (
            f"Drift: after {counted}, {what} or the mix of classes are not like the reference "
            f"{self.of} (an alarm is wrong with a probability of at most {100 * ALPHA:g} %), so nothing is promised of "
            "accepted answers."
        )

    def _is_new(self, item: npt.NDArray[Any]) -> bool:
        """Whether an image counts: it is of another scene than the one that counted last, or that was long ago."""
        if self._counted != "scenes":
            return True
        small = parts_of(item)
        self._still += 1
        known = math.isfinite(sum(small))  # a thumbnail that is not would differ from none that follow
        new = known and (self._last is None or is_other_scene(small, self._last))
        if not (new or self._still >= STILL):
            return False
        if known:
            self._last = small
        self._still = 0
        return True
