"""What `install.sh` does when it is killed, when the disk is full, and when other things go wrong."""

from __future__ import annotations

import contextlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from bundling import install, reworked
from scripts import script

kills = script("benchmarks/faults/install_kills.py")
needs_tracing = pytest.mark.skipif(
    sys.platform != "linux" or platform.machine() not in kills.NUMBERS, reason="traces system calls"
)


@pytest.fixture
def bench(tmp_path: Path) -> Any:
    return kills.Bench(tmp_path)


@needs_tracing
@pytest.mark.parametrize("alone", [False, True], ids=["all processes", "one process"])
def test_a_rollback_that_is_killed_leaves_the_truth(bench: Any, alone: bool) -> None:
    said: list[str] = []
    count, violations = kills.kill_all(bench, "rollback", alone=alone, every=3, say=said.append)
    assert count >= 3  # of the calls, a third, drawn
    assert violations == 0, said


@needs_tracing
@pytest.mark.parametrize("name", sorted(kills.SCENARIOS))
def test_an_installation_that_is_killed_leaves_a_whole_release_and_the_truth(bench: Any, name: str) -> None:
    """At a tenth of the calls, drawn for each kind of kill; benchmarks/faults/install_kills.py tries all of them."""
    said: list[str] = []
    for alone in (False, True):
        count, violations = kills.kill_all(bench, name, alone=alone, every=10, say=said.append)
        assert count >= 2
        assert violations == 0, said


@needs_tracing
def test_the_script_notices_half_releases_and_lies(bench: Any) -> None:
    """A check that can't fail shows nothing."""
    scenario = kills.SCENARIOS["rollback"]
    bench.prepare(scenario)
    (bench.prefix / "current" / "edgepress" / "runtime" / "__main__.py").write_bytes(b"")
    assert any("not complete" in text for text in bench.wrong(scenario))
    bench.prepare(scenario)
    former = bench.prefix / "current" / "former"
    current = (bench.prefix / "current").readlink().name
    former.unlink()
    former.symlink_to(f"../{current}")
    assert any("status tells b and b" in text for text in bench.wrong(scenario))


def options(prefix: Path) -> tuple[str, ...]:
    return ("--prefix", str(prefix), "--system", "--python", sys.executable)


