"""Start the processes that take the turns of a round: forks of one for each engine, or a new Python for each turn.

A fork takes its turn in milliseconds, one after the other. A new Python takes so long to start that the speed of the
machine changes meanwhile. So spawned turns start together and time their calls in short slices, one candidate after the
other and again, while the others wait. docs/decisions.md says what that changes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from typing import Any, Literal

import psutil

from edgepress.converters.process.worker import ChildDied, Worker
from edgepress.runtime.board import usable_cores
from edgepress.toolkit.errors import EdgepressError
from edgepress.toolkit.machine.environments import python_for
from edgepress.toolkit.machine.host import Turns
from edgepress.toolkit.measurement.benchmarking.answers import crash_error
from edgepress.toolkit.workers.opening import Candidate, Opening
from edgepress.toolkit.workers.system import turn_too_long
from edgepress.toolkit.workers.turn import SLICES, Start, Taken, Turn, begin, open_turn, take_slice, take_turn

START_S = 60.0
"""Seconds that a process may take to import an engine."""
MEMORY_SHARE = 0.5
"""Share of the free memory that spawned turns that are open together may take."""
PROCESS_BYTES = 200_000_000
"""Bytes that each of them is taken to need for Python and an engine."""
TIMES_FILE = 4
"""How many times the size of its file each is taken to need besides."""

Round = Callable[[Sequence[Opening]], Iterable[Taken | EdgepressError]]
"""Takes a turn of each opening, in their order; an error stands for a turn that failed or died."""


@contextmanager
def turns_by(way: Turns, items: str, limit_s: int) -> Iterator[Round]:
    """Start what takes turns, for a few rounds.

    Args:
        way: How turns start.
        items: An `.npy` file of test items, as in `Start`.
        limit_s: Seconds that a turn may take, at least 1.
    """
    if way == "spawn":
        yield SpawnedTurns(items, limit_s).round
    else:
        with ForkedTurns(items, limit_s) as forked:
            yield forked.round


class ForkedTurns(ExitStack):
    """A process for each engine, started when first needed, which forks for every turn."""

    def __init__(self, items: str, limit_s: int) -> None:
        super().__init__()
        self._items = items
        self._limit_s = limit_s
        self._workers: dict[str, Worker] = {}

    def round(self, openings: Sequence[Opening]) -> Iterator[Taken | EdgepressError]:
        """See `Round`."""
        for opening in openings:
            try:
                yield self._take_turn(opening)
            except ChildDied as e:
                self._workers.pop(opening.candidate.engine or "").close()
                yield crash_error(opening.candidate, e)
            except EdgepressError as e:
                yield e

    def _take_turn(self, opening: Opening) -> Taken | EdgepressError:
        engine = opening.candidate.engine or ""
        if engine not in self._workers:
            self._workers[engine] = self.enter_context(worker_for(opening.candidate, self._limit_s + START_S))
            list(self._workers[engine].call(begin, Start(engine, self._items)))
        turn: Taken | EdgepressError
        (turn,) = self._workers[engine].call(take_turn, Turn(opening.candidate, opening.cpus, self._limit_s))
        return turn


class SpawnedTurns:
    """A new Python for each turn."""

    def __init__(self, items: str, limit_s: int) -> None:
        self._items = items
        self._limit_s = limit_s

    def round(self, openings: Sequence[Opening]) -> list[Taken | EdgepressError]:
        """See `Round`. Those that are compared with each other, of equal threads and batch, are open together."""
        outcomes: dict[int, Taken | EdgepressError] = {}
        shapes = dict.fromkeys((o.candidate.threads, o.candidate.batch) for o in openings)
        for shape in shapes:
            numbers = [n for n, o in enumerate(openings) if (o.candidate.threads, o.candidate.batch) == shape]
            while numbers:
                count = _fitting([openings[n] for n in numbers])
                together = numbers[:count]
                numbers = numbers[count:]
                outcomes |= zip(together, self._together([openings[n] for n in together]), strict=True)
        return [outcomes[n] for n in range(len(openings))]

    def _together(self, openings: Sequence[Opening]) -> list[Taken | EdgepressError]:
        with ExitStack() as stack:
            pool = stack.enter_context(ThreadPoolExecutor(usable_cores()))  # ends after the workers it waits for
            turns = [stack.enter_context(_SpawnedTurn(o, self._limit_s)) for o in openings]
            list(pool.map(lambda turn: turn.begin(self._items), turns))
            for step in (open_turn, *[take_slice] * SLICES):
                for turn in turns:
                    turn.take(step)
            return [turn.outcome for turn in turns]


class _SpawnedTurn(ExitStack):
    """A turn in a process of its own.

    With several threads, it is suspended between its steps: those of an idle engine may spin for a while. With one it
    is not, because a suspended process does not notice that the one that started it was killed.
    """

    outcome: Taken | EdgepressError
    """What the last step returned, or why there is no more to come."""

    def __init__(self, opening: Opening, limit_s: int) -> None:
        super().__init__()
        self._turn = Turn(opening.candidate, opening.cpus, limit_s)
        self._left_s = float(limit_s)
        self._worker = self.enter_context(worker_for(opening.candidate, START_S))
        self._suspends = opening.candidate.threads > 1
        self.callback(self._let, "resume")  # a suspended process can't end by itself

    def begin(self, items: str) -> None:
        """Import the engine."""
        self._ask(begin, Start(self._turn.candidate.engine or "", items), START_S)

    def take(self, step: Any) -> None:
        """Take a step, unless one has failed."""
        if isinstance(self.outcome, EdgepressError):
            return
        self._let("resume")
        began = time.monotonic()
        self._ask(step, self._turn, max(0.01, self._left_s))
        self._left_s -= time.monotonic() - began
        self._let("suspend")

    def _ask(self, function: Any, argument: Any, silence_s: float) -> None:
        try:
            (self.outcome,) = self._worker.call(function, argument, silence_s=silence_s)
        except EdgepressError as e:
            self.outcome = e
        except ChildDied as e:
            late = e.late and function is not begin
            self.outcome = turn_too_long(self._turn.limit_s) if late else crash_error(self._turn.candidate, e)

    def _let(self, what: Literal["suspend", "resume"]) -> None:
        if self._suspends:
            with suppress(psutil.Error):  # it has ended
                getattr(psutil.Process(self._worker.pid), what)()


def worker_for(candidate: Candidate, silence_s: float) -> Worker:
    """A process with the Python that has the candidate's engine."""
    return Worker(silence_s=silence_s, python=python_for(candidate.engine or ""))


def _fitting(openings: Sequence[Opening]) -> int:
    """How many of them the free memory holds together, at least 2."""
    each = PROCESS_BYTES + TIMES_FILE * max(o.candidate.file.stat().st_size for o in openings)
    return max(2, int(MEMORY_SHARE * psutil.virtual_memory().available / each))
