"""`run update` on a board: what it installs, what it refuses, and what it says."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import pytest
import scripts
from tuf.api.metadata import Metadata, Root, TargetFile

from edgepress.runtime.updates import __main__ as command
from edgepress.runtime.updates import transfer
from edgepress.runtime.updates.lock import alone
from edgepress.runtime.updates.place import board_id, read_place
from edgepress.runtime.updates.releases import position
from edgepress.runtime.updates.state import read_state
from edgepress.toolkit.publishing.publish import publish, withdraw
from edgepress.toolkit.publishing.repository import read_repository, write_root
from edgepress.toolkit.publishing.start import role_signers, rotate

sys.path.insert(0, str(scripts.ROOT / "benchmarks" / "updates"))
attacks = scripts.script("benchmarks/updates/attacks.py")
simulated = sys.modules["simulated"]


@pytest.mark.parametrize("name", attacks.ATTACKS)
def test_an_attack_installs_nothing_and_the_refusal_names_it(
    name: str, first_release: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules["attack_world"], "FIRST_RELEASE", first_release)
    said, wrong = attacks.attack(name, tmp_path)
    assert wrong == []
    assert said


def test_the_commands_install_a_newer_release_and_say_so(publisher: Any, board: Any) -> None:
    assert board.update(publisher.site)["result"] == "nothing new"
    publisher.publish(2)
    document = board.update(publisher.site)
    assert (document["result"], document["release"]) == ("installed", 2)
    assert board.running() == 2
    status = board.status()
    assert (status["release"], status["previous"], status["newest"], status["channel"]) == (2, 1, 2, "stable")
    assert status["last"]["result"] == "installed"
    assert status["checked"]
    left = {path.name for path in (board.prefix / "updates").iterdir()} | {
        path.name for path in (board.prefix / "updates" / "download").iterdir()
    }
    assert left == {"board-id", "download", "metadata", "releases.json", "state.json", "state.json.reserve", ".lock"}
    failed = subprocess.run(board.command("update", "--from", "nowhere"), capture_output=True, text=True)
    assert failed.returncode == 1
    assert "neither an address of a web server nor a published folder" in failed.stderr
    assert subprocess.run(board.command("update", "--every", "1s"), capture_output=True).returncode == 2


def test_updates_that_go_on_follow_the_release_in_use(
    publisher: Any, board: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class GoneOnError(Exception):
        """Stands for the process that becomes another one."""

    called: list[list[str]] = []

    def execute(program: str, words: list[str]) -> None:
        called.append(words)
        raise GoneOnError

    publisher.publish(2)
    slept: list[float] = []
    monkeypatch.setattr(command, "time", types.SimpleNamespace(sleep=slept.append))
    monkeypatch.setattr(command, "os", types.SimpleNamespace(execv=execute))
    folder = str((board.prefix / "current").resolve())
    with pytest.raises(GoneOnError):
        command.main(["update", folder, "--from", str(publisher.site), "--every", "2h"])
    assert slept == [7200]
    script = str(board.prefix / "current" / "run")
    assert called == [["sh", script, "update", "--every", "7200s", "--from", str(publisher.site)]]
    assert "installed" in capsys.readouterr().out


@pytest.mark.parametrize("text", ["12d", "30d", "2592000s", "60s", "43200m"])
def test_the_time_between_checks_is_accepted_again_by_the_next_release(text: str) -> None:
    args = command._parser().parse_args(["update", "folder", "--every", text])
    again = command._parser().parse_args([*command._words(args), "folder"])
    assert again.every == args.every


@pytest.mark.parametrize("text", ["59s", "31d", "999999d", "2592001s", "\u0661h", "1", ""])
def test_a_time_between_checks_that_is_not_accepted_is_wrong_usage(text: str) -> None:
    with pytest.raises(SystemExit) as caught:
        command._parser().parse_args(["update", "folder", "--every", text])
    assert caught.value.code == 2


def test_the_clock_is_trusted_once_and_an_interruption_is_no_traceback(
    publisher: Any, board: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    trusted: list[bool] = []
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 3:
            raise KeyboardInterrupt

    def pretend(*_: Any, trust_clock: bool, **__: Any) -> dict[str, Any]:
        trusted.append(trust_clock)
        return {"result": "nothing new", "release": 1, "newest": 1, "refused": {}}

    monkeypatch.setattr("edgepress.runtime.updates.update.update", pretend)
    monkeypatch.setattr(command, "time", types.SimpleNamespace(sleep=sleep))
    folder = str((board.prefix / "current").resolve())
    assert command.main(["update", folder, "--from", str(publisher.site), "--every", "1h", "--trust-clock"]) == 1
    assert trusted == [True, False, False]


def test_an_address_without_a_published_folder_is_no_attack(publisher: Any, board: Any, tmp_path: Path) -> None:
    (tmp_path / "empty" / "metadata").mkdir(parents=True)
    assert "There is no published folder at" in board.attempt(tmp_path / "empty")
    with attacks.serve(tmp_path / "empty") as address:
        assert f"There is no published folder at {address}" in board.attempt(address)
    for snapshot in (publisher.site / "metadata").glob("*.snapshot.json"):
        snapshot.unlink()
    assert "Refused (malicious mirror)" in board.attempt(publisher.site)


def test_what_the_system_refuses_is_one_message(
    publisher: Any, board: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("edgepress.runtime.updates.update.write_state", full)
    folder = str((board.prefix / "current").resolve())
    assert command.main(["update", folder, "--from", str(publisher.site)]) == 1
    assert "Error: No space left on device. Check the space" in capsys.readouterr().err


def test_a_release_that_fails_its_self_test_is_not_switched_to_nor_tried_again(publisher: Any, board: Any) -> None:
    publisher.publish(2, broken=True)
    assert "fails its self-test" in board.attempt(publisher.site)
    assert board.running() == 1
    assert not list((board.prefix / "updates" / "unpacked").glob("*"))
    for bundle in publisher.site.glob("targets/demo/*-2-*.zip"):
        bundle.unlink()  # it is not even fetched again
    assert board.attempt(publisher.site) == "nothing new"
    assert ["fails its self-test" in reason for reason in board.status()["refused"].values()] == [True]
    publisher.publish(3)
    assert board.attempt(publisher.site) == "installed 3"


def test_a_release_that_the_user_left_does_not_come_back(publisher: Any, board: Any) -> None:
    publisher.publish(2)
    assert board.attempt(publisher.site) == "installed 2"
    subprocess.run(["sh", str(board.prefix / "current" / "install.sh"), "rollback"], check=True, capture_output=True)
    assert board.running() == 1
    assert board.attempt(publisher.site) == "nothing new"
    publisher.publish(3)
    assert board.attempt(publisher.site) == "installed 3"


def test_a_withdrawn_release_is_not_installed_and_where_it_runs_it_stays(publisher: Any, board: Any) -> None:
    publisher.publish(2)
    withdraw("demo", 2, publisher.site, keys=publisher.keys)
    assert board.attempt(publisher.site) == "nothing new"
    publisher.publish(3)
    assert board.attempt(publisher.site) == "installed 3"
    withdraw("demo", 3, publisher.site, keys=publisher.keys)
    assert board.attempt(publisher.site) == "nothing new"
    assert board.running() == 3


def test_channels_and_shares(publisher: Any, board: Any) -> None:
    publisher.publish(2, channel="beta")
    assert board.attempt(publisher.site) == "nothing new"
    assert board.attempt(publisher.site, channel="beta") == "installed 2"
    assert board.status()["channel"] == "beta"
    release = publisher.publish(3, share="1%").changed[0][1]
    own = board.prefix / "updates" / "board-id"
    own.write_text(next(f"x{n}" for n in range(1000) if position(release.id, f"x{n}") > 0.5))
    assert board.attempt(publisher.site) == "nothing new"
    own.write_text(next(f"x{n}" for n in range(1000) if position(release.id, f"x{n}") < 0.01))
    assert board.attempt(publisher.site) == "installed 3"


def test_a_board_takes_releases_of_its_own_type_only(publisher: Any, board: Any) -> None:
    own = read_place(board.prefix / "current").board
    both = simulated.make_bundle(publisher.folder / "both.zip", 2, site=publisher.site, boards=(own, "other"))
    publish(both, publisher.site, keys=publisher.keys, board_type="other")
    assert board.attempt(publisher.site) == "nothing new"
    publish(both, publisher.site, keys=publisher.keys, board_type=own)
    assert board.attempt(publisher.site) == "installed 2"


def test_a_transfer_that_breaks_is_resumed_in_the_run_and_in_the_next(
    publisher: Any, board: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfer, "PAUSE_S", 0.001)
    publish(publisher.bundle(2, size=600_000), publisher.site, keys=publisher.keys)
    bundle = next(publisher.site.glob("targets/demo/*-2-*.zip"))
    content = bundle.read_bytes()
    asked: list[int] = []
    alive = [True]

    def breaking(handler: Any) -> None:
        """Answer with 150 kB at most, and then with nothing."""
        offset = int((handler.headers["Range"] or "bytes=0-").removeprefix("bytes=").rstrip("-"))
        asked.append(offset)
        piece = content[offset : offset + 150_000] if alive[0] else b""
        alive[0] = len(asked) != 2
        handler.send_response(206 if offset else 200)
        handler.send_header("Content-Length", str(len(content) - offset))
        handler.end_headers()
        handler.wfile.write(piece)
        handler.close_connection = True

    with attacks.serve(publisher.site, bundle.name, breaking) as address:
        monkeypatch.setattr(transfer, "ATTEMPTS", 1)
        assert "What has arrived is kept" in board.attempt(address)
        monkeypatch.setattr(transfer, "ATTEMPTS", 5)
        assert board.attempt(address) == "installed 2"
    assert asked[0] == 0
    assert asked == sorted(asked)
    assert asked[-1] >= 450_000  # nothing was fetched twice
    assert len(asked) <= 8


@pytest.mark.parametrize(
    ("damage", "ranges"),
    [*((each, True) for each in ("zeros", "part", "whole", "too long")), ("part", False), ("too long by far", False)],
)
def test_a_server_without_ranges_and_a_damaged_part_are_no_obstacle(tmp_path: Path, damage: str, ranges: bool) -> None:
    content = bytes(range(256)) * 400
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "b.zip").write_bytes(content)
    part = tmp_path / "part.zip"
    part.write_bytes(
        {
            "zeros": b"\0" * 5000,
            "part": content[:5000],
            "whole": bytes(len(content)),
            "too long": content + b"more",
            "too long by far": content * 3,
        }[damage]
    )

    def resume(handler: Any) -> None:
        offset = int((handler.headers["Range"] or "bytes=0-")[6:-1])
        handler.send_response(206 if offset else 200)
        handler.send_header("Content-Length", str(len(content) - offset))
        handler.end_headers()
        handler.wfile.write(content[offset:])

    with attacks.serve(tmp_path / "site", "b.zip" if ranges else "", resume) as address:  # by itself it knows none
        target = TargetFile.from_data("b.zip", content, ["sha256"])
        transfer.download(transfer.Source(address), f"{address}/b.zip", target, part)
    assert part.read_bytes() == content


def test_a_disk_without_room_is_said_before_anything_is_fetched(
    publisher: Any, board: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    publisher.publish(2)
    usage = type("Usage", (), {"free": 1 << 20})()
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda path: usage)
        said = board.attempt(publisher.site)
    assert "1048576 are free" in said
    assert board.status()["refused"] == {}
    assert board.attempt(publisher.site) == "installed 2"


def test_two_updates_at_once_do_not_meet(publisher: Any, board: Any) -> None:
    publisher.publish(2)
    with alone(read_place(board.prefix / "current")):
        assert "Another update" in board.attempt(publisher.site)
    assert board.attempt(publisher.site) == "installed 2"


def forged_root(publisher: Any, tmp_path: Path) -> Path:
    """An attacker's folder whose second root is signed by the first, stolen key; afterwards that key is replaced."""
    stolen = role_signers(read_repository(publisher.site), "root", [publisher.keys], None)
    attacker = simulated.Publisher(tmp_path / "attacker")
    own = role_signers(read_repository(attacker.site), "root", [attacker.keys], None)
    forged = Metadata[Root].from_file(str(attacker.site / "metadata" / "1.root.json"))
    forged.signed.version = 2
    forged.signatures.clear()
    for signer in [*stolen, *own]:
        forged.sign(signer, append=True)
    rotate(publisher.site, [publisher.keys], role="root")
    attacker.publish(9)
    write_root(attacker.site, forged)
    return Path(attacker.site)


