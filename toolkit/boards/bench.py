"""`board_bench`: how files do on boards, beside how they do here.

    edgepress board bench pi@kitchen pi@roof runs/a/variants --data digits

Each board is worked on by a thread of its own. What comes of them goes into the `benchmark.json` of `edgepress
benchmark`, each board as one more host; one that fails leaves the others' results alone.
"""

from __future__ import annotations

import dataclasses
import datetime
import platform
import shlex
import tempfile
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import edgepress
from edgepress.converters.files import write_json
from edgepress.runtime import Contract
from edgepress.runtime.board import working_set
from edgepress.toolkit.benchmarking.advice import MAX_DROP_PP
from edgepress.toolkit.benchmarking.plan import BASELINE
from edgepress.toolkit.boards.facts import describe_board
from edgepress.toolkit.boards.journal import Journal, default_journals
from edgepress.toolkit.boards.parcels import make_parcels, open_items, write_items
from edgepress.toolkit.boards.rows import board_rows, merge
from edgepress.toolkit.boards.session import Plan, Visit, look, visit
from edgepress.toolkit.boards.ssh import Connection, checked_host
from edgepress.toolkit.data.types import DataSet
from edgepress.toolkit.errors import EdgepressError, InputError, LostError
from edgepress.toolkit.evaluation import data_record
from edgepress.toolkit.host.describe import describe_host
from edgepress.toolkit.results.file import NAME, load_benchmark
from edgepress.toolkit.results.records import Advice, Benchmark, Measurement

ITEMS = 1000
UNCHECKED = "Not known: accuracy was not checked. Give the data: --data."


@dataclass(frozen=True)
class BoardBench:
    """What came of a benchmark on boards.

    Attributes:
        benchmark: All hosts' results, as they are now in `path`; None if no board gave any.
        path: Where they are.
        failed: Boards that gave none, with the reason.
    """

    benchmark: Benchmark | None
    path: Path
    failed: dict[str, EdgepressError]

    def to_dict(self) -> dict[str, Any]:
        """What `board bench --json` prints."""
        errors = {host: {"kind": e.kind, "message": e.message, "hint": e.hint} for host, e in self.failed.items()}
        document = self.benchmark.to_dict() if self.benchmark is not None else {"results": []}
        return document | {"failed": errors}


def board_info(host: str, *, python: str | None = None, ssh_config: Path | None = None) -> dict[str, Any]:
    """What a board is and how it is doing; nothing is written there.

    Args:
        host: What ssh takes.
        python: Its Python; None: python3.
        ssh_config: As `ssh -F`.

    Returns:
        An entry as in a benchmark's `boards`, with "install" (the command that installs an engine) and "advice".

    Raises:
        BoardError: It can't be reached, or has no Python.
    """
    with Connection(host, config=ssh_config) as board:
        told = look(board, python)
    version = tuple(int(n) for n in told["python"].split(".")[:2])
    pip = f"{shlex.quote(python or 'venv/bin/python')} -m pip install"
    command, advice = working_set(told["machine"], told["bits"], version, tuple(told["libc"]), pip)
    if command and python is None:  # Debian's own Python refuses pip
        apt, _, rest = command.rpartition(" && ")
        make = "python3 -m venv --system-site-packages venv" if apt else "python3 -m venv venv"
        command = " && ".join(filter(None, (apt, make, rest)))
    return describe_board(host, told, [told["state"]]) | {"install": command, "advice": advice}


