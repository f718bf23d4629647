"""Run the tests of a room against mutants, each in a fork that imports the changed source."""

from __future__ import annotations

import collections
import importlib.machinery
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mutation_mutants import Mutant
from mutation_rooms import TESTS, Room

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("unit", "integration")
"""Folders of tests."""
TOO_LONG = "time limit"
LIMIT_BYTES = 8 << 30
"""Of a fork's memory: a mutant may ask for all of it."""
EXAMPLES = 25
"""Examples of a property that Hypothesis tests, where the test does not say how many."""
PLAIN_S = 600
"""Limit on the time of the tests without a mutant, in seconds."""
MAX_FIRST = 30
"""Tests that are remembered as those that noticed the mutants before."""


class Outcome(NamedTuple):
    """A mutant, whether a test noticed it, and how."""

    mutant: Mutant
    killed: bool
    how: str


class _Order:
    """A plugin of pytest that runs tests that noticed former mutants first, and notes which test notices this one."""

    def __init__(self, first: Sequence[str], note: Path) -> None:
        self._places = {name: place for place, name in enumerate(first)}
        self._note = note

    def pytest_collection_modifyitems(self, items: list[Any]) -> None:
        items.sort(key=lambda item: self._places.get(item.nodeid, len(self._places)))

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.failed:
            self._note.write_text(report.nodeid)


def _with_killer(first: Sequence[str], note: Path) -> list[str]:
    """The tests to run first after one more mutant, the last one that noticed at the front."""
    if not note.exists():
        return list(first)
    name = note.read_text()
    note.unlink()
    return [name, *(each for each in first if each != name)][:MAX_FIRST]


def judge_room(mutants: Sequence[Mutant], room: Room, jobs: int) -> list[Outcome]:
    """Run the tests of each mutant's file against it."""
    groups: dict[str, list[Mutant]] = {}
    for mutant in mutants:
        own = TESTS.get(mutant.path.stem, f"rewrite_{mutant.path.stem}")
        groups.setdefault(room.tests.replace("*", own), []).append(mutant)
    return [outcome for tests, group in groups.items() for outcome in judge(group, tests, jobs)]


def judge(mutants: Sequence[Mutant], tests: str, jobs: int) -> Iterator[Outcome]:
    """Run the tests against each mutant, a few at a time."""
    files = [_test_file(name) for name in tests.split()]
    first: list[str] = []
    with tempfile.TemporaryDirectory(prefix="mutation-") as folder:
        _warm(files, folder)
        began = time.monotonic()
        code = os.waitstatus_to_exitcode(
            os.waitpid(_fork(None, files, f"{folder}/plain", limit_s=PLAIN_S, first=first), 0)[1]
        )
        if code != 0:
            raise SystemExit(f"The tests fail without a mutant (exit code {code}): pytest {' '.join(files)}")
        limit_s = 10 + round(5 * (time.monotonic() - began))
        waiting, running = collections.deque(enumerate(mutants)), {}
        while waiting or running:
            while waiting and len(running) < jobs:
                number, mutant = waiting.popleft()
                base = f"{folder}/{number}"
                running[_fork(mutant, files, base, limit_s=limit_s, first=first)] = mutant, base
            child, status = os.wait()
            mutant, base = running.pop(child)
            shutil.rmtree(base, ignore_errors=True)
            first = _with_killer(first, Path(f"{base}.killer"))
            code = os.waitstatus_to_exitcode(status)
            how = TOO_LONG if code == -signal.SIGALRM else f"exit code {code}"
            yield Outcome(mutant, code != 0, how)


def _test_file(name: str) -> str:
    """The module of tests of a name.

    Raises:
        SystemExit: There is none.
    """
    paths = [ROOT / "tests" / folder / f"test_{name}.py" for folder in FOLDERS]
    file = next((path for path in paths if path.exists()), None)
    if file is None:
        raise SystemExit(f"There are no tests of the name {name}.")
    return str(file)


def _warm(files: Sequence[str], folder: str) -> None:
    """Import whatever the tests import, then forget all of it that is ours."""
    import pytest

    with open(os.devnull, "w") as null:
        kept = os.dup(1)
        os.dup2(null.fileno(), 1)
        pytest.main([*_options(f"{folder}/warm"), "--collect-only", *files])
        os.dup2(kept, 1)
        os.close(kept)
    for name, module in list(sys.modules.items()):
        place = getattr(module, "__file__", None) or ""
        if name.partition(".")[0] == "edgepress" or place.startswith(f"{ROOT}{os.sep}tests"):
            del sys.modules[name]


def _options(base: str) -> list[str]:
    return ["-x", "-q", "--tb=no", "-p", "no:cacheprovider", "-m", "not slow", f"--basetemp={base}"]


def _fork(mutant: Mutant | None, files: Sequence[str], base: str, *, limit_s: int, first: Sequence[str]) -> int:
    """Start a fork that runs the tests, those in `first` before the others; it exits as pytest does.

    Returns:
        The number of its process.
    """
    import pytest

    sys.stdout.flush()
    if child := os.fork():
        return child
    try:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(limit_s)
        resource.setrlimit(resource.RLIMIT_DATA, (LIMIT_BYTES, LIMIT_BYTES))
        null = os.open(os.devnull, os.O_RDWR)
        for number in (0, 1, 2):
            os.dup2(null, number)
        if mutant is not None:
            _put_in_place(mutant)
        os._exit(int(pytest.main([*_options(base), *files], plugins=[_Order(first, Path(f"{base}.killer"))])))
    except BaseException:  # whatever a mutant raises, it was noticed
        os._exit(99)


def _put_in_place(mutant: Mutant) -> None:
    """Let the import of a module take the mutant's source."""
    plain = importlib.machinery.SourceFileLoader.get_code

    def get_code(self: Any, name: str) -> Any:
        if Path(self.path).resolve() == mutant.path:
            return compile(mutant.source, self.path, "exec", dont_inherit=True)
        return plain(self, name)

    importlib.machinery.SourceFileLoader.get_code = get_code  # type: ignore[method-assign]
