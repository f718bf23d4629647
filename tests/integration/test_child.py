"""Work in child processes: reports, errors, crashes and limits."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from edgepress.converters.process.worker import ChildDied, Worker, run_in_child
from edgepress.runtime import InputError

pytestmark = pytest.mark.usefixtures("plain_workers")


@pytest.mark.slow
def test_a_child_hands_over_reports_errors_bugs_and_crashes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "jobs.py").write_text(
        "import os, sys, time\n"
        "from edgepress.runtime import InputError\n"
        "def count(n, emit):\n    for i in range(n): emit(i)\n"
        "def refuse(text, emit): raise InputError(text, 'hint')\n"
        "def bug(_, emit): 1 / 0\n"
        "def crash(_, emit): emit('begun'); os.abort()\n"
        "def hang(_, emit): time.sleep(60)\n"
        "def order(_, emit): emit(list({*'abcdefghij'}))\n"
        "def heavy(_, emit): emit([m for m in ('tensorflow', 'keras', 'sklearn') if m in sys.modules])\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    import jobs  # type: ignore[import-not-found]

    assert list(run_in_child(jobs.count, 3)) == [0, 1, 2]
    with pytest.raises(InputError, match="no good") as caught:
        list(run_in_child(jobs.refuse, "no good"))
    assert caught.value.hint == "hint"
    with pytest.raises(RuntimeError, match="ZeroDivisionError"):
        list(run_in_child(jobs.bug, None))
    with pytest.raises(ChildDied, match="SIGABRT"):
        list(run_in_child(jobs.crash, None))
    with pytest.raises(ChildDied, match=r"no answer in 0\.5 s"):
        list(run_in_child(jobs.hang, None, silence_s=0.5))
    assert list(run_in_child(jobs.heavy, None)) == [[]]
    monkeypatch.setenv("PYTHONHASHSEED", "random")
    orders = [list(run_in_child(jobs.order, None)) for _ in range(2)]
    assert orders[0] == orders[1], "the order of a set goes into files"


def test_memory_and_time_of_a_worker_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "greedy.py").write_text(
        "import time\n\ndef eat(_, emit):\n    held = bytearray(600_000_000)\n"
        "    held[::4096] = b'x' * len(held[::4096])\n    time.sleep(60)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    greedy = importlib.import_module("greedy")
    with pytest.raises(ChildDied, match=r"more than 0\.4 GB of memory"):
        list(run_in_child(greedy.eat, None, memory_bytes=400_000_000))
    # Without a number, a share of the machine's memory is the limit.
    monkeypatch.setattr("edgepress.converters.process.worker.MEMORY_SHARE", 4e8 / psutil.virtual_memory().total)
    with pytest.raises(ChildDied, match=r"more than 0\.4 GB of memory"):
        list(run_in_child(greedy.eat, None))


def test_a_worker_that_is_closed_twice_at_once_leaves_nothing_behind() -> None:
    """Ctrl-C closes it from one thread while the thread that waits for it does so, too."""
    import tempfile
    from concurrent.futures import ThreadPoolExecutor

    worker = Worker()
    folder = Path(worker._folder.name)
    assert folder.parent == Path(tempfile.gettempdir())
    (folder / "left by a killed process").touch()
    with ThreadPoolExecutor(8) as pool:
        for future in [pool.submit(worker.close) for _ in range(8)]:
            future.result()
    assert not folder.exists()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows keeps the number of a parent that is gone")
def test_a_child_that_computes_ends_soon_after_its_parent_was_killed(tmp_path: Path) -> None:
    (tmp_path / "long.py").write_text(
        "import os\n\ndef compute(_, emit):\n    emit(os.getpid())\n    while True:\n        sum(range(10**6))\n"
    )
    script = "from edgepress.converters.process.worker import run_in_child; import long\n"
    script += "for pid in run_in_child(long.compute, None): print(pid, flush=True)\n"
    paths = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": paths}
    ) as parent:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
        parent.kill()
        _, alive = psutil.wait_procs([child], timeout=30)
    for each in alive:
        each.kill()
    assert not alive
