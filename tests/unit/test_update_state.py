"""What an updater remembers between two runs: it is read as it was written, within limits, or is one error."""

from __future__ import annotations

import errno
import json
import os
import shutil
import types
from pathlib import Path
from typing import Any

import pytest

from edgepress.runtime.errors import UpdateError
from edgepress.runtime.text import MOST
from edgepress.runtime.updates import state as module
from edgepress.runtime.updates.releases import MAX_RELEASE
from edgepress.runtime.updates.state import (
    MAX_REFUSED,
    MAX_STATE_BYTES,
    RESERVE,
    State,
    read_state,
    write_durably,
    write_state,
)

WHOLE = State(
    checked="2026-11-28T16:00:00Z",
    listed="2026-11-27T16:00:00Z",
    channel="beta",
    newest=7,
    refused={"a" * 64: "its self-test failed"},
    last={"result": "error", "message": "no"},
    attempts={"b" * 64: 2},
    watched="c" * 64,
    switched={"c" * 64: "2026-11-28T16:00:00Z"},
    roots={"1": "d" * 64},
)


def test_a_state_is_read_as_it_was_written(tmp_path: Path) -> None:
    assert read_state(tmp_path) == State()
    write_state(tmp_path, WHOLE)
    assert read_state(tmp_path) == WHOLE
    assert {path.name for path in tmp_path.iterdir()} == {"state.json", RESERVE}


def test_fields_of_a_newer_updater_are_ignored_and_missing_ones_are_empty(tmp_path: Path) -> None:
    (tmp_path / "state.json").write_text(json.dumps({"channel": "beta", "future": 1}))
    assert read_state(tmp_path) == State(channel="beta")


@pytest.mark.parametrize(("newest", "accepted"), [(0, True), (MAX_RELEASE, True), (MAX_RELEASE + 1, False)])
def test_the_newest_release_is_a_number_of_a_release(tmp_path: Path, newest: int, *, accepted: bool) -> None:
    (tmp_path / "state.json").write_text(json.dumps({"newest": newest}))
    if accepted:
        assert read_state(tmp_path).newest == newest
    else:
        with pytest.raises(UpdateError, match="newest"):
            read_state(tmp_path)


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"\xff", b"null", b'{"newest": 1}' + b" " * MAX_STATE_BYTES + b"x"]
)
def test_bytes_that_are_no_state_are_one_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "state.json").write_bytes(content)
    if content.startswith(b'{"newest"'):
        assert read_state(tmp_path).newest == 1  # what lies behind the limit is not read
        return
    with pytest.raises(UpdateError, match="is damaged"):
        read_state(tmp_path)


def test_texts_of_others_are_short_and_one_line(tmp_path: Path) -> None:
    write_state(tmp_path, State(last={"message": "a\nb" + "c" * 2 * MOST}))
    message = read_state(tmp_path).last["message"]
    assert "\n" not in message
    assert len(message) <= MOST + 10


@pytest.mark.parametrize(
    "document",
    [
        {"checked": "x"},
        {"listed": "0001-01-01"},
        {"channel": "nightly"},
        {"newest": -1},
        {"refused": {"a": 1}},
        {"attempts": {"a": "1"}},
        {"roots": {"x": "y"}},
        {"watched": 1},
        {"switched": {"a": "x"}},
        [],
    ],
)
def test_a_state_that_no_updater_writes_is_one_error(tmp_path: Path, document: Any) -> None:
    path = tmp_path / "state.json"
    path.write_text(json.dumps(document))
    with pytest.raises(UpdateError) as refused:
        read_state(tmp_path)
    assert f"rm {path}" in str(refused.value)


def test_the_largest_state_can_be_read_again(tmp_path: Path) -> None:
    reason = "\U0001f600\x1b" * 100_000
    refused = {f"{n:064}": reason for n in range(3 * MAX_REFUSED)}
    write_state(tmp_path, State(refused=refused, last={"message": reason, "refused": refused}))
    read = read_state(tmp_path)
    assert list(read.refused) == list(refused)[-MAX_REFUSED:]


class Disk:
    """A disk of some bytes and names; it notices that it is full when a file is flushed."""

    def __init__(self, folder: Path, size: int) -> None:
        self.folder, self.size, self.names, self.error = folder, size, 100, errno.ENOSPC

    def free(self) -> int:
        return self.size - sum(path.stat().st_size for path in self.folder.iterdir())

    def fill(self) -> None:
        """Another program writes until nothing is free."""
        with (self.folder / "log").open("ab") as file:
            file.write(b"x" * max(0, self.free()))

    def fsync(self, _: int) -> None:
        if self.free() < 0 or len(list(self.folder.iterdir())) > self.names:
            raise OSError(self.error, os.strerror(self.error))


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Disk:
    """A disk of 10 MB with a state and its reserve."""
    disk = Disk(tmp_path, 10 << 20)
    monkeypatch.setattr(os, "fsync", disk.fsync)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: types.SimpleNamespace(free=disk.free()))
    write_state(tmp_path, State())
    return disk


def refusal(number: int) -> State:
    """A state with one more refusal."""
    return State(refused={f"{each:064}": "its self-test failed" for each in range(number + 1)})


