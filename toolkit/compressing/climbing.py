"""The state of a climb: what was tried, what was left out and why, and what is best so far."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edgepress.converters.sources.keras import sha256_of
from edgepress.toolkit.compressing.limits import KINDS, Limits
from edgepress.toolkit.compressing.steps import FATAL
from edgepress.toolkit.compressing.trial import Trial, best_of, with_drop
from edgepress.toolkit.compressing.workshop import Made, Workshop
from edgepress.toolkit.errors import EdgepressError

OTHERS = tuple(name for name in KINDS if name != "drop")
"""The limits that a smaller net can keep where a more exact one can't."""
TIME_IS_UP = "the time was up (--minutes)"
"""Why a rung that trains is left out when no training may begin."""


@dataclass(frozen=True)
class Skipped:
    """A rung that was left out, and why."""

    rung: str
    why: str


class Climb:
    """A climb under way.

    Args:
        workshop: Makes and measures files.
        limits: What a file must keep.
        minutes: Time after which no training begins; that of kept results counts.
        on_trial: Called with each trial when its figures are known.
    """

    def __init__(
        self, workshop: Workshop, limits: Limits, *, minutes: float, on_trial: Callable[[Trial], None]
    ) -> None:
        self.workshop, self.limits, self._minutes, self._on_trial = workshop, limits, minutes, on_trial
        self.trials: list[Trial] = []
        self.skipped: list[Skipped] = []

    @property
    def reference(self) -> Trial:
        """The float file."""
        return self.trials[0]

    @property
    def count(self) -> int:
        """Number of validation items."""
        return len(self.workshop.order.validation.test)

    @property
    def time_is_up(self) -> bool:
        """Whether no training may begin."""
        return self.workshop.seconds > 60 * self._minutes

    def begin(self, made: Made) -> None:
        """Measure the float file.

        Raises:
            EdgepressError: It could not be made, or does not run.
        """
        if made.file is None:
            raise EdgepressError(f"{self.workshop.order.model} can't be converted: {made.error}")
        started = self.workshop.seconds
        trial = self.workshop.reference(_trial(made, "float", 0, "the float file", {}))
        if trial.error:
            raise EdgepressError(f"The float file does not run: {trial.error}")
        self._add(replace(with_drop(trial, trial, self.count), seconds=made.seconds + self.workshop.seconds - started))

    def take(
        self, rung: str, cost: int, how: str, made: Sequence[Made], facts: Mapping[str, Any] | None = None
    ) -> list[Trial]:
        """Measure files that a rung made, and remember them.

        Args:
            rung: Its name.
            cost: Its place in the ladder.
            how: How they were made, in words.
            made: The files.
            facts: For `Trial.facts`.
        """
        trials = [_trial(each, rung, cost, how, facts or {}) for each in made]
        measured = self.workshop.measure(trials, self.reference)
        return [self._add(with_drop(trial, self.reference, self.count)) for trial in measured]

    def try_schemes(
        self,
        rung: str,
        cost: int,
        how: str,
        schemes: Sequence[str],
        source: Callable[[], tuple[Path, Mapping[str, Any], float]] | None = None,
        **options: Any,
    ) -> list[Trial]:
        """Convert a model, and take the files; if that fails, trials without files say why.

        Args:
            rung: Its name.
            cost: Its place in the ladder.
            how: How they are made, in words.
            schemes: Names of schemes.
            source: Makes the model to convert: its path, facts, and the seconds that it took; None: the user's model.
            options: Those of `Workshop.convert`.
        """
        path, facts, seconds = self.workshop.order.model, dict[str, Any](), 0.0
        try:
            if source is not None:
                path, more, seconds = source()
                facts |= more
            made = self.workshop.convert(path, schemes, **options)
        except FATAL:
            raise
        except EdgepressError as e:
            made = [Made(scheme, None, 0.0, f"{e.message} {e.hint}".strip()) for scheme in schemes]
        made = [replace(each, seconds=each.seconds + seconds / len(made)) for each in made]
        return self.take(rung, cost, how, made, facts)

    def scheme(self, precision: str) -> str:
        """The name of a scheme of the wanted format."""
        return f"{self.workshop.order.format}-{precision}"

    @property
    def cut_short(self) -> bool:
        """Whether a rung was left out because the time was up."""
        return any(each.why == TIME_IS_UP for each in self.skipped)

    def skip(self, rung: str, why: str) -> None:
        """Remember that a rung was left out."""
        self.skipped.append(Skipped(rung, why))

    def best(self) -> Trial | None:
        """The best file that keeps all limits; None so far."""
        return best_of(self.trials, self.limits, self.count)

    def only_drop_missed(self, rung: str | None = None) -> list[Trial]:
        """Trials that miss nothing but the drop, those of a rung or all, the smallest drop first."""
        found = [t for t in self.trials if t.drop_pp is not None and {*t.missed(self.limits)} == {"drop"}]
        return sorted((t for t in found if rung in (None, t.rung)), key=lambda t: (t.drop_pp, t.number))

    def of(self, rung: str) -> list[Trial]:
        """The trials of a rung that have figures."""
        return [t for t in self.trials if t.rung == rung and not t.error]

    def excess(self, trial: Trial) -> float:
        """How many times a file is beyond the limit, other than the drop, that it misses by most; at most 1: none.

        A file that keeps them is as far below 1 as the limit that it is nearest to allows.
        """
        figures = trial.figures
        shares = [
            math.inf if (value := figures[name]) is None else value / self.limits.values[name]
            for name in OTHERS
            if name in self.limits.values
        ]
        return max(shares, default=0.0)

    def _add(self, trial: Trial) -> Trial:
        found = replace(trial, number=len(self.trials))
        self.trials.append(found)
        self._on_trial(found)
        return found


def _trial(made: Made, rung: str, cost: int, how: str, facts: Mapping[str, Any]) -> Trial:
    about: dict[str, Any] = {"rung": rung, "cost": cost, "how": how, "scheme": made.scheme, "facts": dict(facts)}
    about |= {"seconds": made.seconds, "error": made.error}
    if made.file is None:
        return Trial(**about)
    return Trial(file=made.file, sha256=sha256_of(made.file), size_bytes=made.file.stat().st_size, **about)
