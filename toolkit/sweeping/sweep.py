"""Train, convert and time all combinations of a plan: `sweep`, which the command of the same name calls."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from edgepress.converters.files import whole_file, write_json
from edgepress.toolkit.errors import SweepError
from edgepress.toolkit.stats.choice import CONFIDENCE, Rule
from edgepress.toolkit.sweeping.collect import sweep_of
from edgepress.toolkit.sweeping.local import LocalRunner
from edgepress.toolkit.sweeping.loop import Event, run
from edgepress.toolkit.sweeping.plan import plan_of, read_plan
from edgepress.toolkit.sweeping.result import NAME, Sweep
from edgepress.toolkit.sweeping.runner import Runner
from edgepress.toolkit.sweeping.space import Grid, Proposer, Space
from edgepress.toolkit.sweeping.store import Store, writing

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
