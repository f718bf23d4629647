"""Measure model files on boards over ssh, and add the results to those of the workstation.

    edgepress board bench pi@kitchen pi@roof runs/a/variants --data digits

Boards run in parallel, one thread each. The results are added to the `benchmark.json` of `edgepress benchmark`, each
board as another host. A board that fails does not affect the others.
"""

from __future__ import annotations

import datetime
import platform
import shlex
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Unpack

import edgepress
from edgepress.converters.files import write_json
from edgepress.converters.process.scratch import ScratchFolder
from edgepress.converters.schemes import BASELINES
from edgepress.runtime.board import working_set
from edgepress.toolkit.data.for_model import data_record
from edgepress.toolkit.data.types import DataSet
from edgepress.toolkit.documents import default_cache
from edgepress.toolkit.errors import EdgepressError, InputError, LostError
from edgepress.toolkit.machine.host import describe_host
from edgepress.toolkit.measurement.benchmarking.plan import folder_of
from edgepress.toolkit.results.file import NAME, load_benchmark
from edgepress.toolkit.results.records import Advice, Benchmark, Measurement
from edgepress.toolkit.shipping.boards.facts import describe_board
from edgepress.toolkit.shipping.boards.journal import Journal
from edgepress.toolkit.shipping.boards.options import BoardBenchArguments, BoardBenchOptions
from edgepress.toolkit.shipping.boards.rows import Cargo, board_rows, merge, pack
from edgepress.toolkit.shipping.boards.session import BoardPlan, Visit, look, visit
from edgepress.toolkit.shipping.boards.ssh import Connection, checked_host
from edgepress.toolkit.stats.choice import Rule

UNCHECKED = "Unknown, because accuracy was not checked. Give the data: --data."


@dataclass(frozen=True)
class BoardBench:
    """The result of a benchmark on boards.

    Attributes:
        benchmark: The results of all hosts, as written to `path`; None if all boards failed.
        path: The `benchmark.json`.
        failed: Boards that failed, with the error.
    """

    benchmark: Benchmark | None
    path: Path
    failed: dict[str, EdgepressError]

    def to_dict(self) -> dict[str, Any]:
        """The document that `board bench --json` prints."""
        document = self.benchmark.to_dict() if self.benchmark is not None else {"results": []}
        return document | {"failed": {host: error.to_dict() for host, error in self.failed.items()}}


def board_info(host: str, *, python: str | None = None, ssh_config: Path | None = None) -> dict[str, Any]:
    """Describe a board and its current state; nothing is written there.

    Args:
        host: The board, as for ssh.
        python: Its Python; None: python3.
        ssh_config: Configuration file, as for `ssh -F`.

    Returns:
        An entry as in a benchmark's `boards`, with "install" (the command that installs an engine) and "advice".

    Raises:
        BoardError: The board can't be reached, or has no Python.
    """
    with Connection(host, config=ssh_config) as board:
        info = look(board, python)
    version = tuple(int(n) for n in info["python"].split(".")[:2])
    pip = f"{shlex.quote(python or 'venv/bin/python')} -m pip install"
    command, advice = working_set(info["machine"], info["bits"], version, tuple(info["libc"]), pip=pip)
    if command and python is None:  # the system's Python on Debian rejects pip
        apt, _, rest = command.rpartition(" && ")
        make = "python3 -m venv --system-site-packages venv" if apt else "python3 -m venv venv"
        command = " && ".join(filter(None, (apt, make, rest)))
    return describe_board(host, info, [info["state"]]) | {"install": command, "advice": advice}


def board_bench(
    hosts: Sequence[str],
    files: Sequence[str | Path],
    *,
    data: str | None = None,
    on_step: Callable[[str], None] | None = None,
    **measuring: Unpack[BoardBenchArguments],
) -> BoardBench:
    """Copy bundles of model files to boards, run their self-tests, and measure accuracy and latency there.

    Args:
        hosts: Boards, as for ssh.
        files: Model files, bundles of them, or one folder of model files.
        data: Data whose test items measure the accuracy; None: only the self-test is run.
        on_step: Called with a sentence when a step begins, from several threads.

    Raises:
        EdgepressError: A host, a file, the data or an option can't be used. Errors of boards are in `failed`.
    """
    step = on_step or (lambda text: None)
    options = BoardBenchOptions(**measuring)
    rule = Rule.of(options.confidence, options.prefer)
    hosts = list(dict.fromkeys(map(checked_host, hosts)))
    if not hosts:
        raise InputError("There are no boards.", "Give at least one, as for ssh.")
    paths = [Path(f) for f in files]
    folder = Path(options.out) if options.out is not None else folder_of(paths)
    path = folder / NAME
    old = load_benchmark(path) if path.exists() else None  # first, so that a damaged file fails before any work
    step(f"Connecting to {', '.join(hosts)}")
    unreachable = _find_unreachable(hosts, options.ssh_config)
    if len(unreachable) == len(hosts):
        return BoardBench(None, path, unreachable)
    reachable = [host for host in hosts if host not in unreachable]
    with ScratchFolder() as temporary:
        cargo = pack(paths, Path(temporary), data=data, limit=options.items, reading=options, on_step=step)
        before = _before(old, path, cargo=cargo, max_drop_pp=options.max_drop_pp)
        plan = BoardPlan(cargo.parcels, cargo.items, options)
        visits = _visit_all(reachable, plan, cargo.data, options, on_step=step)
    visits |= unreachable
    merged = _merge_rows(
        before, visits, cargo=cargo, path=path, max_drop_pp=options.max_drop_pp, rule=rule, new=old is None
    )
    for host in set(hosts) - merged.failed.keys():
        _journal(host, plan, cargo.data, resume=True).remove()
    return merged