def board_bench(
    hosts: Sequence[str],
    files: Sequence[str | Path],
    *,
    data: str | None = None,
    items: int = ITEMS,
    python: str | None = None,
    threads: Sequence[int] = (1,),
    rounds: int = 6,
    seconds: float = 1.0,
    max_drop_pp: float = MAX_DROP_PP,
    out: str | Path | None = None,
    keep: bool = False,
    resume: bool = False,
    skip_unreadable: bool = False,
    ssh_config: Path | None = None,
    on_step: Callable[[str], None] | None = None,
) -> BoardBench:
    """Copy bundles of files to boards, let them prove themselves, and measure them there.

    Args:
        hosts: Boards, each as ssh takes it.
        files: Model files, bundles of them, or one folder of model files.
        data: Data whose test items are answered on the boards; None: the self-test alone is run.
        items: How many test items at most.
        python: The boards' Python, which then must have the engines; None: the system's, with the bundles' packages.
        threads: Numbers of threads to time with.
        rounds: Rounds of timing over all files; 6 or more give an interval.
        seconds: What each file and number of threads is timed for in a round.
        max_drop_pp: Accuracy drop that is still usable, percentage points.
        out: Folder of the `benchmark.json` to merge with; None: that of the files.
        keep: Leave what was copied on the boards.
        resume: Take up a run that was cut: what was measured is not measured again.
        skip_unreadable: Leave out images that can't be read instead of failing.
        ssh_config: As `ssh -F`.
        on_step: Called with a sentence as each step begins, from several threads.

    Raises:
        EdgepressError: A host, a file, the data or an option can't be used. A board that fails is in `failed`.
    """
    step = on_step or (lambda text: None)
    hosts = list(dict.fromkeys(map(checked_host, hosts)))
    counts = tuple(sorted(set(threads)))
    if not hosts or not counts or min(counts) < 1:
        raise InputError(f"There are {len(hosts)} boards and the threads {counts}.", "Name at least one of each.")
    paths = [Path(f) for f in files]
    folder = Path(out) if out is not None else paths[0] if paths[0].is_dir() else paths[0].parent
    before = load_benchmark(folder / NAME) if (folder / NAME).exists() else None
    with tempfile.TemporaryDirectory(prefix="edgepress-") as temporary:
        parcels, contracts = make_parcels(paths, Path(temporary), data=data, on_step=step)
        opened: DataSet | None = None
        notes: list[str] = []
        if data is not None:
            opened, notes = open_items(contracts, parcels, data, limit=items, skip_unreadable=skip_unreadable)
            write_items(opened.test, Path(temporary) / "items.npy")
        result = before or _empty(opened, contracts[0], max_drop_pp)
        result = _with_data(result, opened, folder)
        plan = Plan(
            tuple(parcels),
            Path(temporary) / "items.npy" if opened is not None else None,
            python,
            counts,
            rounds,
            seconds,
            keep,
        )
        visits = _visit_all(hosts, plan, opened, resume=resume, ssh_config=ssh_config, on_step=step)
    baseline = result.baseline["scheme"] if result.baseline else BASELINE
    for host, came in visits.items():
        if isinstance(came, Visit):
            entry, rows = board_rows(
                host, came, parcels, contracts, data=opened, baseline=baseline, max_drop_pp=max_drop_pp
            )
            if opened is not None and len(opened.test) != result.data["count"]:  # not item by item beside the others
                rows = [dataclasses.replace(row, correct="") for row in rows]
            result = merge(result, entry, rows)
            notes += [f"{host}: {note}" for note in entry["notes"]]
    failed = {host: came for host, came in visits.items() if isinstance(came, EdgepressError)}
    if len(failed) == len(hosts):
        return BoardBench(None, folder / NAME, failed)
    result = dataclasses.replace(result, notes=tuple(dict.fromkeys((*result.notes, *notes))))
    if before is None:
        result = _advised(result, baseline)
    write_json(folder / NAME, result.to_dict())
    for host in visits.keys() - failed.keys():
        _journal(host, plan, opened, resume=True).remove()
    return BoardBench(result, folder / NAME, failed)


def _visit_all(
    hosts: Sequence[str],
    plan: Plan,
    data: DataSet | None,
    *,
    resume: bool,
    ssh_config: Path | None,
    on_step: Callable[[str], None],
) -> dict[str, Visit | EdgepressError]:
    """What came of each board, in their order; they are worked on at the same time."""
    stopped = threading.Event()

    def say(text: str) -> None:
        if stopped.is_set():
            raise LostError("Interrupted.")
        on_step(text)

    def one(host: str) -> Visit | EdgepressError:
        try:
            journal = _journal(host, plan, data, resume=resume)
            return visit(host, plan, journal=journal, config=ssh_config, on_step=say)
        except EdgepressError as e:
            return e

    with ThreadPoolExecutor(len(hosts)) as pool:
        try:
            return dict(zip(hosts, pool.map(one, hosts), strict=True))
        except BaseException:
            stopped.set()
            raise


def _journal(host: str, plan: Plan, data: DataSet | None, *, resume: bool) -> Journal:
    files = [(p.scheme, p.sha256) for p in plan.parcels]
    about_data = None if data is None else (data.sha256, len(data.test))
    same = (platform.node(), host, plan.python, files, about_data, plan.threads, plan.rounds, plan.seconds)
    return Journal(default_journals(), (edgepress.__version__, *same), resume=resume)


def _with_data(result: Benchmark, data: DataSet | None, folder: Path) -> Benchmark:
    """A benchmark that says what data it is about, if it did not yet."""
    if data is None or result.data["sha256"] == data.sha256:
        return result
    if result.data["sha256"]:
        raise InputError(
            f"{folder / NAME} holds results on {result.data['source']} with other content than {data.source} has now.",
            "Name another folder: --out.",
        )
    return dataclasses.replace(result, data=data_record(data))


def _empty(data: DataSet | None, contract: Contract, max_drop_pp: float) -> Benchmark:
    """A benchmark to begin with where nothing was measured on the workstation."""
    created = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    return Benchmark(
        host=describe_host(),
        data={"source": "", "sha256": "", "count": 0} if data is None else data_record(data),
        baseline=None,
        keras_accuracy=contract.test_accuracy,
        max_drop_pp=max_drop_pp,
        results=(),
        advice=Advice(ship=None, engine=None, why=UNCHECKED),
        provenance={"created": created, "command": "board bench", "edgepress": edgepress.__version__},
    )


def _advised(result: Benchmark, baseline: str) -> Benchmark:
    """A benchmark of boards alone: the first board's advice and baseline are its own."""
    first = result.boards[0]
    rows: list[Measurement] = [r for r in result.results if r.host == first["name"] and r.scheme == baseline]
    about = {"file": rows[0].file, "scheme": baseline, "engine": rows[0].engine} if rows else None
    advice = Advice(**first["advice"]) if "advice" in first else result.advice
    return dataclasses.replace(result, baseline=about, advice=advice)
