"""Train, convert and time all combinations of a plan: `sweep`, and what its jobs brought, with the winners."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgepress import __version__
from edgepress.converters.files import whole_file, write_json
from edgepress.toolkit.errors import EdgepressError, SweepError
from edgepress.toolkit.measurement.benchmarking.options import MAX_DROP_PP
from edgepress.toolkit.results.figures import unpack
from edgepress.toolkit.search.sweeping.loop import Event, Outcome, run
from edgepress.toolkit.search.sweeping.plan import plan_of, read_plan
from edgepress.toolkit.search.sweeping.result import NAME, Configuration, Row, Sweep
from edgepress.toolkit.search.sweeping.runners import LocalRunner, Runner
from edgepress.toolkit.search.sweeping.space import Grid, PointJobs, Proposer, Space, json_of
from edgepress.toolkit.search.sweeping.store import Entry, Store, writing
from edgepress.toolkit.stats.choice import CONFIDENCE, Costs, Evidence, Rule, probability_within


def front(costs: npt.ArrayLike) -> list[int]:
    """The rows that are not dominated: no other row is as good in every column and better in one.

    Args:
        costs: Shape (N, goals); lower is better.

    Returns:
        Their indices in ascending order; of equal rows the first.
    """
    rows = np.asarray(costs, np.float64)
    kept = []
    for n, row in enumerate(rows):
        as_good = (rows <= row).all(axis=1)
        better = as_good & (rows < row).any(axis=1)
        if not better.any() and not as_good[:n].any():
            kept.append(n)
    return kept


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


MakeRunner = Callable[[Store], Runner]
MakeProposer = Callable[[Space], Proposer]


def sweep(
    plan: str | Path | Mapping[str, Any],
    out: str | Path = "sweep",
    *,
    store: str | Path | None = None,
    runner: MakeRunner = LocalRunner,
    proposer: MakeProposer = Grid,
    machine: str | None = None,
    confidence: str | float = CONFIDENCE,
    prefer: str = "balanced",
    command: str = "",
    on_note: Callable[[str], None] | None = None,
    on_begin: Callable[[Runner], None] | None = None,
    on_event: Callable[[Event], None] | None = None,
) -> Sweep:
    """Train, convert and time all combinations of a plan; what is in the folder already is not done again.

    Args:
        plan: A TOML file, or its tables: "data", "dimensions", "training", "timing"; see docs/sweep.md.
        out: Folder for `sweep.json` and copies of the best files: `accurate`, `fast`, `small` and `recommended`, with
            their suffix.
        store: Folder for the results of jobs; None: `out`. Several sweeps may use one at the same time, and share what
            they have in common.
        runner: Makes what does the jobs, from the store.
        proposer: Makes what proposes the combinations, from the space of all.
        machine: What the times are measured on; None: this machine.
        confidence: The probability of losing less than a percentage point against the most accurate file from which
            one may be recommended, such as 0.9 or "90%".
        prefer: What is recommended of those: "balanced", the least product of size and latency, "size" or "latency".
        command: Command line to record in the result.
        on_note: Called with what was left out or is not as given.
        on_begin: Called with the runner before the first job.
        on_event: Called with each event of a job.

    Returns:
        All results and the winners, as `sweep.json` in `out` has them.

    Raises:
        EdgepressError: The plan or the data can't be used, or the folder can't be written.
        KeyboardInterrupt: Ctrl-C; finished jobs are kept.

    Example:
        >>> from edgepress.toolkit import sweep
        >>> plan = {"data": {"source": "digits"}, "dimensions": {"arch": ["lenet"]}, "training": {"epochs": 1}}
        >>> len(sweep(plan, "digits-sweep").rows)
        1
    """
    rule = Rule.of(confidence, prefer)
    tables, where = (read_plan(Path(plan)), str(plan)) if isinstance(plan, (str, Path)) else (plan, "The plan")
    space = Space(plan_of(tables, where), machine)
    note = on_note or (lambda text: None)
    proposed = proposer(space)
    for text in space.notes:
        note(text)
    folder = Path(out)
    results = Store(out if store is None else store, note)
    finished = 0

    def count(event: Event) -> None:
        nonlocal finished
        finished = event.finished
        if on_event is not None:
            on_event(event)

    try:
        with runner(results) as running:
            if on_begin is not None:
                on_begin(running)
            outcomes = run(proposed, running, results, count)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            f"Stopped after {finished} jobs, whose results are in {results.folder}. Go on with the same command."
        ) from None
    result = sweep_of(space, proposed.trials, outcomes, folder, command=command, rule=rule)
    with writing(folder):
        write_json(folder / NAME, result.to_dict())
        for name, number in result.winners.items():
            file = folder / str(result.rows[result.configurations[number].best].file)
            with whole_file(folder / f"{name}{file.suffix}") as temporary:
                shutil.copyfile(file, temporary)
            for other in {".tflite", ".onnx"} - {file.suffix}:  # the winner of before
                (folder / f"{name}{other}").unlink(missing_ok=True)
    if not result.configurations and result.rows:
        errors = [row.error for row in result.rows if row.error]
        first = errors[0] if errors else "a job was not done."
        raise SweepError(f"No file could be made. The first error: {first}", f"All are in {folder / NAME}.")
    return result
