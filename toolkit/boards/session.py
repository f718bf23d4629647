"""One run on one board: copy bundles, install them, let them prove themselves, answer the items, and be timed.

All of it happens in one folder of the board, ~/.cache/edgepress/RUN, which is removed at the end. Each bundle is
installed by its own install.sh; the first of each format brings its packages, the others use them. Rounds of timing go
over all files in shuffled order, each in a fresh process, so that heat and whatever else the board does hit all alike;
what is timed is what the bundle's own `run bench` times.
"""

from __future__ import annotations

import contextlib
import io
import json
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgepress.toolkit.boards import remote_probe
from edgepress.toolkit.boards.journal import Journal
from edgepress.toolkit.boards.ssh import Connection, LostError
from edgepress.toolkit.errors import BoardError

HERE = Path(__file__).parent
FOLDER = ".cache/edgepress"
INSTALL_S, ANSWER_S = 1800, 7200
"""Seconds that installing a bundle's packages, and answering all items, may take on a slow board."""
TIDY = 'rm -rf -- "$1"; rmdir -- "$2" 2>/dev/null || true'
RESUME = "What was measured is kept: run the same command again with --resume."


@dataclass(frozen=True)
class Parcel:
    """A file on its way to boards.

    Attributes:
        file: As the user named it: a model file, or a bundle of one.
        bundle: The bundle.
        name: The folder in the bundle.
        model: The model's name in that folder.
        scheme: Of the model.
        size_bytes: Of the model.
        sha256: Of the model.
    """

    file: Path
    bundle: Path
    name: str
    model: str
    scheme: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True)
class Plan:
    """What to do on every board.

    Attributes:
        parcels: The files.
        items: An `.npy` file of items to answer, uint8 or float32, shape (N, *item shape); None: none.
        python: The board's Python, which then must have the engines; None: the system's, with packages from the bundle.
        threads: Numbers of threads to time with.
        rounds: Rounds of timing; 0: none.
        seconds: What each number of threads is timed for in a round.
        keep: Leave the folder on the board.
    """

    parcels: tuple[Parcel, ...]
    items: Path | None = None
    python: str | None = None
    threads: tuple[int, ...] = (1,)
    rounds: int = 6
    seconds: float = 1.0
    keep: bool = False


@dataclass
class Found:
    """What came of one file; `error` says why it has no more.

    Attributes:
        engine: What runs it there.
        selftest: The report of its self-test.
        scores: Its answers to the items, float32, shape (N, labels).
        rounds: Of each round, what `run bench --json` gave.
    """

    engine: str = ""
    selftest: dict[str, Any] | None = None
    scores: npt.NDArray[np.float32] | None = None
    rounds: list[dict[str, Any]] = field(default_factory=list)
    error: str = ""


@dataclass(frozen=True)
class Visit:
    """What came of one board.

    Attributes:
        info: What it is, by `remote_probe.info`.
        states: How it did before, between and after the rounds, by `remote_probe.state`.
        found: One of each parcel, in their order.
        folder: What was left on the board; "" if nothing.
        taken_up: Pieces that were measured in an earlier, cut run.
    """

    info: dict[str, Any]
    states: list[dict[str, Any]]
    found: list[Found]
    folder: str
    taken_up: int


def look(board: Connection, python: str | None = None, *, only_state: bool = False) -> dict[str, Any]:
    """Ask a board what it is, or only how it is doing.

    Raises:
        BoardError: It has no such Python.
    """
    script = Path(remote_probe.__file__).read_bytes()
    command = [python or "python3", "-", *(["state"] if only_state else [])]
    try:
        told: dict[str, Any] = json.loads(board.run(command, stdin=script))
    except LostError:
        raise
    except (BoardError, ValueError) as e:
        raise BoardError(
            f"{board.host} has no Python that answers ({e}).",
            "Install it there (apt install python3), or use --python.",
        ) from e
    return told


