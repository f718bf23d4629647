"""`run update` on a board: what it installs, what it refuses, and what it says."""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import shlex
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import pytest
import scripts

from edgepress.runtime.updates import __main__ as command
from edgepress.runtime.updates.confirm import alone
from edgepress.runtime.updates.place import board_id, read_place
from edgepress.runtime.updates.releases import position
from edgepress.toolkit.shipping.publishing.publish import publish, withdraw

sys.path.insert(0, str(scripts.ROOT / "benchmarks" / "updates"))
attacks = scripts.script("benchmarks/updates/attacks.py")
simulated = sys.modules["simulated"]


@pytest.mark.slow
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
    # A shell that is still in the folder of the former release asks for the release in use, too.
    former = board.prefix / "releases" / os.readlink(board.prefix / "current" / "former").rpartition("/")[2]
    asked = subprocess.run(["sh", str(former / "run"), "status", "--json"], capture_output=True, text=True)
    assert json.loads(asked.stdout)["release"] == 2
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


def roll_back(board: Any) -> None:
    subprocess.run(["sh", str(board.prefix / "current" / "install.sh"), "rollback"], check=True, capture_output=True)


@pytest.mark.parametrize("way", ["bundle", "forward", "rollback", "install"])
def test_a_release_that_the_user_left_is_taken_again_when_they_say_so(publisher: Any, board: Any, way: str) -> None:
    """By any command; as once no update command could."""
    publisher.publish(2)
    assert board.attempt(publisher.site) == "installed 2"
    roll_back(board)
    if way == "bundle":
        assert board.attempt("", bundle=publisher.bundle(2)) == "installed 2"
    elif way == "forward":
        assert board.attempt(publisher.site, forward=True) == "installed 2"
    elif way == "rollback":
        roll_back(board)
    else:
        assert board.install(publisher.bundle(2)).returncode == 0
    assert (board.running(), board.status()["previous"], board.status()["rolled_back"]) == (2, 1, [])
    former = board.prefix / "current" / "former"
    assert not (former / "former").exists(), "no link leads back"
    roll_back(board)
    assert board.attempt(publisher.site) == "nothing new", "it counts each time"


@pytest.mark.parametrize("lost", ["nothing", "state", "record", "both"])
def test_what_was_rolled_back_when_and_why_is_told(publisher: Any, board: Any, lost: str) -> None:
    publisher.publish(2)
    assert board.attempt(publisher.site) == "installed 2"
    left = board.status()["id"]
    began = datetime.datetime.now(datetime.UTC).replace(microsecond=0)
    roll_back(board)
    if lost in ("state", "both"):
        (board.prefix / "updates" / "state.json").unlink()
    if lost in ("record", "both"):
        (board.prefix / ".left").unlink()
    document = board.update(publisher.site)
    assert document["result"] == "nothing new"
    told = document["left"]
    assert (told["release"], told["id"]) == (2, left)
    at = datetime.datetime.fromisoformat(told["at"])
    assert began <= at <= datetime.datetime.now(datetime.UTC)
    assert "by hand" in told["why"]
    (row,) = board.status()["rolled_back"]
    assert (row["release"], row["at"], row["why"], row["by"]) == (2, told["at"], told["why"], "hand")
    text = subprocess.run(board.command("status"), capture_output=True, text=True).stdout
    assert f"Rolled back: release 2 ({left[:12]}), {told['at']}, by hand" in text
    command = shlex.split(told["forward"])
    assert command[1:] == ["update", "--from", str(publisher.site), "--forward"]
    assert "installed" in subprocess.run(["sh", *command], capture_output=True, text=True).stdout
    assert board.running() == 2


def test_what_was_left_does_not_come_back_after_a_newer_release_that_was_left_too(publisher: Any, board: Any) -> None:
    """The link to it is gone then."""
    for release in (2, 3):
        publisher.publish(release)
        assert board.attempt(publisher.site) == f"installed {release}"
    roll_back(board)  # 3 is left
    publisher.publish(4)
    assert board.attempt(publisher.site) == "installed 4"
    withdraw("demo", 4, publisher.site, keys=publisher.keys)
    subprocess.run(["sh", str(board.prefix / "current" / "install.sh"), "back"], check=True, capture_output=True)
    assert board.running() == 2
    assert board.attempt(publisher.site) == "nothing new"
    assert [row["release"] for row in board.status()["rolled_back"]] == [3]
    assert board.attempt(publisher.site, forward=True) == "installed 3"


def test_a_lower_release_that_is_taken_by_hand_does_not_free_a_higher_one(publisher: Any, board: Any) -> None:
    bundles = {release: publisher.publish(release) and publisher.bundle(release) for release in (2, 3)}
    assert board.attempt(publisher.site) == "installed 3"
    roll_back(board)
    assert board.attempt("", bundle=bundles[2]) == "installed 2"
    assert board.attempt(publisher.site) == "nothing new"
    roll_back(board)
    assert [row["release"] for row in board.status()["rolled_back"]] == [3]


def test_installing_an_older_bundle_by_hand_counts_as_leaving_the_newer_one(publisher: Any, board: Any) -> None:
    publisher.publish(2)
    assert board.attempt(publisher.site) == "installed 2"
    assert board.install(publisher.bundle(1)).returncode == 0
    assert board.attempt(publisher.site) == "nothing new"
    (row,) = board.status()["rolled_back"]
    assert "installing an older release" in row["why"]


def test_two_installations_remember_each_their_own(publisher: Any, board: Any, tmp_path: Path) -> None:
    other = simulated.Board(tmp_path / "other")
    assert other.install(publisher.bundle(1)).returncode == 0
    publisher.publish(2)
    for each in (board, other):
        assert each.attempt(publisher.site) == "installed 2"
    roll_back(board)
    assert other.status()["rolled_back"] == []
    assert other.attempt("", bundle=publisher.bundle(2)) == "nothing new"
    assert board.attempt("", bundle=publisher.bundle(2)) == "installed 2"


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


def test_two_updates_at_once_do_not_meet(publisher: Any, board: Any) -> None:
    publisher.publish(2)
    with alone(read_place(board.prefix / "current")):
        assert "Another update" in board.attempt(publisher.site)
    assert board.attempt(publisher.site) == "installed 2"


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


def test_the_document_of_status_is_json_with_these_fields(publisher: Any, board: Any) -> None:
    document = json.loads(subprocess.run(board.command("status", "--json"), capture_output=True, text=True).stdout)
    fields = ["name", "release", "id", "previous", "board", "channel", "source", "checked", "newest", "refused"]
    fields += ["rolled_back", "shadow", "last", "note", "updating"]
    assert list(document) == fields
    text = subprocess.run(board.command("status"), capture_output=True, text=True).stdout
    assert "demo: release 1 (" in text


@pytest.mark.parametrize("closed", ["stdout", "stderr"])
def test_an_updater_goes_on_when_the_reader_of_its_output_has_exited(closed: str) -> None:
    """Messages of each further round would end it, too."""
    code = f"""
import sys
from edgepress.runtime.updates import __main__ as updater

def say(args):
    tries.append(args)
    print("news", file=sys.{closed}, flush=True)
    finished.append(args)

tries, finished = [], []
updater._run = say
updater.time.sleep = lambda seconds: len(tries) < 4 or sys.exit(len(finished))
updater.main(["update", "a/b/release", "--every", "1h"])
"""
    reader, writer = os.pipe()
    os.close(reader)
    streams = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE} | {closed: writer}
    done = subprocess.run([sys.executable, "-c", code], text=True, **streams)  # type: ignore[call-overload]
    os.close(writer)
    assert done.returncode == 3, done.stderr
