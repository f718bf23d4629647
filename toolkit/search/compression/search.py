"""The state of a search: what was tried, what was left out and why, and what is best so far."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from edgepress.toolkit.errors import EdgepressError
from edgepress.toolkit.search.compression.builder import Builder, FloatModel
from edgepress.toolkit.search.compression.measure import Measurer
from edgepress.toolkit.search.compression.step_cache import FATAL, Subject
from edgepress.toolkit.search.compression.trial import KINDS, Limits, Trial, best_of, replaces, with_drop
from edgepress.toolkit.stats.choice import LEAST_KNOWING, Evidence, Rule, probability_within

OTHERS = tuple(name for name in KINDS if name != "drop")
"""The limits that a smaller net can keep where a more exact one can't."""
TIME_IS_UP = "the time was up (--minutes)"
"""Why a strategy that trains is left out when no training may begin."""


@dataclass(frozen=True)
class Skipped:
    """A strategy that was left out, and why."""

    strategy: str
    why: str


class StrategySearch:
    """A search under way.

    Args:
        builder: Makes files.
        measurer: Measures them.
        limits: What a file must keep.
        rule: How one of those that keep them is chosen.
        minutes: Start no training after this time; that of kept results counts.
        on_trial: Called with each trial when its figures are known.

    Attributes:
        strategy: Name of the strategy that is tried.
        cost: Its place in `STRATEGIES`, from 1.
        trials: What was tried; the first one is the float file.
        skipped: The strategies that were left out.
        probes: Nets that were trained briefly or not at all, with their figures.
    """

    def __init__(
        self,
        builder: Builder,
        measurer: Measurer,
        limits: Limits,
        rule: Rule,
        *,
        minutes: float,
        on_trial: Callable[[Trial], None],
    ) -> None:
        self.builder = builder
        self.measurer = measurer
        self.limits = limits
        self.rule = rule
        self._minutes = minutes
        self._on_trial = on_trial
        self.strategy = "float"
        self.cost = 0
        self.trials: list[Trial] = []
        self.skipped: list[Skipped] = []
        self.probes: list[Trial] = []

    @property
    def subject(self) -> Subject:
        """What is compressed."""
        return self.builder.subject

    @property
    def reference(self) -> Trial:
        """The float file."""
        return self.trials[0]

    @property
    def count(self) -> int:
        """Number of validation items."""
        return len(self.subject.validation.test)

    @property
    def time_is_up(self) -> bool:
        """Whether no training may begin."""
        return self.builder.cache.seconds > 60 * self._minutes

    def begin(self, file: Trial) -> None:
        """Measure the float file.

        Raises:
            EdgepressError: It could not be made, or does not run.
        """
        if file.file is None:
            raise EdgepressError(f"{self.subject.model} can't be converted: {file.error}")
        trial = self.measurer.measure(replace(file, strategy="float", how="the float file"), None)
        if trial.error:
            raise EdgepressError(f"The float file does not run: {trial.error}")
        self._add(trial, trial)

    def take(self, how: str, files: Sequence[Trial], facts: Mapping[str, Any] | None = None) -> list[Trial]:
        """Measure files that the strategy made, and remember them.

        Args:
            how: How they were made, in words.
            files: The files.
            facts: For `Trial.facts`.
        """
        about: dict[str, Any] = {"strategy": self.strategy, "cost": self.cost, "how": how, "facts": dict(facts or {})}
        measured = [self.measurer.measure(replace(file, **about), self.reference) for file in files]
        return [self._add(trial, self.reference) for trial in measured]

    def try_schemes(
        self, how: str, schemes: Sequence[str], source: Callable[[], FloatModel] | None = None, **options: Any
    ) -> list[Trial]:
        """Convert a model, and take the files; if that fails, trials without files say why.

        Args:
            how: How they are made, in words.
            schemes: Names of schemes.
            source: Makes the model to convert; None: the user's model.
            options: Those of `Builder.convert`.
        """
        path, facts, seconds = FloatModel(self.subject.model, {}, 0.0)
        try:
            if source is not None:
                path, facts, seconds = source()
            files = self.builder.convert(path, schemes, **options)
        except FATAL:
            raise
        except EdgepressError as e:
            files = [Trial(scheme=scheme, error=f"{e.message} {e.hint}".strip()) for scheme in schemes]
        files = [replace(file, seconds=file.seconds + seconds / len(files)) for file in files]
        return self.take(how, files, facts)

    def probe(self, how: str, scheme: str, source: Callable[[], FloatModel]) -> Trial | None:
        """Size, latency and memory of a net that is trained briefly or not at all; None if it can't be made."""
        try:
            (file,) = self.builder.convert(source().path, [scheme], verify=False)
        except FATAL:
            raise
        except EdgepressError:
            return None
        if file.file is None:
            return None
        self.probes.append(self.measurer.with_latency(replace(file, how=how), self.reference))
        return self.probes[-1]

    def scheme(self, precision: str) -> str:
        """The name of a scheme of the wanted format."""
        return f"{self.subject.format}-{precision}"

    @property
    def cut_short(self) -> bool:
        """Whether a strategy was left out because the time was up."""
        return any(each.why == TIME_IS_UP for each in self.skipped)

    def skip(self, why: str) -> None:
        """Remember that the strategy was left out."""
        self.skipped.append(Skipped(self.strategy, why))

    def best(self) -> Trial | None:
        """The best file that keeps all limits; None so far."""
        return best_of(self.trials, self.limits, self.rule, float_us=self.reference.latency_us)

    def is_worth_it(self, best: Trial) -> bool:
        """Whether the best file that keeps all limits is to be taken instead of the float file."""
        return replaces(best, self.reference, self.limits, self.rule)

    @property
    def settled(self) -> bool:
        """Whether a file keeps all limits, and is sure enough to, or no file can be with so few items."""
        best = self.best()
        if best is None or not self.is_worth_it(best):
            return False
        limit = self.limits.values["drop"] / 100
        expected = 0.5 if self.count >= LEAST_KNOWING else None
        alike = probability_within(Evidence(self.count, 0, 0, expected_lost=expected), limit)
        return (best.probability or 0.0) >= min(self.rule.confidence, alike)

    def only_drop_missed(self, strategy: str | None = None) -> list[Trial]:
        """Trials that miss nothing but the drop, those of a strategy or all, the smallest drop first."""
        missing = [t for t in self.trials if t.drop_pp is not None and {*t.missed(self.limits)} == {"drop"}]
        return sorted((t for t in missing if strategy in (None, t.strategy)), key=lambda t: (t.drop_pp, t.number))

    def of(self, strategy: str) -> list[Trial]:
        """The trials of a strategy that have figures."""
        return [t for t in self.trials if t.strategy == strategy and not t.error]

    def excess(self, trial: Trial) -> float:
        """The largest ratio of a figure of a file to its limit, without the drop; at most 1 if all limits are met.

        A file that keeps them is as far below 1 as the limit that it is nearest to allows.
        """
        figures = trial.figures
        shares = [
            math.inf if (value := figures[name]) is None else value / self.limits.values[name]
            for name in OTHERS
            if name in self.limits.values
        ]
        return max(shares, default=0.0)

    def nearest_probe(self) -> str:
        """The figures by which the nearest probe misses limits other than the drop, in words; "" if there is none."""
        known = [probe for probe in self.probes if not probe.error]
        if not known:
            return ""
        nearest = min(known, key=self.excess)
        missed = [name for name in nearest.missed(self.limits) if name != "drop"]
        return ", ".join(f"{KINDS[name].noun} {KINDS[name].show(nearest.figures[name])}" for name in missed)

    def _add(self, trial: Trial, reference: Trial) -> Trial:
        trial = with_drop(trial, reference, self.count, self.limits.values["drop"])
        trial = replace(trial, number=len(self.trials))
        self.trials.append(trial)
        self._on_trial(trial)
        return trial
