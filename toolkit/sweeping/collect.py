"""What the jobs of a sweep brought, as its result: rows, configurations, and which of them win."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgepress import __version__
from edgepress.toolkit.benchmarking.advice import MAX_DROP_PP
from edgepress.toolkit.errors import EdgepressError
from edgepress.toolkit.results.packed import unpack
from edgepress.toolkit.stats.choice import Costs, Rule
from edgepress.toolkit.stats.posterior import Evidence, probability_within
from edgepress.toolkit.sweeping.front import front
from edgepress.toolkit.sweeping.loop import Outcome
from edgepress.toolkit.sweeping.result import Configuration, Row, Sweep
from edgepress.toolkit.sweeping.space import PointJobs, Space, json_of
from edgepress.toolkit.sweeping.store import Entry


def sweep_of(
    space: Space,
    trials: Iterable[PointJobs],
    outcomes: Mapping[str, Outcome],
    folder: Path,
    *,
    command: str = "",
    rule: Rule = Rule(),  # noqa: B008 - frozen
) -> Sweep:
    """Collect the results of the trials of a sweep, whose `sweep.json` will be in a folder."""
    rows = tuple(_row(trial, outcomes, folder) for trial in trials)
    configurations = configurations_of(rows)
    record = space.data.record
    plan = {f.name: json_of(getattr(space.plan, f.name)) for f in dataclasses.fields(space.plan)}
    failed = sum(isinstance(outcome, EdgepressError) for outcome in outcomes.values())
    return Sweep(
        edgepress=__version__,
        command=command,
        data={"source": record.source, "sha256": record.sha256, "counts": dict(record.counts)},
        plan=plan,
        machine=space.machine,
        jobs={"ok": len(outcomes) - failed, "failed": failed},
        rows=rows,
        configurations=configurations,
        winners=winners_of(configurations, rows, record.counts.get("val", 0), rule),
        notes=tuple(space.notes),
        confidence=rule.confidence,
        prefer=rule.prefer,
    )


def _row(trial: PointJobs, outcomes: Mapping[str, Outcome], folder: Path) -> Row:
    by_kind = {job.kind: outcomes.get(job.key) for job in trial.jobs}
    keys = {job.kind: job.key for job in trial.jobs}
    errors = [outcome for outcome in by_kind.values() if isinstance(outcome, EdgepressError)]
    status = "failed" if errors else "ok" if all(by_kind.values()) else "missing"
    facts: dict[str, Any] = {"point": json_of(trial.point), "status": status, "keys": keys}
    if errors:
        facts["error"] = str(errors[0])
    elif trial.stopped and status == "missing":
        facts |= {"status": "stopped", "epochs": trial.stopped}
    elif trial.error:
        facts |= {"status": "failed", "error": trial.error}
    if isinstance(entry := by_kind["train"], Entry):
        result = entry.result
        facts |= {"model": _relative(entry.files["model.keras"], folder), "float_accuracy": result["accuracy"]}
        facts |= {"float_val_accuracy": result["val_accuracy"], "parameters": result["parameters"]}
        facts |= {"epochs": result["epochs_run"], "training_seconds": entry.made.get("training_seconds")}
    if isinstance(entry := by_kind["convert"], Entry):
        facts["val_correct"] = entry.result.get("val_correct", "")  # that of an older edgepress has none
        names = ("val_accuracy", "accuracy", "size_bytes", "engine")
        facts |= {name: entry.result[name] for name in names}
        facts["file"] = _relative(entry.files[entry.result["file"]], folder)
    if isinstance(entry := by_kind.get("time"), Entry):
        facts |= {"latency_us": entry.result["p50_us"], "noisy": entry.result["noisy"]}
    return Row(**facts)


def _relative(path: Path, folder: Path) -> str:
    whole = path.resolve()
    start = folder.resolve()  # ".." of a linked folder is not where the link is
    return Path(os.path.relpath(whole, start) if whole.drive == start.drive else whole).as_posix()


def configurations_of(rows: Sequence[Row]) -> tuple[Configuration, ...]:
    """The configurations of rows that are ok, those with the highest validation accuracy first."""
    groups: dict[str, list[int]] = {}
    for number, row in enumerate(rows):
        if row.status == "ok" and row.val_accuracy is not None:
            groups.setdefault(json.dumps({k: v for k, v in row.point.items() if k != "seed"}), []).append(number)
    ranked = [_configuration(json.loads(point), numbers, rows) for point, numbers in groups.items()]
    ranked.sort(key=_costs)
    best = front([_costs(c) for c in ranked]) if ranked else []
    return tuple(dataclasses.replace(c, on_front=any(_costs(c) == _costs(ranked[n]) for n in best)) for c in ranked)


def _configuration(point: Mapping[str, Any], numbers: Sequence[int], rows: Sequence[Row]) -> Configuration:
    group = [rows[number] for number in numbers]
    val, test = ([float(getattr(row, name) or 0.0) for row in group] for name in ("val_accuracy", "accuracy"))
    best = numbers[int(np.argmax(val))]
    times = [row.latency_us for row in group if row.latency_us is not None]
    return Configuration(
        point=point,
        rows=tuple(numbers),
        best=best,
        val_accuracy=float(np.mean(val)),
        val_accuracy_std=_spread(val),
        accuracy=float(np.mean(test)),
        accuracy_std=_spread(test),
        size_bytes=round(float(np.mean([row.size_bytes or 0 for row in group]))),
        latency_us=float(np.mean(times)) if times else None,
    )


def _spread(values: Sequence[float]) -> float | None:
    """Standard deviation over seeds; None for one."""
    return float(np.std(values, ddof=1)) if len(values) > 1 else None


def _costs(c: Configuration) -> tuple[float, float, int]:
    """What is to be low; without a latency nothing was timed."""
    return -c.val_accuracy, c.latency_us or 0.0, c.size_bytes


def winners_of(
    configurations: Sequence[Configuration],
    rows: Sequence[Row] = (),
    items: int = 0,
    rule: Rule = Rule(),  # noqa: B008 - frozen
) -> dict[str, int]:
    """Numbers of the configurations that win; see `Sweep`.

    Args:
        configurations: As `configurations_of` sorts them.
        rows: The rows that they refer to, with their answers; without these, none is recommended.
        items: Number of validation items.
        rule: How one is recommended.
    """
    if not configurations:
        return {}
    least = configurations[0].val_accuracy - MAX_DROP_PP / 100
    close = [n for n, c in enumerate(configurations) if c.val_accuracy > least or n == 0]
    timed = [n for n in close if configurations[n].latency_us is not None]
    fast = {"fast": min(timed, key=lambda n: configurations[n].latency_us or 0.0)} if timed else {}
    small = {"small": min(close, key=lambda n: configurations[n].size_bytes)}
    return {"accurate": 0} | fast | small | _recommend(configurations, rows, items, rule)


def _recommend(configurations: Sequence[Configuration], rows: Sequence[Row], items: int, rule: Rule) -> dict[str, int]:
    """The configuration that the rule chooses; empty if it is not known which items each classifies correctly."""
    best = [rows[c.best] for c in configurations] if rows else []
    if not items or not all(row.val_correct for row in best) or not best:
        return {}
    right = [unpack(row.val_correct, items) for row in best]
    costs = []
    for c, own in zip(configurations, right, strict=True):
        evidence = Evidence(items, int((right[0] & ~own).sum()), int((~right[0] & own).sum()))
        sure = 1.0 if c is configurations[0] else probability_within(evidence, MAX_DROP_PP / 100)
        costs.append(Costs(c.size_bytes, c.latency_us, sure))
    chosen = rule.choose(costs)
    assert chosen is not None, "the most accurate one qualifies"
    return {"recommended": chosen}
