"""One run on one board: copy and install bundles, run their self-tests, classify the test items, and measure latency.

Everything is in one folder on the board, ~/.cache/edgepress/RUN, which is removed at the end. Each bundle is installed
by its install.sh; the first of each format installs its packages, the others use them. Each round runs the bundles'
`run bench` in shuffled order, each in a new process, so that heat and other load affect all files alike.
"""

from __future__ import annotations

import contextlib
import json
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgepress.runtime.engines import ENGINES, PACKAGED
from edgepress.toolkit.errors import BoardError, LostError
from edgepress.toolkit.shipping.boards import remote_probe
from edgepress.toolkit.shipping.boards.facts import (
    read_description,
    read_scores,
    read_selftest,
    read_state,
    read_timing,
)
from edgepress.toolkit.shipping.boards.journal import Journal
from edgepress.toolkit.shipping.boards.options import MEASURED, BoardBenchOptions
from edgepress.toolkit.shipping.boards.ssh import Connection

HERE = Path(__file__).parent
FOLDER = ".cache/edgepress"
INSTALL_S = 1800
"""Time limit for the installation of a bundle's packages, seconds."""
ANSWER_S = 7200
"""Time limit for the classification of all items, seconds."""
MOST_BYTES = 1 << 30
"""Limit on the answers to all items and on a document of measurements."""
TIDY = 'rm -rf -- "$1"; rmdir -- "$2" 2>/dev/null || true'
RESUME = "Measurements so far were saved: run the same command again with --resume."


@dataclass(frozen=True)
class Parcel:
    """A file to send to boards.

    Attributes:
        file: The model file or bundle that the user gave.
        bundle: Its bundle.
        name: Name of the folder in the bundle.
        model: Name of the model in that folder.
        scheme: Scheme of the model.
        size_bytes: Size of the model.
        sha256: SHA-256 of the model.
    """

    file: Path
    bundle: Path
    name: str
    model: str
    scheme: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True)
class BoardPlan:
    """What to do on every board.

    Attributes:
        parcels: The files.
        items: An `.npy` file of items to classify, uint8 or float32, shape (N, *item shape); None: none.
        options: How they are measured.
    """

    parcels: tuple[Parcel, ...]
    items: Path | None = None
    options: BoardBenchOptions = MEASURED


@dataclass
class BoardResults:
    """The results of one file on a board.

    Attributes:
        engine: The engine that runs it.
        selftest: The report of its self-test.
        scores: Its scores for the items, float32, shape (N, labels).
        rounds: The document of `run bench --json` for each round.
        error: Why it failed; the following steps were then skipped.
    """

    engine: str = ""
    selftest: dict[str, Any] | None = None
    scores: npt.NDArray[np.float32] | None = None
    rounds: list[dict[str, Any]] = field(default_factory=list)
    error: str = ""


@dataclass(frozen=True)
class Visit:
    """The results of one board.

    Attributes:
        info: Its description, from `remote_probe.info`.
        states: Its states before, between and after the rounds, from `remote_probe.state`.
        results: One per parcel, in order.
        folder: The folder kept on the board; "" if it was removed.
        taken_up: Number of measurements reused from an interrupted run.
    """

    info: dict[str, Any]
    states: list[dict[str, Any]]
    results: list[BoardResults]
    folder: str
    taken_up: int


def look(board: Connection, python: str | None = None, *, only_state: bool = False) -> dict[str, Any]:
    """Query a board's description, or only its state.

    Raises:
        BoardError: Its Python could not be run.
    """
    script = Path(remote_probe.__file__).read_bytes()
    arguments = ["state"] if only_state else [f"{name}={row.package}" for name, row in PACKAGED.items()]
    try:
        content = board.run([python or "python3", "-", *arguments], stdin=script)
    except LostError:
        raise
    except BoardError as e:
        hint = "Install it there (apt install python3), or use --python."
        raise BoardError(f"{board.host} has no usable Python ({e}).", hint) from e
    return (read_state if only_state else read_description)(board.host, content)


def visit(
    host: str, plan: BoardPlan, *, journal: Journal, config: Path | None = None, on_step: Callable[[str], None]
) -> Visit:
    """Carry out a plan on one board.

    Args:
        host: As for `Connection`.
        plan: What to do.
        journal: Stores the measurements.
        config: As for `Connection`.
        on_step: Called with a sentence when a step begins.

    Raises:
        LostError: The connection was lost; the measurements so far are in the journal.
        BoardError: The board can't be reached or used.
    """
    on_step(f"{host}: connecting")
    with Connection(host, config=config) as board:
        lost = False
        try:
            return _Run(board, plan, journal, on_step).all()
        except LostError as e:
            lost = True
            raise LostError(e.message, RESUME) from e
        except KeyboardInterrupt:
            lost = True
            raise
        finally:
            if not lost and not plan.options.keep:
                with contextlib.suppress(BoardError):  # an error of the run itself is more informative
                    board.run(["sh", "-c", TIDY, "sh", f"{FOLDER}/{journal.key}", FOLDER])