def visit(
    host: str, plan: Plan, *, journal: Journal, config: Path | None = None, on_step: Callable[[str], None]
) -> Visit:
    """Do all of a plan on one board.

    Args:
        host: As for `Connection`.
        plan: What to do.
        journal: Where pieces are kept and found.
        config: As for `Connection`.
        on_step: Called with a sentence as each step begins.

    Raises:
        LostError: The connection was lost; what was measured is in the journal.
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
            if not lost and not plan.keep:
                with contextlib.suppress(BoardError):  # the run's own error, if there is one, says more
                    board.run(["sh", "-c", TIDY, "sh", f"{FOLDER}/{journal.key}", FOLDER])


class _Run:
    """A run on an open connection."""

    def __init__(self, board: Connection, plan: Plan, journal: Journal, on_step: Callable[[str], None]) -> None:
        self._board, self._plan, self._journal = board, plan, journal
        self._on_step = on_step
        self._packages: dict[str, str] = {}  # by suffix of the model, the Python that a bundle's packages are in

    def all(self) -> Visit:
        plan, board = self._plan, self._board
        info = look(board, plan.python)
        self._top = f"{info['home']}/{FOLDER}/{self._journal.key}"
        states = [self._state("state-before")]
        self._say(f"copying {len(plan.parcels)} bundle(s)")
        members: dict[str, bytes | Path] = {f"{i}.zip": p.bundle for i, p in enumerate(plan.parcels)}
        members["answer.py"] = HERE / "remote_answer.py"
        if plan.items is not None:
            members["items.npy"] = plan.items
        board.push(members, self._top)
        found = [self._attempt(Found(), self._install, i) for i in range(len(plan.parcels))]
        info["engines"] = self._engines() | info["engines"]
        if plan.items is not None:
            for i, one in enumerate(found):
                self._attempt(one, self._answer, i)
        for n in range(plan.rounds):
            self._say(f"timing, round {n + 1} of {plan.rounds}")
            order = list(enumerate(found))
            random.Random(n).shuffle(order)
            for i, one in order:
                self._attempt(one, self._time, i, n)
            states.append(self._state(f"state-{n}"))
        states.append(self._state("state-after"))
        return Visit(info, states, found, self._top if plan.keep else "", self._journal.taken_up)

    def _say(self, text: str) -> None:
        self._on_step(f"{self._board.host}: {text}")

    def _attempt(self, one: Found, step: Callable[..., None], i: int, *arguments: Any) -> Found:
        """A step for one file; if it fails, that file takes part in no further one."""
        if not one.error:
            try:
                step(one, i, *arguments)
            except LostError:
                raise
            except BoardError as e:
                one.error = e.message
        return one

    def _install(self, one: Found, i: int) -> None:
        parcel, home = self._plan.parcels[i], f"{self._top}/{i}"
        self._say(f"installing {parcel.file.name}")
        given = self._plan.python or self._packages.get(Path(parcel.model).suffix)
        board_python = self._plan.python or "python3"
        self._board.run([board_python, "-m", "zipfile", "-e", f"{self._top}/{i}.zip", f"{home}/unpacked"])
        options = ["--python", given, "--system"] if given else []
        script = f"{home}/unpacked/{parcel.name}/install.sh"
        self._board.run(["sh", script, "install", "--prefix", f"{home}/installed", *options], timeout_s=INSTALL_S)
        one.selftest = json.loads(self._board.run(["cat", f"{home}/installed/current/selftest.json"]))
        one.engine = one.selftest["engine"]
        if not given:
            self._packages[Path(parcel.model).suffix] = f"{home}/installed/current/venv/bin/python"

    def _engines(self) -> dict[str, str]:
        """Versions of the engines that bundles brought."""
        return {k: v for python in self._packages.values() for k, v in look(self._board, python)["engines"].items()}

    def _answer(self, one: Found, i: int) -> None:
        parcel, release = self._plan.parcels[i], f"{self._top}/{i}/installed/current"
        self._say(f"accuracy of {parcel.file.name}")
        python = self._plan.python or self._packages[Path(parcel.model).suffix]
        command = [python, f"{self._top}/answer.py", f"{release}/{parcel.model}", f"{self._top}/items.npy", one.engine]

        def answers() -> bytes:
            return self._board.run(command, environment={"PYTHONPATH": release}, timeout_s=ANSWER_S)

        one.scores = np.load(io.BytesIO(self._journal.piece(f"scores-{i}", answers)))

    def _time(self, one: Found, i: int, n: int) -> None:
        plan, release = self._plan, f"{self._top}/{i}/installed/current"
        options = ["--threads", ",".join(map(str, plan.threads)), "--seconds", f"{plan.seconds:g}", "--json"]
        command = [f"{release}/run", "bench", "--engine", one.engine, *options]
        own_cache = {"XDG_CACHE_HOME": f"{self._top}/cache"}  # it notes its best number of threads there
        limit = 300 + 10 * plan.seconds * len(plan.threads)

        def document() -> bytes:
            return self._board.run(command, environment=own_cache, timeout_s=limit)

        one.rounds.append(json.loads(self._journal.piece(f"time-{i}-{n}", document)))

    def _state(self, name: str) -> dict[str, Any]:
        state: dict[str, Any] = json.loads(self._journal.piece(name, self._look_again))
        return state

    def _look_again(self) -> bytes:
        return json.dumps(look(self._board, self._plan.python, only_state=True)).encode()
