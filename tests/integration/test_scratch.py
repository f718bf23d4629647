"""Temporary folders: a killed process leaves none for long, and nothing that is somebody's own is touched."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import pytest

from edgepress.converters.process import scratch
from edgepress.converters.process.scratch import EMPTY_S, LOCK, ScratchFolder, remove_abandoned
from edgepress.converters.process.worker import Worker

pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="kills processes"),
    pytest.mark.usefixtures("plain_workers"),
]
MAKES = """
import os, sys, time
from edgepress.converters.process.scratch import ScratchFolder
with ScratchFolder() as folder:
    open(os.path.join(folder, "left"), "w").close()
    print(folder, flush=True)
    time.sleep(60)
"""


def started(code: str, place: Path) -> tuple[subprocess.Popen[str], Path]:
    """A process that has made a folder, and the folder."""
    environment = os.environ | {"TMPDIR": str(place)}
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=environment)
    assert process.stdout is not None
    return process, Path(process.stdout.readline().strip())


def test_a_folder_is_removed_at_the_end_and_after_an_error(tmp_path: Path) -> None:
    with ScratchFolder("x-", tmp_path) as name:
        folder = Path(name)
        assert folder.name.startswith("edgepress-x-")
        assert folder.stat().st_mode & 0o077 == 0
        (folder / "a" / "b").mkdir(parents=True)
        (folder / "a" / "c").symlink_to("/")
    assert not folder.exists()
    with pytest.raises(ZeroDivisionError), ScratchFolder(parent=tmp_path):
        raise ZeroDivisionError
    assert not [*tmp_path.iterdir()]


def test_the_next_removes_what_a_killed_process_left_and_no_folder_in_use(tmp_path: Path) -> None:
    (killed, gone), (living, kept) = started(MAKES, tmp_path), started(MAKES, tmp_path)
    try:
        killed.kill()
        killed.wait()
        assert gone.exists()
        with ScratchFolder(parent=tmp_path) as own:
            assert {*tmp_path.iterdir()} == {kept, Path(own)}
            remove_abandoned(tmp_path)
            assert (kept / "left").exists()
            assert Path(own).exists()
    finally:
        living.kill()
        living.wait()


@pytest.mark.slow
def test_a_fork_keeps_the_folder_of_its_killed_parent(tmp_path: Path) -> None:
    fork = MAKES.replace("    time.sleep", "    if not os.fork(): print(os.getpid(), flush=True)\n    time.sleep")
    process, folder = started(fork, tmp_path)
    assert process.stdout is not None
    child = psutil.Process(int(process.stdout.readline()))
    process.kill()
    process.wait()
    remove_abandoned(tmp_path)
    assert folder.exists()
    child.kill()
    psutil.wait_procs([child], timeout=10)
    remove_abandoned(tmp_path)
    assert not folder.exists()


def test_nothing_that_is_somebodys_own_is_removed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / LOCK).touch()
    place = tmp_path / "place"
    place.mkdir()
    (place / "edgepress-data").mkdir()
    (place / "edgepress-data" / "photo.png").touch()
    (place / "edgepress-link").symlink_to(outside)
    (place / "edgepress-file").touch()
    (place / "edgepress-new").mkdir()  # of a process that has not locked it yet
    for name in ("dir", "link", "pipe"):
        (place / f"edgepress-{name}-lock").mkdir()
        (place / f"edgepress-{name}-lock" / "mine").touch()
    (place / "edgepress-dir-lock" / LOCK).mkdir()
    (place / "edgepress-link-lock" / LOCK).symlink_to(outside / LOCK)
    os.mkfifo(place / "edgepress-pipe-lock" / LOCK)
    (place / "other").mkdir()
    (place / "other" / LOCK).touch()
    before = sorted(tmp_path.rglob("*"))
    for path in (place / "edgepress-data", place / "other"):
        os.utime(path, (1, 1))
    remove_abandoned(place)
    assert sorted(tmp_path.rglob("*")) == before
    os.utime(place / "edgepress-new", (time.time() - 2 * EMPTY_S,) * 2)
    remove_abandoned(place)
    assert sorted({*before} - {*tmp_path.rglob("*")}) == [place / "edgepress-new"]
    remove_abandoned(tmp_path / "missing")


@pytest.mark.skipif(not hasattr(os, "getuid") or os.getuid() != 0, reason="changes owners")
def test_folders_of_other_users_stay(tmp_path: Path) -> None:
    folder = tmp_path / "edgepress-other"
    folder.mkdir()
    (folder / LOCK).touch()
    os.chown(folder, 65534, 65534)
    remove_abandoned(tmp_path)
    assert (folder / LOCK).exists()


def test_one_that_another_process_takes_for_left_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the lines in which its lock is made and locked."""
    from edgepress.converters.process import scratch

    made: list[int] = []
    real = scratch.lock

    def late(number: int) -> None:
        made.append(number)
        if len(made) == 1:
            raise BlockingIOError
        real(number)

    monkeypatch.setattr(scratch, "lock", late)
    with ScratchFolder(parent=tmp_path) as folder:
        assert [*tmp_path.iterdir()] == [Path(folder)]
    assert len(made) == 2