def test_a_stolen_root_key_signs_nothing_for_a_board_that_does_not_know_the_new_one(
    publisher: Any, board: Any, tmp_path: Path
) -> None:
    """The attack of the next test works where the board has never seen the new root."""
    assert board.attempt(forged_root(publisher, tmp_path)).startswith("installed 9")


@pytest.mark.parametrize("damage", ["empty", "no file", "no folder", "all lists"])
def test_a_replaced_root_key_does_not_come_back_when_the_lists_are_damaged(
    publisher: Any, board: Any, tmp_path: Path, damage: str
) -> None:
    evil = forged_root(publisher, tmp_path)
    assert board.attempt(publisher.site) == "nothing new"
    metadata = board.prefix / "updates" / "metadata"
    root = metadata / "root_history" / "2.root.json"
    {
        "empty": lambda: root.write_bytes(b""),
        "no file": root.unlink,
        "no folder": lambda: shutil.rmtree(root.parent),
        "all lists": lambda: shutil.rmtree(metadata),
    }[damage]()
    assert "the trusted keys are not those of the last check" in board.attempt(evil)
    (evil / "metadata" / "2.root.json").unlink()
    assert "Refused" in board.attempt(evil)
    publisher.publish(3)
    assert board.attempt(publisher.site) == "installed 3"


