"""The combinations of a plan, and the jobs of each.

A `Point` is one combination, and `PointJobs` are the jobs that it takes: train, convert, time. Points that differ only
in the scheme share the training.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from edgepress.converters.files import sha256_of_file
from edgepress.toolkit.data import open_data
from edgepress.toolkit.data.types import DataSet
from edgepress.toolkit.errors import EdgepressError, InputError
from edgepress.toolkit.machine.host import describe_host, host_title
from edgepress.toolkit.search.sweeping.jobs import Job
from edgepress.toolkit.search.sweeping.plan import DIMENSIONS, MOST, SweepPlan
from edgepress.toolkit.search.sweeping.store import Entry
from edgepress.toolkit.training import batches, choosing
from edgepress.toolkit.training.nets import architectures

Point = Mapping[str, Any]
"""One combination: a value for each dimension, in the order of `DIMENSIONS`; None where it does not apply."""
ROUNDS = 20
"""Rounds of a timing, unless the plan sets them."""
SCHEMES = ("tflite-int8",)


@dataclass(frozen=True)
class PointJobs:
    """The jobs of one point; `time` is None if nothing is timed.

    `stopped` is the epoch after which its training was stopped as unpromising; 0 if it was not. `error` says
    why a part of its training failed, so that none of its jobs was begun; "" if none did.
    """

    point: Point
    train: Job
    convert: Job
    time: Job | None
    stopped: int = 0
    error: str = ""

    @property
    def jobs(self) -> tuple[Job, ...]:
        """All of them, each after those that it needs."""
        return tuple(job for job in (self.train, self.convert, self.time) if job is not None)


class Space:
    """The points of a plan, and the jobs of each.

    Args:
        plan: The plan; its data are opened once, for their hash and the form of their items.
        machine: What the times are measured on; part of the keys of timing jobs. None: this machine.

    Raises:
        EdgepressError: The data can't be opened.
    """

    def __init__(self, plan: SweepPlan, machine: str | None = None) -> None:
        self.plan = plan
        self.machine = machine or f"{describe_host()['name']}: {host_title(describe_host())}"
        options = {name: value for name, value in plan.data.items() if name != "source"}
        self.data: DataSet = open_data(plan.data["source"], **options)
        self._weights = _weights_of(plan.training.get("weights"))
        self.notes: dict[str, None] = {}
        """What was left out or is not as given, and why; in order, each once."""

    @property
    def dimensions(self) -> dict[str, tuple[Any, ...]]:
        """The values of each dimension, with what is tried of those that every point needs if none is given.

        Raises:
            InputError: They have too many combinations.
        """
        dimensions = {"arch": ("lenet",), "seed": (0,), "to": SCHEMES} | dict(self.plan.dimensions)
        if (count := math.prod(map(len, dimensions.values()))) > MOST:
            raise InputError(f"The plan has {count} combinations; accepted: up to {MOST}.", "Give fewer values.")
        return {name: dimensions[name] for name in DIMENSIONS if name in dimensions}

    def fitted(self, point: Point) -> Point | None:
        """A point with the defaults of its architecture and data; None if it can't be trained, which is noted."""
        arch = point["arch"]
        values = dict(point)
        row = architectures.architecture(arch)
        for name, has in (("width", row.width), ("depth", row.depths)):
            if values.get(name) is not None and not has:
                self.notes[f"{arch} has no {name}, so it is trained without one."] = None
                values[name] = None
        spec = self.data.input
        try:
            if values.get("size") is not None:
                if not spec.is_image:
                    raise InputError("tensors have no image size.")
                spec = dataclasses.replace(spec, shape=(*values["size"], spec.shape[2]))
            weights = choosing.weights_of(arch, self.plan.training.get("weights", choosing.AUTO))
            fixed: dict[str, Any] = {"weights": weights, "freeze": bool(self.plan.training.get("freeze"))}
            options = architectures.check_options(
                arch, spec, width=values.get("width"), depth=values.get("depth"), dropout=values.get("dropout"), **fixed
            )
            pretrained = choosing.in_two_steps(arch, weights, spec)
            sound = self.data.sound is not None
            wanted = values.get("augmentation") or "auto"
            values["augmentation"] = batches.resolve(wanted, spec, pretrained=pretrained, sound=sound)
        except EdgepressError as e:
            self.notes[f"Left out: {title(values, ('arch', 'width', 'size', 'augmentation'))} ({e.message})"] = None
            return None
        values |= {"width": options.width if row.width else None, "depth": options.depth if row.depths else None}
        values["size"] = tuple(spec.shape[:2]) if spec.is_image else None
        return {name: values.get(name) for name in DIMENSIONS}

    def grid(self) -> Iterator[Point]:
        """Every point that can be trained, once.

        Raises:
            InputError: There is none, or there are too many.
        """
        dimensions = self.dimensions
        fitted = (
            self.fitted(dict(zip(dimensions, values, strict=True)))
            for values in itertools.product(*dimensions.values())
        )
        points = {tuple(point.items()): point for point in fitted if point is not None}
        if not points:
            raise InputError("No combination of the plan can be trained.", " ".join(self.notes))
        yield from points.values()

    def trial(self, point: Point) -> PointJobs:
        """The jobs of a point that `fitted` or `grid` returned."""
        data = dict(self.plan.data)
        sha256 = self.data.sha256
        options = {name: value for name, value in point.items() if name != "to" and value is not None}
        about = {name: value for name, value in data.items() if name != "source"} | {"data": sha256}
        paths = {name: path for name, (path, _) in self._weights.items()}
        hashes = {name: sha256 for name, (_, sha256) in self._weights.items()}
        training = Job(
            "train",
            json_of(options | dict(self.plan.training) | hashes | about),
            context=paths | {"data": data["source"], "title": title(point, [name for name in point if name != "to"])},
        )
        skip = {"skip_unreadable": True} if data.get("skip_unreadable") else {}
        context = {"data": data["source"], "title": title(point, list(point))}
        converting = Job(
            "convert", {"scheme": point["to"], "data": sha256} | skip, {"model": training.key}, context=context
        )
        timing = None
        rounds = self.plan.timing.get("rounds", ROUNDS)
        if rounds:
            arguments = {"threads": self.plan.timing.get("threads", 1), "rounds": rounds, "on": self.machine}
            timing = Job("time", arguments, {"file": converting.key}, context=context, alone=True)
        return PointJobs(point, training, converting, timing)