@contextlib.contextmanager
def small_disk(folder: Path, size: int) -> Iterator[None]:
    """A folder on a disk of its own; skips where that is not allowed."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(folder)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("needs the right to mount a disk")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_is_one_clear_error_and_the_old_release_runs_on(unpacked: Path, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    size = sum(path.stat().st_size for path in unpacked.rglob("*") if path.is_file())
    room = 8 * size  # for two releases, each with its bytecode and its last blocks
    newer = reworked(unpacked, tmp_path / "newer", {"README.md": ("A classifier", "A newer classifier")})
    with small_disk(disk, room):
        prefix = disk / "p"
        assert install(unpacked, *options(prefix)).returncode == 0
        current = (prefix / "current").readlink()
        shown = set()
        for free in (0, 4096, 40_000, size // 4, size // 2, size, 3 * size // 2, 2 * size):
            used = sum(path.lstat().st_blocks * 512 for path in prefix.rglob("*"))
            with open(disk / "filler", "wb") as filler, contextlib.suppress(OSError):
                filler.write(b"x" * max(0, room - used - free))
            done = install(newer, "update", *options(prefix))
            (disk / "filler").unlink()
            if done.returncode == 0:
                break
            shown.add(done.stderr)
            assert done.returncode == 1
            assert "Error: " in done.stderr
            assert "Free some space" in done.stderr, done.stderr
            assert "Traceback" not in done.stderr
            assert (prefix / "current").readlink() == current
            assert os.listdir(prefix / "releases") == [current.name]
            run = [prefix / "current" / "run", "selftest", "--json"]
            assert subprocess.run(run, capture_output=True).returncode == 0
        assert shown, "the disk was never full"
        assert install(newer, "update", *options(prefix)).returncode == 0


def test_a_limit_on_the_size_of_files_is_one_clear_error(unpacked: Path, tmp_path: Path) -> None:
    """What a quota does, without rights of root."""
    prefix = tmp_path / "p"
    # Coverage writes a file of its own into every process, which would meet the limit first.
    done = install(unpacked, *options(prefix), before="unset COVERAGE_PROCESS_CONFIG && ulimit -f 8")
    assert done.returncode == 1
    assert "Free some space" in done.stderr
    assert "Traceback" not in done.stderr
    assert os.listdir(prefix / "releases") == []
    assert install(unpacked, *options(prefix)).returncode == 0


def test_pip_on_a_full_disk_is_told_as_that(unpacked: Path, tmp_path: Path) -> None:
    """pip removes what it wrote, so that the disk has room again when the installer asks."""
    stub = tmp_path / "python"
    text = kills.INTERPRETER.replace("@PYTHON@", sys.executable)
    pip = "echo 'OSError: [Errno 28] No space left on device' >&2; exit 1"
    stub.write_text(text.replace('echo package >"$(dirname "$0")/package"', pip))
    stub.chmod(0o755)
    done = install(unpacked, "--prefix", str(tmp_path / "p"), "--python", str(stub))
    assert done.returncode == 1
    assert "is full" in done.stderr
    assert "network" not in done.stderr


def test_faults_are_one_clear_error_each(unpacked: Path, tmp_path: Path) -> None:
    prefix = tmp_path / "p"
    assert "was not found" in install(unpacked, "--prefix", str(prefix), "--python", "/nowhere/python").stderr
    (unpacked / "MANIFEST.json").rename(tmp_path / "manifest")
    assert "MANIFEST.json is missing or damaged" in install(unpacked, *options(prefix)).stderr
    (unpacked / "MANIFEST.json").write_text("{")
    assert "MANIFEST.json is missing or damaged" in install(unpacked, *options(prefix)).stderr
    shutil.copy(tmp_path / "manifest", unpacked / "MANIFEST.json")
    (tmp_path / "file").touch()
    done = install(unpacked, *options(tmp_path / "file" / "p"))
    assert done.returncode == 1
    assert "can't be created" in done.stderr
    assert "no previous release" in install(unpacked, "rollback", *options(prefix)).stderr


def test_rollbacks_after_failures_and_repeated_installations_go_to_what_ran_before(
    unpacked: Path, tmp_path: Path
) -> None:
    prefix = tmp_path / "p"
    newer = reworked(unpacked, tmp_path / "newer", {"README.md": ("A classifier", "A newer classifier")})
    broken = reworked(unpacked, tmp_path / "broken", {"samples/manifest.json": ('"label": "0"', '"label": "5"')})
    for folder in (unpacked, newer):
        assert install(folder, *options(prefix)).returncode == 0
    second = (prefix / "current").readlink().name
    first = (prefix / "previous").resolve().name
    assert {first, second} == set(os.listdir(prefix / "releases"))
    assert install(newer, *options(prefix)).returncode == 0, "the same once more"
    assert install(broken, *options(prefix)).returncode == 1
    for back, away in ((first, second), (second, first), (first, second)):
        done = install(prefix / "current", "rollback")
        assert f"back to {back} from {away}" in done.stdout
        assert (prefix / "current").readlink().name == back
    (prefix / "releases" / second / "selftest.json").unlink()  # its removal was interrupted
    assert "no previous release" in install(prefix / "current", "rollback").stderr
    assert "previous: \n" in install(prefix / "current", "status").stdout
    assert install(newer, *options(prefix)).returncode == 0
    assert f"back to {first} from {second}" in install(prefix / "current", "rollback").stdout


@pytest.mark.skipif(not hasattr(os, "getuid") or os.getuid() != 0, reason="changes to another user")
def test_without_permission_it_says_so_and_status_needs_none() -> None:
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)  # pytest's own are not for other users
        prefix = Path(folder, "p")
        assert install(kills.make_bundle(Path(folder, "bundle"), "a"), *options(prefix)).returncode == 0
        nobody = ["setpriv", "--reuid", "65534", "--clear-groups", "sh", str(prefix / "current" / "install.sh")]
        done = subprocess.run([*nobody, "rollback"], capture_output=True, text=True)
        assert "can't be written" in done.stderr
        assert "current: " in subprocess.run([*nobody, "status"], capture_output=True, text=True).stdout
