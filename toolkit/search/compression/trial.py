"""One file that was tried, with its figures, and the limits that it must keep.

The limits that a file must keep: accuracy drop, size, latency, memory, and RAM and flash of a microcontroller.

>>> limits = Limits.of(max_drop=0.5, max_size="200kB", max_latency="5ms")
>>> limits.values
{'drop': 0.5, 'size': 200000.0, 'latency': 5000.0}
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from edgepress.toolkit import text
from edgepress.toolkit.results.figures import unpack
from edgepress.toolkit.stats.choice import SLOWER, Costs, Evidence, Rule, probability_within
from edgepress.toolkit.stats.intervals import paired_drop
from edgepress.toolkit.text import DROP, SIZE, TIME, Quantity, parse

MAX_DROP_PP = 0.5
"""Largest drop, percentage points, unless the user sets it."""


class Kind(NamedTuple):
    """One kind of limit.

    Attributes:
        option: The option that sets it.
        noun: What it limits, in words.
        figure: The field of a `Trial` that it limits.
        quantity: What it is given in.
    """

    option: str
    noun: str
    figure: str
    quantity: Quantity

    def show(self, value: float | None) -> str:
        """A value of this kind for people."""
        if value is None:
            return "unknown"
        if self.figure == "drop_pp":
            return f"{text.with_sign(value)} pp"
        return text.duration(value) if self.figure == "latency_us" else text.size(round(value))


KINDS: Mapping[str, Kind] = {
    "drop": Kind("--max-drop", "accuracy drop", "drop_pp", DROP),
    "size": Kind("--max-size", "size", "size_bytes", SIZE),
    "latency": Kind("--max-latency", "latency", "latency_us", TIME),
    "memory": Kind("--max-memory", "memory", "memory_bytes", SIZE),
    "ram": Kind("--max-ram", "RAM", "ram_bytes", SIZE),
    "flash": Kind("--max-flash", "flash", "flash_bytes", SIZE),
}
"""Every kind of limit, in the order in which they are shown."""
EXPORTED = ("ram", "flash")
"""The limits on the C that `edgepress export` writes, which integer-only int8 files alone can keep."""


@dataclass(frozen=True)
class Limits:
    """Largest accepted values.

    Attributes:
        values: By the names in `KINDS`: percentage points, microseconds, else bytes. "drop" is always there.
    """

    values: Mapping[str, float]

    @classmethod
    def of(
        cls,
        max_drop: float = MAX_DROP_PP,
        max_size: str | float | None = None,
        max_latency: str | float | None = None,
        max_memory: str | float | None = None,
        *,
        max_ram: str | float | None = None,
        max_flash: str | float | None = None,
    ) -> Limits:
        """Limits as a user gives them: numbers (percentage points, bytes, milliseconds), or text with a unit.

        Raises:
            InputError: One is not a positive number with an accepted unit.
        """
        limits = {"drop": max_drop, "size": max_size, "latency": max_latency, "memory": max_memory}
        limits |= {"ram": max_ram, "flash": max_flash}
        values = {name: parse(KINDS[name].option, value, KINDS[name].quantity) for name, value in limits.items()}
        return cls({name: value for name, value in values.items() if value is not None})

    @property
    def exported(self) -> bool:
        """Whether one is about the exported C."""
        return any(name in self.values for name in EXPORTED)

    def excess(self, figures: Mapping[str, float | None]) -> dict[str, float | None]:
        """The limits that a file misses, each with how far it is beyond it.

        Args:
            figures: The file's values, by the names in `KINDS`.

        Returns:
            The distance of a drop in percentage points, other values divided by their limits; None of a value that is
            not known, which counts as missed.
        """
        missed: dict[str, float | None] = {}
        for name, limit in self.values.items():
            value = figures.get(name)
            if value is None:
                missed[name] = None
            elif value > limit:
                missed[name] = value - limit if name == "drop" else value / limit
        return missed

    def in_words(self) -> str:
        """The limits in one line: "drop at most 0.50 pp, size at most 200 kB"."""
        return ", ".join(f"{KINDS[name].noun} at most {KINDS[name].show(value)}" for name, value in self.values.items())


@dataclass(frozen=True, kw_only=True)
class Trial:
    """A file and its figures; None where a figure is not known.

    Attributes:
        number: Its place in the search, from 0, which is the float file.
        strategy: Name of the strategy that made it.
        cost: Place of that strategy in `STRATEGIES`: a cheaper one has a lower number.
        how: How it was made, in words.
        scheme: Its scheme.
        file: The file; None if it could not be made.
        sha256: SHA-256 of the file.
        size_bytes: Its size.
        accuracy: Share of the validation items that it classifies correctly, 0-1.
        drop_pp, drop_low_pp, drop_high_pp: Accuracy of the float file minus its own on these, percentage points, with
            the 95 % interval (paired).
        probability: That its true drop is within the limit, 0-1, given these items.
        latency_us: Median latency of a call, microseconds.
        latency_low_us, latency_high_us: Its 95 % interval over rounds.
        memory_bytes: Peak memory of its process minus that of one that has only imported the engine.
        ram_bytes: Arena and stack of its exported C.
        flash_bytes: Constants and code of its exported C.
        seconds: Time that it took to make and measure it.
        error: Why it could not be made or measured; empty if it was.
        facts: More about how it was made: the share of MACs, the width, figures of a training.
        correct: Base64 of `numpy.packbits` of which validation items it classifies correctly.
        expected_lost: See `Evidence.expected_lost`, of the float file's probabilities.
        collapsed: Whether it hardly answers better than the most frequent class does (`numeric.metrics`).
    """

    number: int = 0
    strategy: str = ""
    cost: int = 0
    how: str = ""
    scheme: str
    file: Path | None = None
    sha256: str = ""
    size_bytes: int | None = None
    accuracy: float | None = None
    drop_pp: float | None = None
    drop_low_pp: float | None = None
    drop_high_pp: float | None = None
    probability: float | None = None
    latency_us: float | None = None
    latency_low_us: float | None = None
    latency_high_us: float | None = None
    memory_bytes: int | None = None
    ram_bytes: int | None = None
    flash_bytes: int | None = None
    seconds: float = 0.0
    error: str = ""
    facts: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    correct: str = ""
    expected_lost: float | None = None
    collapsed: bool = False

    @property
    def figures(self) -> dict[str, float | None]:
        """The values that limits are about, by the names in `KINDS`."""
        return {name: getattr(self, kind.figure) for name, kind in KINDS.items()}

    def missed(self, limits: Limits) -> dict[str, float | None]:
        """The limits that it misses; see `Limits.excess`. A file that has collapsed misses the drop, however large."""
        missed = limits.excess(self.figures)
        if self.collapsed and self.drop_pp is not None:
            missed.setdefault("drop", self.drop_pp - limits.values["drop"])
        return missed

    def to_dict(self) -> dict[str, Any]:
        """As in `compress --json`, without the single answers."""
        document = dataclasses.asdict(self)
        del document["correct"], document["expected_lost"]
        return document | {"file": None if self.file is None else str(self.file)}


def with_drop(trial: Trial, reference: Trial, count: int, limit: float) -> Trial:
    """A trial with its accuracy drop against the float file, both measured on the same `count` items.

    Args:
        trial: The file.
        reference: The float file.
        count: Number of items.
        limit: Largest drop that is accepted, percentage points.
    """
    if not trial.correct or not reference.correct:
        return trial
    before = unpack(reference.correct, count)
    after = unpack(trial.correct, count)
    drop = paired_drop(before, after)
    evidence = replace(evidence_of(before, after), expected_lost=trial.expected_lost)
    probability = probability_within(evidence, limit / 100)
    return replace(trial, drop_pp=drop.estimate, drop_low_pp=drop.low, drop_high_pp=drop.high, probability=probability)


def evidence_of(before: npt.NDArray[np.bool_], after: npt.NDArray[np.bool_]) -> Evidence:
    """On how many items only one of two files is right."""
    return Evidence(len(before), int((before & ~after).sum()), int((~before & after).sum()))


def best_of(trials: list[Trial], limits: Limits, rule: Rule, *, float_us: float | None = None) -> Trial | None:
    """The file that the rule chooses of those that keep all limits as measured; the float file is not among them.

    If none of these is sure enough, the surest ones count as if they were: few validation items make no file sure, and
    the user still wants one.

    Args:
        trials: The files.
        limits: The limits.
        rule: How to choose.
        float_us: Latency of the float file, µs; None: no file counts as slower than it.
    """
    fit = [t for t in trials if t.cost and t.file is not None and not t.error and not t.missed(limits)]
    costs = [_costs_of(t, float_us, t.probability) for t in fit]
    known = [c.probability for c in costs if c.probability is not None]
    if not known:
        return None
    chosen = replace(rule, confidence=min(rule.confidence, max(known))).choose(costs)
    assert chosen is not None
    return fit[chosen]


def replaces(best: Trial, reference: Trial, limits: Limits, rule: Rule) -> bool:
    """Whether the best file is worth taking instead of the float file: that misses a limit, or the rule takes the best.

    Args:
        best: The best file that keeps all limits.
        reference: The float file.
        limits: The limits.
        rule: How to choose.
    """
    if reference.missed(limits):
        return True
    costs = [_costs_of(trial, reference.latency_us, 1.0) for trial in (best, reference)]
    return rule.choose(costs) == 0


def _costs_of(trial: Trial, float_us: float | None, probability: float | None) -> Costs:
    latency = trial.latency_us
    slower = latency is not None and float_us is not None and float_us < SLOWER * latency
    return Costs(trial.size_bytes or 0, latency, probability, slower)