def _weights_of(weights: str | None) -> dict[str, tuple[str, str]]:
    """The file of the initial weights, "weights", with its SHA-256: a result depends on this and not on the path.

    Raises:
        InputError: There is no such file.
    """
    if weights in (None, choosing.AUTO, choosing.NONE, choosing.IMAGENET):
        return {}
    try:
        return {"weights": (weights, sha256_of_file(Path(weights)))}
    except OSError as e:
        raise InputError(f"The weights {weights} can't be read: {e.strerror or e}.", "Check the path.") from e


class Proposer(Protocol):
    """What is tried, and in which order: the grid, or a search."""

    @property
    def trials(self) -> Iterable[PointJobs]:
        """All trials that it has proposed, for the result."""
        ...

    def ask(self) -> Iterable[Job]:
        """New jobs, the most important ones first, with those that they need or after these.

        It is called at the beginning and after results were told. A sweep ends when nothing is open and there is none.
        """
        ...

    def tell(self, job: Job, outcome: Entry | EdgepressError) -> None:
        """The result of a job, or why there is none."""
        ...


class Grid:
    """Proposes every point of a space."""

    def __init__(self, space: Space) -> None:
        self.trials = [space.trial(point) for point in space.grid()]
        self._asked = False

    def ask(self) -> list[Job]:
        """All jobs, when it is asked first."""
        if self._asked:
            return []
        self._asked = True
        return [job for trial in self.trials for job in trial.jobs]

    def tell(self, job: Job, outcome: Entry | EdgepressError) -> None:
        """Nothing depends on results."""


def title(point: Point, names: Iterable[str]) -> str:
    """A point in words: "lenet, width 0.5, size 28x28, seed 0, tflite-int8"."""
    bare = ("arch", "to", "augmentation")
    parts = []
    for name in names:
        if (value := point.get(name)) is not None:
            text = (
                "x".join(map(str, value))
                if isinstance(value, (list, tuple))
                else f"{value:g}"
                if isinstance(value, float)
                else str(value)
            )
            parts.append(text if name in bare else f"{name.replace('_', ' ')} {text}")
    return ", ".join(parts)


def json_of(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments as JSON returns them: lists instead of tuples."""
    return {name: list(value) if isinstance(value, tuple) else value for name, value in arguments.items()}
