"""What a climb found, in words: the best file and why; or how near each limit was, and what would have to give."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edgepress.toolkit import text
from edgepress.toolkit.compressing.climbing import OTHERS, Climb
from edgepress.toolkit.compressing.limits import KINDS
from edgepress.toolkit.compressing.trial import Trial


@dataclass(frozen=True)
class Miss:
    """How near the files came to one limit.

    Attributes:
        limit: Its name, a key of `KINDS`.
        value: The limit, in the unit of the figure.
        least: The least value of any file, whatever else it misses.
        least_file: How that file was made.
        beside: The least value of the files that keep all other limits; None if no file keeps them.
        beside_file: How that file was made; "" if there is none.
    """

    limit: str
    value: float
    least: float | None
    least_file: str
    beside: float | None
    beside_file: str

    def in_words(self) -> str:
        """A sentence for people."""
        kind = KINDS[self.limit]
        least = f"least {kind.noun}: {kind.show(self.least)} ({self.least_file}), limit {kind.show(self.value)}"
        if self.beside is None:
            return f"{least}; no file keeps the other limits."
        if self.beside <= self.value:
            return f"{least}."
        if self.beside_file == self.least_file:
            return f"{least}; it keeps the other limits."
        return f"{least}; of files that keep the other limits: {kind.show(self.beside)} ({self.beside_file})."


def misses(climb: Climb) -> list[Miss]:
    """How near the files came to each limit, the missed ones."""
    found = []
    for name, value in climb.limits.values.items():
        known = [t for t in climb.trials if not t.error and t.figures[name] is not None]
        others = [t for t in known if not {*t.missed(climb.limits)} - {name}]
        least, beside = _least(known, name), _least(others, name)
        found.append(
            Miss(
                name,
                value,
                least.figures[name] if least else None,
                label(least) if least else "",
                beside.figures[name] if beside else None,
                label(beside) if beside else "",
            )
        )
    return found


def _least(trials: list[Trial], name: str) -> Trial | None:
    return min(trials, key=lambda t: (t.figures[name] or 0.0, t.number), default=None)


def label(trial: Trial) -> str:
    """A trial in a few words: its scheme, and how it was made if that says more."""
    short = trial.scheme.partition("-")[2]
    return trial.scheme if trial.how == short else f"{trial.scheme}, {trial.how}"


def why_best(best: Trial, climb: Climb, final: Mapping[str, Any]) -> str:
    """Why a file is the result, in one sentence, and what it loses on test items in another."""
    kept = [f"{KINDS[n].noun} {KINDS[n].show(best.figures[n])} of {KINDS[n].show(v)}" for n, v in limits_of(climb)]
    drop = text.interval(best.drop_pp, best.drop_low_pp, best.drop_high_pp)
    fit = sum(bool(t.file and not t.error and not t.missed(climb.limits)) for t in climb.trials[1:])
    rank = f"best of the {fit} that keep" if fit > 1 else "only one that keeps"
    first = (
        f"Of {text.plural(len(climb.trials) - 1, 'file')} tried, {label(best)} is the {rank} all limits: "
        f"{''.join(f'{each}, ' for each in kept)}accuracy drop {drop} pp of {climb.limits.values['drop']:g} pp "
        f"on {climb.count} validation items."
    )
    return f"{first} {on_test(final, climb.limits.values['drop'])}"


def on_test(final: Mapping[str, Any], limit: float) -> str:
    """What the file loses on test items, and what that says of the limit."""
    drop = text.interval(final["drop_pp"], final["drop_low_pp"], final["drop_high_pp"])
    found = f"On {final['items']} test items it reaches {text.percent(final['accuracy'])}, a drop of {drop} pp"
    if final["drop_low_pp"] > limit:
        return f"{found}, which is beyond the limit of {limit:g} pp."
    if final["drop_high_pp"] <= limit:
        return f"{found}, which proves that it keeps the limit."
    return f"{found}, too few items to prove that it keeps the limit of {limit:g} pp."


def why_none(climb: Climb, found: list[Miss]) -> str:
    """Why no file is the result, and what would have to give."""
    gives = [m for m in found if m.beside is not None and m.beside > m.value]
    tried = text.plural(len(climb.trials) - 1, "file")
    head = f"None of {tried} keeps all limits ({climb.limits.in_words()})."
    more = " More time (--minutes) allows trainings that were left out." if climb.cut_short else ""
    if not gives:
        return f"{head} No file misses a single limit alone: raise two or more.{more}"
    ways = [f"{KINDS[m.limit].option} {_option(m)} ({m.beside_file})" for m in gives]
    return f"{head} {'This' if len(ways) == 1 else 'One of these'} would have to give: {'; '.join(ways)}.{more}"


def _option(miss: Miss) -> str:
    """A value for the option that the nearest file would keep, rounded up."""
    assert miss.beside is not None
    if miss.limit == "drop":
        return f"{math.ceil(100 * miss.beside) / 100:g}"
    unit, factor = ("ms", 1e3) if miss.limit == "latency" else ("kB", 1e3)
    scale = 10.0 ** (math.floor(math.log10(miss.beside / factor)) - 2)
    return f"{math.ceil(miss.beside / factor / scale) * scale:.6g}{unit}"


def limits_of(climb: Climb) -> list[tuple[str, float]]:
    """The limits other than the drop."""
    return [(name, climb.limits.values[name]) for name in OTHERS if name in climb.limits.values]