def test_a_reserve_has_real_bytes(disk: Disk, tmp_path: Path) -> None:
    reserve = tmp_path / RESERVE
    assert len(set(reserve.read_bytes())) == 256  # zeros would be stored as nothing
    assert reserve.stat().st_size == 256 * 1024
    before = reserve.stat().st_mtime_ns
    write_state(tmp_path, refusal(0))
    assert reserve.stat().st_mtime_ns == before
    assert len(f".{module.RESERVE}") > len(".state.json.new")  # its name gives up room for that one


def test_no_refusal_is_lost_on_a_full_disk_that_another_program_goes_on_filling(disk: Disk, tmp_path: Path) -> None:
    for number in range(12):
        disk.fill()
        write_state(tmp_path, refusal(number))
        assert read_state(tmp_path) == refusal(number)
    assert (tmp_path / RESERVE).stat().st_size >= 32 << 10
    number = 12
    while (tmp_path / RESERVE).exists():
        disk.fill()
        write_state(tmp_path, refusal(number))
        number += 1
    disk.fill()
    with pytest.raises(OSError, match=r"\[Errno 28\]"):
        write_state(tmp_path, refusal(number))
    assert {path.name for path in tmp_path.iterdir()} == {"state.json", "log"}
    assert read_state(tmp_path) == refusal(number - 1)


def test_what_decides_nothing_takes_no_room_from_a_refusal(disk: Disk, tmp_path: Path) -> None:
    """Checks every hour, whose states are written as often."""
    for number in range(50):
        disk.fill()
        with pytest.raises(OSError, match=r"\[Errno 28\]"):
            write_state(tmp_path, State(last={"message": str(number)}, checked="2026-01-01T00:00:00Z"))
    assert (tmp_path / RESERVE).stat().st_size == 256 * 1024
    for changed in ({"refused": {"a": "b"}}, {"watched": "a"}, {"switched": {"a": "2026-01-01T00:00:00Z"}}):
        disk.fill()
        write_state(tmp_path, State(**changed))  # type: ignore[arg-type]
        disk.fill()
        write_state(tmp_path, State(attempts={"a": 1}))


def test_a_reserve_that_a_power_failure_cut_is_given_up(disk: Disk, tmp_path: Path) -> None:
    (tmp_path / RESERVE).rename(tmp_path / f".{RESERVE}.new")
    disk.fill()
    write_state(tmp_path, refusal(0))
    assert read_state(tmp_path) == refusal(0)


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EDQUOT])
def test_a_reserve_gives_its_name_up_where_no_further_file_may_be_made(disk: Disk, tmp_path: Path, error: int) -> None:
    disk.names, disk.error = 2, error  # the state and the reserve
    write_state(tmp_path, refusal(0))
    assert read_state(tmp_path) == refusal(0)
    assert (tmp_path / RESERVE).stat().st_size == 256 * 1024  # written again, because its own name is free
    os.rename(tmp_path / RESERVE, tmp_path / "log")
    with pytest.raises(OSError, match=os.strerror(error)):
        write_state(tmp_path, refusal(1))


def test_other_errors_than_a_full_disk_leave_the_reserve_and_the_state(disk: Disk, tmp_path: Path) -> None:
    disk.fill()
    disk.error = errno.EIO
    with pytest.raises(OSError, match=r"\[Errno 5\]"):
        write_state(tmp_path, refusal(0))
    assert (tmp_path / RESERVE).stat().st_size == 256 * 1024
    assert {path.name for path in tmp_path.iterdir()} == {"state.json", RESERVE, "log"}
    assert read_state(tmp_path) == State()


@pytest.mark.parametrize(("more", "filled"), [(0, True), (-1, False)])
def test_a_reserve_is_filled_again_where_there_is_room_for_eight(
    disk: Disk, tmp_path: Path, more: int, *, filled: bool
) -> None:
    disk.fill()
    write_state(tmp_path, refusal(0))
    left = (tmp_path / RESERVE).stat().st_size
    assert 0 < left < 256 * 1024
    disk.size += 8 * 256 * 1024 + more - disk.free()
    write_state(tmp_path, refusal(0))
    assert (tmp_path / RESERVE).stat().st_size == (256 * 1024 if filled else left)


def test_a_disk_that_is_almost_full_gets_no_reserve(disk: Disk, tmp_path: Path) -> None:
    (tmp_path / RESERVE).unlink()
    disk.size += 1_000_000 - disk.free()
    write_state(tmp_path, refusal(0))
    assert not (tmp_path / RESERVE).exists()
    assert disk.free() > 990_000


def test_a_reserve_that_can_not_be_written_is_no_error(
    disk: Disk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / RESERVE).unlink()
    monkeypatch.setattr(shutil, "disk_usage", lambda _: types.SimpleNamespace(free=10**9))
    disk.size += 10_000 - disk.free()
    write_state(tmp_path, refusal(0))
    assert [path.name for path in tmp_path.iterdir()] == ["state.json"]
    assert read_state(tmp_path) == refusal(0)


def test_a_file_is_written_with_the_folders_around_it(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "c.json"
    for data in (b"1", b"2"):
        write_durably(path, data)
        assert path.read_bytes() == data
    assert list(path.parent.iterdir()) == [path]