class _Run:
    """A run on an open connection."""

    def __init__(self, board: Connection, plan: BoardPlan, journal: Journal, on_step: Callable[[str], None]) -> None:
        self._board = board
        self._plan = plan
        self._journal = journal
        self._on_step = on_step
        self._packages: dict[str, str] = {}  # by model suffix: the Python with the installed packages

    def all(self) -> Visit:
        plan = self._plan
        board = self._board
        info = look(board, plan.options.python)
        self._top = f"{info['home']}/{FOLDER}/{self._journal.key}"
        states = [self._state("state-before")]
        self._say(f"copying {len(plan.parcels)} bundle(s)")
        members: dict[str, bytes | Path] = {f"{i}.zip": p.bundle for i, p in enumerate(plan.parcels)}
        members["answer.py"] = HERE / "remote_answer.py"
        if plan.items is not None:
            members["items.npy"] = plan.items
        board.push(members, self._top)
        results = [self._attempt(BoardResults(), self._install, i) for i in range(len(plan.parcels))]
        info["engines"] = self._engines() | info["engines"]
        if plan.items is not None:
            for i, one in enumerate(results):
                self._attempt(one, self._answer, i)
        for n in range(plan.options.rounds):
            self._say(f"timing, round {n + 1} of {plan.options.rounds}")
            order = list(enumerate(results))
            random.Random(n).shuffle(order)
            for i, one in order:
                self._attempt(one, self._time, i, n)
            states.append(self._state(f"state-{n}"))
        states.append(self._state("state-after"))
        return Visit(info, states, results, self._top if plan.options.keep else "", self._journal.taken_up)

    def _say(self, text: str) -> None:
        self._on_step(f"{self._board.host}: {text}")

    def _attempt(self, one: BoardResults, step: Callable[..., None], i: int, *arguments: Any) -> BoardResults:
        """Run a step for one file; if it fails, skip the file's further steps."""
        if not one.error:
            try:
                step(one, i, *arguments)
            except LostError:
                raise
            except BoardError as e:
                one.error = e.message
        return one

    def _install(self, one: BoardResults, i: int) -> None:
        parcel = self._plan.parcels[i]
        home = f"{self._top}/{i}"
        self._say(f"installing {parcel.file.name}")
        python = self._plan.options.python or self._packages.get(Path(parcel.model).suffix)
        board_python = self._plan.options.python or "python3"
        self._board.run([board_python, "-m", "zipfile", "-e", f"{self._top}/{i}.zip", f"{home}/unpacked"])
        options = ["--python", python, "--system"] if python else []
        script = f"{home}/unpacked/{parcel.name}/install.sh"
        self._board.run(["sh", script, "install", "--prefix", f"{home}/installed", *options], timeout_s=INSTALL_S)
        report = self._board.run(["cat", f"{home}/installed/current/selftest.json"])
        one.selftest = read_selftest(self._board.host, report)
        one.engine = one.selftest["engine"]
        if not python:
            self._packages[Path(parcel.model).suffix] = f"{home}/installed/current/venv/bin/python"

    def _engines(self) -> dict[str, str]:
        """Versions of the engines that bundles installed."""
        return {k: v for python in self._packages.values() for k, v in look(self._board, python)["engines"].items()}

    def _answer(self, one: BoardResults, i: int) -> None:
        parcel = self._plan.parcels[i]
        release = f"{self._top}/{i}/installed/current"
        self._say(f"accuracy of {parcel.file.name}")
        python = self._plan.options.python or self._packages[Path(parcel.model).suffix]
        command = [python, f"{self._top}/answer.py", f"{release}/{parcel.model}", f"{self._top}/items.npy", one.engine]
        read = partial(read_scores, self._board.host)

        def answers() -> bytes:
            environment = {"PYTHONPATH": release}
            return _kept_if(
                read, self._board.run(command, environment=environment, timeout_s=ANSWER_S, most=MOST_BYTES)
            )

        one.scores = read(self._journal.piece(f"scores-{i}", answers))

    def _time(self, one: BoardResults, i: int, n: int) -> None:
        how = self._plan.options
        release = f"{self._top}/{i}/installed/current"
        options = ["--threads", ",".join(map(str, how.threads)), "--seconds", f"{how.seconds:g}", "--json"]
        command = [f"{release}/run", "bench", "--engine", one.engine, *options]
        own_cache = {"XDG_CACHE_HOME": f"{self._top}/cache"}  # `bench` stores the best number of threads there
        limit = 300 + 10 * how.seconds * len(how.threads)
        threads = [1] if ENGINES[one.engine].one_thread else [*how.threads]
        read = partial(read_timing, self._board.host, threads=threads)

        def document() -> bytes:
            return _kept_if(read, self._board.run(command, environment=own_cache, timeout_s=limit, most=MOST_BYTES))

        one.rounds.append(read(self._journal.piece(f"time-{i}-{n}", document)))

    def _state(self, name: str) -> dict[str, Any]:
        def current() -> bytes:
            return json.dumps(look(self._board, self._plan.options.python, only_state=True)).encode()

        return read_state(self._board.host, self._journal.piece(name, current))


def _kept_if(read: Callable[[bytes], object], content: bytes) -> bytes:
    """What a board has written, for the journal; an error if it can't be read, so that it is asked again next time."""
    read(content)
    return content