def test_the_lists_are_flushed_before_their_roots_are_remembered(
    publisher: Any, board: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushed: list[str] = []
    real = os.fsync

    def fsync(descriptor: int) -> None:
        flushed.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        real(descriptor)

    rotate(publisher.site, [publisher.keys], role="root")
    monkeypatch.setattr(os, "fsync", fsync)
    assert board.attempt(publisher.site) == "nothing new"
    metadata = board.prefix / "updates" / "metadata"
    state = next(at for at, path in enumerate(flushed) if "state.json" in path)
    kept = {str(path) for path in [metadata, *metadata.rglob("*")] if not path.is_symlink()}
    assert kept <= set(flushed[:state])
    assert set(read_state(board.prefix / "updates").roots) == {"1", "2"}


def test_a_bundle_of_another_folder_that_is_installed_by_hand_begins_anew(
    publisher: Any, board: Any, tmp_path: Path
) -> None:
    """All root keys were lost, so the publisher began another folder."""
    rotate(publisher.site, [publisher.keys], role="root")
    assert board.attempt(publisher.site) == "nothing new"
    anew = simulated.Publisher(tmp_path / "anew")
    anew.publish(2)
    assert board.install(anew.bundle(2)).returncode == 0
    assert board.attempt(anew.site) == "nothing new"
    anew.publish(3)
    assert board.attempt(anew.site) == "installed 3"


def test_a_damaged_state_is_an_error_that_says_what_to_do(publisher: Any, board: Any) -> None:
    state = board.prefix / "updates" / "state.json"
    for text in ("{", "[]", '{"channel": 3}'):
        state.write_text(text)
        assert f"rm {state}" in board.attempt(publisher.site)


def test_a_bundle_without_updates_says_so(publisher: Any, tmp_path: Path) -> None:
    plain = simulated.make_bundle(tmp_path / "plain.zip", None, site=None)
    found = simulated.Board(tmp_path / "board")
    assert found.install(plain).returncode == 0
    done = subprocess.run(found.command("update"), capture_output=True, text=True)
    assert done.returncode == 1
    assert "edgepress bundle --updates" in done.stderr
    assert not (found.prefix / "current" / "updates").exists()


def test_the_address_in_the_bundle_is_used_without_from(tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        address = stack.enter_context(attacks.serve(tmp_path / "publisher" / "site"))
        publisher = simulated.Publisher(tmp_path / "publisher", url=f"{address}/")
        board = simulated.Board(tmp_path / "board")
        assert board.install(publisher.bundle(1)).returncode == 0
        publisher.publish(2)
        assert board.attempt("") == "installed 2"


def test_without_an_address_the_message_names_the_option(publisher: Any, board: Any) -> None:
    assert "--from URL" in board.attempt("")


def test_what_a_server_sends_is_shown_as_text(board: Any, tmp_path: Path) -> None:
    mirror = tmp_path / "mirror"
    (mirror / "metadata").mkdir(parents=True)
    (mirror / "metadata" / "timestamp.json").write_text('{"signed": "\x1b[2J"}')
    done = subprocess.run(board.command("update", "--from", f"{mirror}\x1b[2J"), capture_output=True, text=True)
    assert done.returncode == 1
    assert "\x1b" not in done.stdout + done.stderr
    document = board.update(mirror)
    assert "Refused" in document["error"]["message"]


def test_a_board_without_an_id_gets_one_and_keeps_it(board: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    place = read_place(board.prefix / "current")
    (place.updates / "board-id").unlink()
    monkeypatch.setattr("edgepress.runtime.updates.place.SERIAL", Path("nowhere"))
    serial = board.prefix / "serial"
    serial.write_text("10000000abcdef01\0")
    monkeypatch.setattr("edgepress.runtime.updates.place.MACHINE_ID", serial)
    hashed = board_id(place)
    assert len(hashed) == 32
    assert "abcdef01" not in hashed
    serial.unlink()
    made = board_id(place)
    assert made not in (hashed, "")
    assert board_id(place) == made


@pytest.fixture
def systemctl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stub of systemctl that writes down what it was called with."""
    folder = tmp_path / "bin"
    folder.mkdir()
    log = tmp_path / "systemctl.log"
    (folder / "systemctl").write_text(f'#!/bin/sh\necho "$@" >>{log}\n')
    (folder / "systemctl").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    return log


def test_the_timer_is_installed_and_removed(tmp_path: Path, systemctl: Path) -> None:
    publisher = simulated.Publisher(tmp_path / "publisher", url="https://updates.example.com/")
    board = simulated.Board(tmp_path / "board")
    assert board.install(publisher.bundle(1)).returncode == 0
    units = tmp_path / "units"
    units.mkdir()
    words = ["--unit-dir", str(units), "--prefix", str(board.prefix), "--python", sys.executable, "--system"]
    script = str(board.unpacked / "demo" / "install.sh")
    done = subprocess.run(["sh", script, "install", "--timer", *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert {path.name for path in units.iterdir()} == {"edgepress-demo-update.service", "edgepress-demo-update.timer"}
    service = (units / "edgepress-demo-update.service").read_text()
    assert f"ExecStart={board.prefix}/current/run update" in service
    assert "@" not in service
    assert "enable --quiet --now edgepress-demo-update.timer" in systemctl.read_text()
    removal = ["sh", str(board.prefix / "current" / "install.sh"), "uninstall", "--unit-dir", str(units)]
    subprocess.run(removal, check=True, capture_output=True)
    assert list(units.iterdir()) == []
    assert not board.prefix.exists()


def test_a_timer_that_could_not_update_is_refused_before_anything_is_installed(
    publisher: Any, board: Any, tmp_path: Path, systemctl: Path
) -> None:
    units = tmp_path / "units"
    units.mkdir()
    other = tmp_path / "other"
    words = ["--unit-dir", str(units), "--python", sys.executable, "--system", "--timer", "--prefix"]
    script = str(board.unpacked / "demo" / "install.sh")
    done = subprocess.run(["sh", script, "install", *words, str(other)], capture_output=True, text=True)
    assert done.returncode == 1
    assert "does not say where its updates are" in done.stderr
    assert not (other / "current").exists()
    with_url = simulated.Publisher(tmp_path / "with url", url="https://updates.example.com/")
    board.install(with_url.bundle(2), "status")  # unpacks it
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o777)
    for prefix in (shared, shared / "below"):
        done = subprocess.run(["sh", script, "install", *words, str(prefix)], capture_output=True, text=True)
        assert done.returncode == 1
        assert f"{shared} can be written by others" in done.stderr
        assert not (prefix / "current").exists()
    assert list(units.iterdir()) == []
    assert not systemctl.exists()


def test_the_document_of_status_is_json_with_these_fields(publisher: Any, board: Any) -> None:
    document = json.loads(subprocess.run(board.command("status", "--json"), capture_output=True, text=True).stdout)
    fields = ["name", "release", "id", "previous", "board", "channel", "source", "checked", "newest", "refused"]
    fields += ["shadow", "last", "note", "updating"]
    assert list(document) == fields
    text = subprocess.run(board.command("status"), capture_output=True, text=True).stdout
    assert "demo: release 1 (" in text