def _find_unreachable(hosts: Sequence[str], ssh_config: Path | None) -> dict[str, EdgepressError]:
    """The hosts that no connection can be opened to, and why; found out before minutes of bundling."""

    def one(host: str) -> EdgepressError | None:
        try:
            Connection(host, config=ssh_config).close()
        except EdgepressError as e:
            return e
        return None

    with ThreadPoolExecutor(len(hosts)) as pool:
        errors = zip(hosts, pool.map(one, hosts), strict=True)
        return {host: error for host, error in errors if error is not None}


def _merge_rows(
    result: Benchmark,
    visits: Mapping[str, Visit | EdgepressError],
    *,
    cargo: Cargo,
    path: Path,
    max_drop_pp: float,
    rule: Rule,
    new: bool,
) -> BoardBench:
    """Add the boards' results to a benchmark and write it, unless all boards failed."""
    schemes = {contract.scheme for contract in cargo.contracts}
    baseline = (
        result.baseline["scheme"] if result.baseline else next((b for b in BASELINES if b in schemes), BASELINES[0])
    )
    notes = [*result.notes, *cargo.notes]
    for host, came in visits.items():
        if isinstance(came, Visit):
            entry, rows = board_rows(host, came, cargo=cargo, baseline=baseline, max_drop_pp=max_drop_pp, rule=rule)
            if cargo.data is not None and len(cargo.data.test) != result.data["count"]:  # can't be paired with others
                rows = [replace(row, correct="") for row in rows]
            result = merge(result, entry, rows)
            notes += [f"{host}: {note}" for note in entry["notes"]]
    failed = {host: came for host, came in visits.items() if isinstance(came, EdgepressError)}
    if len(failed) == len(visits):
        return BoardBench(None, path, failed)
    result = replace(result, notes=tuple(dict.fromkeys(notes)))
    if new:
        result = _take_advice(result, baseline)
    write_json(path, result.to_dict())
    return BoardBench(result, path, failed)


def _visit_all(
    hosts: Sequence[str],
    plan: BoardPlan,
    data: DataSet | None,
    options: BoardBenchOptions,
    *,
    on_step: Callable[[str], None],
) -> dict[str, Visit | EdgepressError]:
    """Visit all boards in parallel; returns the visit or the error of each, in order."""
    stopped = threading.Event()

    def say(text: str) -> None:
        if stopped.is_set():
            raise LostError("Interrupted.")
        on_step(text)

    def one(host: str) -> Visit | EdgepressError:
        try:
            journal = _journal(host, plan, data, resume=options.resume)
            return visit(host, plan, journal=journal, config=options.ssh_config, on_step=say)
        except EdgepressError as e:
            return e

    with ThreadPoolExecutor(len(hosts)) as pool:
        try:
            return dict(zip(hosts, pool.map(one, hosts), strict=True))
        except BaseException:
            stopped.set()
            raise


def _journal(host: str, plan: BoardPlan, data: DataSet | None, *, resume: bool) -> Journal:
    files = [(p.scheme, p.sha256) for p in plan.parcels]
    about_data = None if data is None else (data.sha256, len(data.test))
    how = plan.options
    same = (platform.node(), host, how.python, files, about_data, how.threads, how.rounds, how.seconds)
    return Journal(default_cache("boards"), (edgepress.__version__, *same), resume=resume)


def _before(result: Benchmark | None, path: Path, *, cargo: Cargo, max_drop_pp: float) -> Benchmark:
    """The benchmark to add to: the existing one, or an empty one. An error if it is about other data."""
    about = {"source": "", "sha256": "", "count": 0} if cargo.data is None else data_record(cargo.data)
    if result is not None:
        if cargo.data is None or result.data["sha256"] == cargo.data.sha256:
            return result
        if not result.data["sha256"]:
            return replace(result, data=about)
        raise InputError(
            f"{path} contains results on {result.data['source']}, which differ from {cargo.data.source} as it is now.",
            "Give another folder: --out.",
        )
    created = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    return Benchmark(
        host=describe_host(),
        data=about,
        baseline=None,
        keras_accuracy=cargo.contracts[0].test_accuracy,
        max_drop_pp=max_drop_pp,
        results=(),
        advice=Advice(ship=None, engine=None, why=UNCHECKED),
        provenance={"created": created, "command": "board bench", "edgepress": edgepress.__version__},
    )


def _take_advice(result: Benchmark, baseline: str) -> Benchmark:
    """Take the advice and baseline of the first board, for a benchmark without the workstation."""
    first = result.boards[0]
    rows: list[Measurement] = [r for r in result.results if r.host == first["name"] and r.scheme == baseline]
    about = {"file": rows[0].file, "scheme": baseline, "engine": rows[0].engine} if rows else None
    advice = Advice(**first["advice"]) if "advice" in first else result.advice
    return replace(result, baseline=about, advice=advice)
