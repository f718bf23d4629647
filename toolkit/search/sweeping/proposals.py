"""What a search tries next: Optuna's study of a sweep's points, and packages of the extra "sweep", imported when used.

Optuna's sampler is TPE for several goals (Ozaki et al. 2022, "Multiobjective tree-structured Parzen estimator"):
validation accuracy, latency, size. Test items take no part.
"""

from __future__ import annotations

import importlib
import itertools
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np

from edgepress.toolkit.errors import InputError, MissingExtraError
from edgepress.toolkit.search.sweeping.space import Point, PointJobs


def import_extra(name: str, what: str) -> Any:
    """A package of the extra "sweep".

    Args:
        name: Its name.
        what: What needs it, for the error.

    Raises:
        MissingExtraError: It is not installed.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as e:
        raise MissingExtraError(what, name, "sweep") from e


STARTUP = 8
"""Combinations that are drawn at random before Optuna's model proposes."""
ASKS = 40
"""Proposals for a generation; if too many of them were tried already, the others are drawn at random."""


class Points(Protocol):
    """What is searched: `space.Space` is one."""

    @property
    def dimensions(self) -> Mapping[str, Sequence[Any]]:
        """The values of each dimension."""
        ...

    def fitted(self, point: Point) -> Point | None:
        """The point as it would be tried; None if it can't be."""
        ...

    def trial(self, point: Point) -> PointJobs:
        """The jobs of a point that `fitted` returned."""
        ...


@dataclass(frozen=True)
class CostLimits:
    """What a file may cost; None: anything.

    Attributes:
        size_bytes: Largest size.
        latency_us: Largest median latency.
    """

    size_bytes: float | None = None
    latency_us: float | None = None

    def over(self, figures: Mapping[str, float]) -> list[float]:
        """By what share each limit is exceeded; not above 0 where it is kept."""
        pairs = ((self.size_bytes, "size_bytes"), (self.latency_us, "p50_us"))
        return [figures[name] / limit - 1 for limit, name in pairs if limit is not None and name in figures]


@dataclass(frozen=True)
class Tried:
    """A combination that was tried.

    Attributes:
        trial: Its point and jobs.
        status: "complete"; "stopped" if its run was unpromising; "failed".
        epochs: Epochs that were trained.
        figures: "val_accuracy", 0-1, and of a complete one "size_bytes" and, if it was timed, "p50_us". Of one that was
            stopped, the accuracy is that of the unfinished training.
        error: Why it failed.
    """

    trial: PointJobs
    status: Literal["complete", "stopped", "failed"]
    epochs: int = 0
    figures: Mapping[str, float] = field(default_factory=dict)
    error: str = ""


class Proposals:
    """Optuna's study, in memory, of points that are never proposed twice.

    Args:
        space: The points.
        seed: Seed of the sampler.
        limits: What a file may cost.

    Attributes:
        total: Number of different points that can be tried.

    Raises:
        InputError: No point can be trained.
        MissingExtraError: Optuna is not installed.
    """

    def __init__(self, space: Points, seed: int, limits: CostLimits) -> None:
        optuna = import_extra("optuna", "A search")
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._optuna = optuna
        self._limits = limits
        self._space = space
        self._values = space.dimensions
        self._distributions = {name: self._distribution(name, values) for name, values in self._values.items()}
        sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=STARTUP, multivariate=True)
        self._study = optuna.create_study(directions=["maximize", "minimize", "minimize"], sampler=sampler)
        self._rng = np.random.default_rng(seed)
        self._asked: dict[str, Any] = {}
        self._worst = [0.0, 0.0]
        places = itertools.product(*(range(len(values)) for values in self._values.values()))
        self._places: dict[str, tuple[int, ...]] = {}
        for place in places:
            if (point := self._point(place)) is not None:
                self._places.setdefault(name_of(point), place)
        self.total = len(self._places)
        if not self.total:
            raise InputError("No combination of the plan can be trained.")

    def ask(self, count: int) -> list[Point]:
        """Points that were not asked for before; no more than are left must be asked for."""
        points = list[Point]()
        for _ in range(ASKS):
            if len(points) == count:
                return points
            self._take(points)
        while len(points) < count:
            left = [place for name, place in self._places.items() if name not in self._asked]
            place = left[int(self._rng.integers(len(left)))]
            self._study.enqueue_trial(dict(zip(self._values, place, strict=True)))
            self._take(points)
        return points

    def tell(self, tried: Tried) -> None:
        """Tell Optuna what came of a point; what was stopped counts as outside the limits, at the worst cost."""
        asked = self._asked[name_of(tried.trial.point)]
        figures = tried.figures
        if tried.status == "failed":
            self._study.tell(asked, state=self._optuna.trial.TrialState.FAIL)
            return
        cost = self._worst
        over = [1.0]
        if tried.status == "complete":
            cost = [math.log(figures.get("p50_us", 1.0)), math.log(figures["size_bytes"])]
            over = self._limits.over(figures)
            self._worst = [max(pair) for pair in zip(self._worst, cost, strict=True)]
        asked.set_constraint("over", max(over, default=0.0))
        self._study.tell(asked, [figures["val_accuracy"], *cost])

    def _take(self, points: list[Point]) -> None:
        asked = self._study.ask(self._distributions)
        point = self._point([asked.params[name] for name in self._values])
        if point is None or name_of(point) in self._asked:
            self._study.tell(asked, state=self._optuna.trial.TrialState.FAIL)  # nothing new comes of it
            return
        self._asked[name_of(point)] = asked
        points.append(point)

    def _point(self, places: Iterable[int]) -> Point | None:
        pairs = zip(self._values.items(), places, strict=True)
        return self._space.fitted({name: values[place] for (name, values), place in pairs})

    def _distribution(self, name: str, values: Sequence[Any]) -> Any:
        """The places of the values: numbers are in order, so that Optuna may conclude from one to the next."""
        places = range(len(values))
        kinds = self._optuna.distributions
        numbers = all(isinstance(value, (int, float, tuple)) for value in values)
        ordered = name != "seed" and numbers and list(values) == sorted(values)
        return kinds.IntDistribution(0, len(values) - 1) if ordered else kinds.CategoricalDistribution(places)


def name_of(point: Mapping[str, Any]) -> str:
    """A point, or arguments, as a text that is the same for the same values."""
    return json.dumps(point, sort_keys=True)