def test_a_folder_that_somebody_else_removed_is_no_error(tmp_path: Path) -> None:
    with ScratchFolder(parent=tmp_path) as folder:
        shutil.rmtree(folder)
    assert not [*tmp_path.iterdir()]


def test_one_that_another_process_removes_before_it_is_locked_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = []

    def remove_first(number: int) -> None:
        places.append(number)
        if len(places) == 1:  # as a sweep does between the two lines that make a lock file and lock it
            (folder,) = tmp_path.iterdir()
            shutil.rmtree(folder)
            raise BlockingIOError

    monkeypatch.setattr(scratch, "lock", remove_first)
    with ScratchFolder(parent=tmp_path) as folder:
        assert [*tmp_path.iterdir()] == [Path(folder)]
    assert len(places) == 2
    assert not [*tmp_path.iterdir()]


def test_without_locks_a_folder_is_nobodys_to_remove(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from edgepress.converters.process import scratch

    def none(number: int) -> None:
        raise OSError(38, "no locks")

    monkeypatch.setattr(scratch, "lock", none)
    with ScratchFolder(parent=tmp_path) as folder:
        (Path(folder) / "x").touch()
        remove_abandoned(tmp_path)
        assert (Path(folder) / "x").exists()
    assert not Path(folder).exists()


PARENT = """
import os, sys, tempfile
from edgepress.converters.process.scratch import ScratchFolder
from edgepress.converters.process.worker import Worker
import scratch_child
own = ScratchFolder()
with Worker() as worker:
    for folder in worker.call(scratch_child.work, None):
        print(folder, flush=True)
"""
CHILD = """
import os, tempfile, time
def work(_, emit):
    folder = tempfile.mkdtemp()
    emit(folder)
    time.sleep(60)
"""


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP])
def test_a_child_of_a_killed_process_removes_what_both_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    place = tmp_path / "tmp"
    place.mkdir()
    (tmp_path / "scratch_child.py").write_text(CHILD)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))
    process, folder = started(PARENT, place)
    assert place in folder.parents
    assert len([*place.iterdir()]) == 2
    process.send_signal(number)
    process.wait()
    deadline = time.monotonic() + 30
    while [*place.iterdir()] and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not [*place.iterdir()]


def test_the_folder_of_a_worker_is_where_its_libraries_put_files() -> None:
    with Worker() as worker:
        assert Path(worker._folder.name).parent == Path(tempfile.gettempdir())


ALLOWED = {
    "converters/process/scratch.py": "makes them",
    "toolkit/shipping/bundles/pyz_main.py": "runs without the toolkit",
    "toolkit/search/cluster/setup.py": "in the folder of the cluster",
    "toolkit/workers/trace.py": "in the folder of the child process",
    "toolkit/workers/try_engine.py": "in the folder of the child process",
    "runtime/board.py": "runs without the toolkit; in the folder of a child process, or for a second",
}
"""Modules that make folders by `tempfile`, and why."""


def test_temporary_folders_are_made_in_one_way() -> None:
    root = Path(__file__).parents[2]
    found = {
        str(path.relative_to(root))
        for part in ("runtime", "converters", "toolkit")
        for path in (root / part).rglob("*.py")
        if re.search(r"TemporaryDirectory|mkdtemp|NamedTemporaryFile|mkstemp", path.read_text(encoding="utf-8"))
    }
    assert found == {*ALLOWED}
