"""Search: Optuna proposes which combinations of a sweep are worth training, instead of all of them.

A generation of combinations is asked for, done, and told, then the next (ask and tell). The results are those of the
store, under the same keys as in a grid, so that a search that was interrupted does again what Optuna did, in the same
order, and finds the results there; only what is missing is done. For one seed it always ends the same.

Unpromising runs end early (`Unpromising`). Test items take no part.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from edgepress.toolkit.errors import EdgepressError, InputError
from edgepress.toolkit.search.sweeping.jobs import Job, Made
from edgepress.toolkit.search.sweeping.proposals import CostLimits, Points, Proposals, Tried, name_of
from edgepress.toolkit.search.sweeping.space import PointJobs
from edgepress.toolkit.search.sweeping.store import Entry, Store
from edgepress.toolkit.training.nets import architectures

Outcome = Entry | EdgepressError
Steps = Iterator[list[Job]]
PART = "part"
GENERATION = 4
"""Combinations that are asked for at once, so that several workers have something to do."""
RUNGS = (0.25, 0.5)
"""Shares of the epochs after which a training may be stopped."""
PEERS = 4
"""Trainings of the same network that must have come as far before one is stopped by theirs."""
SEEN = 8
"""Trainings of any network that must have come as far."""
SAME_COST = ("seed", "augmentation", "dropout", "learning_rate", "batch_size", "class_weights")
"""Arguments of a training that change neither the size nor the latency of its files."""


@dataclass
class Unpromising:
    """The rule that stops trainings, by their best validation accuracy after a quarter and half of the epochs.

    One is stopped if it is below the median of the trainings of the same network, which cost the same (the median
    stopping rule of Golovin et al. 2017, "Google Vizier"); or below half the median of all, as it hardly learns. It is
    not compared more strictly with other networks: a small one that is worse may be the fastest that is good enough.

    Attributes:
        reached: The network and accuracy of each training by its key, for each rung.
    """

    reached: dict[float, dict[str, tuple[str, float]]] = field(default_factory=lambda: {rung: {} for rung in RUNGS})

    def stops(self, rung: float, accuracies: Mapping[str, tuple[str, float]]) -> set[str]:
        """Which of these trainings, by their network and accuracy at a rung, are to be stopped."""
        known = self.reached[rung]
        known |= accuracies
        everyone = [accuracy for _, accuracy in known.values()]
        keys = set()
        for key, (network, accuracy) in accuracies.items():
            peers = [other for name, other in known.values() if name == network]
            worse = len(peers) >= PEERS and accuracy < np.median(peers)
            if worse or (len(everyone) >= SEEN and accuracy < np.median(everyone) / 2):
                keys.add(key)
        return keys


class Search:
    """Proposes the points of a space that Optuna chooses (`space.Proposer`).

    Args:
        space: The points.
        store: Where the results are.
        count: Number of points to try, at least 1.
        seed: Seed of the proposals.
        limits: What a file may cost: points within the limits are preferred.
        early_stopping: Whether unpromising runs are stopped.

    Attributes:
        tried: What came of each point, in order.

    Raises:
        InputError: `count` is below 1, or no point can be trained.
        MissingExtraError: Optuna is not installed.
    """

    def __init__(
        self,
        space: Points,
        store: Store,
        count: int,
        *,
        seed: int = 0,
        limits: CostLimits | None = None,
        early_stopping: bool = True,
    ) -> None:
        if count < 1:
            raise InputError(f"--search is {count}; accepted: 1 or more.")
        self.tried: list[Tried] = []
        self._trials: list[PointJobs] = []
        self._space = space
        self._store = store
        self._early = early_stopping
        self._proposals = Proposals(space, seed, limits or CostLimits())
        self._total = min(count, self._proposals.total)
        self._rule = Unpromising()
        self._outcomes = dict[str, Outcome]()
        self._open = set[str]()
        self._steps = self._run()
        self._now: list[Job] | None = next(self._steps)

    @property
    def trials(self) -> Sequence[PointJobs]:
        """All trials that were proposed so far."""
        tried = {id(t.trial): t for t in self.tried}
        return [
            dataclasses.replace(trial, stopped=t.epochs if t.status == "stopped" else 0, error=t.error)
            if (t := tried.get(id(trial)))
            else trial
            for trial in self._trials
        ]

    def ask(self) -> list[Job]:
        """The jobs of the next step, when those of the last one are done; see `space.Proposer`."""
        if self._open:
            return []
        while self._now is not None:
            if new := {job.key: job for job in self._now if job.key not in self._outcomes}:
                self._open = set(new)
                return list(new.values())
            self._now = next(self._steps, None)
        return []

    def tell(self, job: Job, outcome: Outcome) -> None:
        """See `space.Proposer`."""
        self._outcomes[job.key] = outcome
        self._open.discard(job.key)

    def _run(self) -> Steps:
        """Generation after generation; what is yielded is done when this goes on."""
        while len(self._trials) < self._total:
            trials = [
                self._space.trial(p) for p in self._proposals.ask(min(GENERATION, self._total - len(self._trials)))
            ]
            self._trials += trials
            stopped: dict[str, tuple[int, float] | EdgepressError] = {}
            if self._early:
                yield from self._stop(trials, stopped)
            yield [job for trial in trials if trial.train.key not in stopped for job in trial.jobs]
            for trial in trials:
                self.tried.append(self._result(trial, stopped.get(trial.train.key)))
                self._proposals.tell(self.tried[-1])

    def _stop(self, trials: Sequence[PointJobs], ended: dict[str, tuple[int, float] | EdgepressError]) -> Steps:
        """Add the trainings that end early, by key: at which epoch with which accuracy, or with which error.

        The others get the checkpoint to go on from, in their context. A training that is in the store is judged by its
        history as if it had not been finished, so that a search ends the same whatever the store holds.
        """
        left = {t.train.key: t.train for t in trials if t.train.key not in self._outcomes}
        parts: dict[str, Job] = {}
        for rung in RUNGS:
            histories = {}
            missing = {}
            for key, job in left.items():
                until = math.ceil(rung * _epochs(job))
                if (entry := self._store.get(key)) is not None:
                    histories[key] = entry.result["history"][:until]
                else:
                    needs = {"part": parts[key].key} if key in parts else {}
                    about = {**job.arguments, "until": until}
                    missing[key] = Job(PART, about, needs, job.context)
            yield list(missing.values())
            for key, part in missing.items():
                outcome = self._outcomes[part.key]
                if isinstance(outcome, EdgepressError):
                    ended[key] = outcome
                    continue
                parts[key], histories[key] = part, outcome.result["history"]
                for path in outcome.files.values():
                    left[key] = dataclasses.replace(left[key], context={**left[key].context, "checkpoint": str(path)})
            best = {key: max(row["val_accuracy"] for row in rows) for key, rows in histories.items()}
            for key in self._rule.stops(rung, {key: (_network(left[key]), accuracy) for key, accuracy in best.items()}):
                ended[key] = len(histories[key]), best[key]
            left = {key: job for key, job in left.items() if key not in ended}
        yield list(left.values())  # the trainings with their checkpoints, before the jobs of the trials

    def _result(self, trial: PointJobs, stopped: tuple[int, float] | EdgepressError | None) -> Tried:
        if isinstance(stopped, EdgepressError):
            return Tried(trial, "failed", error=str(stopped))
        if stopped is not None:
            return Tried(trial, "stopped", stopped[0], {"val_accuracy": stopped[1]})
        outcomes = [self._outcomes[job.key] for job in trial.jobs]
        if errors := [each for each in outcomes if isinstance(each, EdgepressError)]:
            return Tried(trial, "failed", error=str(errors[0]))
        train, file, *timed = (each.result for each in outcomes if isinstance(each, Entry))
        figures = {name: file[name] for name in ("val_accuracy", "size_bytes")}
        figures |= {"p50_us": timed[0]["p50_us"]} if timed else {}
        return Tried(trial, "complete", int(train["epochs_run"]), figures)


def train_part(job: Job, inputs: Mapping[str, Entry], folder: Path) -> Made:
    """Train up to the epoch "until", from the "part" before if there is one; other arguments are those of "train"."""
    from edgepress.toolkit.search.sweeping.work import continue_from, open_job_data, training_options
    from edgepress.toolkit.training import checkpoint
    from edgepress.toolkit.training.loop import train

    continue_from(str(inputs["part"].files.get(checkpoint.NAME, "")) if "part" in inputs else None, folder / "run")
    how: dict[str, Any] = {"resume": True, "stop_after": job.arguments["until"], "progress": False}
    trained = train(open_job_data(job), out=folder / "run", **how, **training_options(job))
    history = [{k: v for k, v in row.items() if k != "seconds"} for row in trained.history]
    saved = folder / "run" / checkpoint.NAME  # missing if patience ran out, so that the training is complete
    return Made({"history": history}, {saved.name: saved} if saved.exists() else {})


def _epochs(job: Job) -> int:
    """The epochs of a training, by its arguments or its architecture."""
    return int(job.arguments.get("epochs") or architectures.architecture(job.arguments["arch"]).epochs)


def _network(job: Job) -> str:
    """What trainings have in common whose files cost the same."""
    return name_of({name: value for name, value in job.arguments.items() if name not in SAME_COST})
