"""Where updates come from: transfers that break, and folders whose keys were stolen, replaced or lost."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import scripts
from tuf.api.metadata import Metadata, Root, TargetFile

from edgepress.runtime.errors import UpdateError
from edgepress.runtime.updates import roots, transfer
from edgepress.runtime.updates.confirm import is_running
from edgepress.runtime.updates.installer import VerdictError, read_bundle
from edgepress.runtime.updates.place import board_id, read_place
from edgepress.runtime.updates.roots import accept_roots
from edgepress.runtime.updates.state import read_state
from edgepress.toolkit.shipping.bundles.verify import verify
from edgepress.toolkit.shipping.published.folder import read_repository
from edgepress.toolkit.shipping.publishing.publish import publish
from edgepress.toolkit.shipping.publishing.repository import Signers, add_target, utc_now, write_root, write_state
from edgepress.toolkit.shipping.publishing.start import role_signers, rotate

sys.path.insert(0, str(scripts.ROOT / "benchmarks" / "updates"))
attacks = scripts.script("benchmarks/updates/attacks.py")
simulated = sys.modules["simulated"]


@pytest.mark.slow
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
        transfer.download(transfer.UpdateSource(address), f"{address}/b.zip", target, part)
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


def forged_root(publisher: Any, tmp_path: Path) -> Path:
    """An attacker's folder whose second root is signed by the first, stolen key; afterwards that key is replaced."""
    stolen = role_signers(read_repository(publisher.site, publisher.keys), "root", None)
    attacker = simulated.Publisher(tmp_path / "attacker")
    own = role_signers(read_repository(attacker.site, attacker.keys), "root", None)
    forged = Metadata[Root].from_file(str(attacker.site / "metadata" / "1.root.json"))
    forged.signed.version = 2
    forged.signatures.clear()
    for signer in [*stolen, *own]:
        forged.sign(signer, append=True)
    rotate(publisher.site, [publisher.keys], role="root")
    write_root(attacker.site, forged)
    attacker.publish(9)
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


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("metadata/timestamp.json", "pipe"),
        ("metadata/root.json", "folder"),
        ("metadata/root_history/1.root.json", "pipe"),
        ("metadata/root_history", "file"),
        ("metadata", "file"),
        ("metadata/tmp1", "folder"),
        ("releases.json", "pipe"),
    ],
)
def test_what_a_damaged_disk_has_made_of_lists_is_replaced(publisher: Any, board: Any, name: str, kind: str) -> None:
    assert board.attempt(publisher.site) == "nothing new"
    path = board.prefix / "updates" / name
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        (path / "inside").mkdir(parents=True)
    else:
        path.write_text("")
    publisher.publish(2)
    assert board.attempt(publisher.site) == "installed 2"


@pytest.mark.parametrize("name", ["updates/state.json", "current/MANIFEST.json", "current/updates/root.json"])
def test_a_pipe_in_place_of_a_file_is_one_message(publisher: Any, board: Any, name: str, tmp_path: Path) -> None:
    (board.prefix / name).unlink(missing_ok=True)
    os.mkfifo(board.prefix / name)
    done = subprocess.run(board.command("update", "--from", publisher.site), capture_output=True, text=True, timeout=20)
    assert (done.returncode, done.stderr.count("Error: ")) == (1, 1)
    assert "is a pipe, a socket or a device, not a regular file" in done.stderr


def test_pipes_keep_no_status_no_id_and_no_bundle_waiting(board: Any, tmp_path: Path) -> None:
    place = read_place(board.prefix / "current")
    for name in (".lock", "board-id"):
        (place.updates / name).unlink(missing_ok=True)
        place.updates.mkdir(exist_ok=True)
        os.mkfifo(place.updates / name)
    assert is_running(place) is False
    assert re.fullmatch("[0-9a-f]{32}", board_id(place))
    with pytest.raises(UpdateError, match="pipe"):
        read_bundle(place.updates / "board-id", place)


def test_the_lists_are_flushed_before_their_roots_are_remembered(
    publisher: Any, board: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushed: list[str] = []
    real = os.fsync

    def fsync(descriptor: int) -> None:
        flushed.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        real(descriptor)

    assert board.attempt(publisher.site) == "nothing new"
    rotate(publisher.site, [publisher.keys], role="root")
    monkeypatch.setattr(os, "fsync", fsync)
    assert board.attempt(publisher.site) == "nothing new"
    metadata = board.prefix / "updates" / "metadata"
    state = next(at for at, path in enumerate(flushed) if "state.json" in path)
    kept = {str(path) for path in [metadata, *metadata.rglob("*")] if not path.is_symlink()}
    assert kept <= set(flushed[:state])
    assert set(read_state(board.prefix / "updates").roots) == {"1", "2"}


@pytest.mark.parametrize("by", ["install.sh", "run update"])
def test_a_bundle_of_another_folder_is_installed_by_hand_only_with_the_hash_of_its_keys(
    publisher: Any, board: Any, tmp_path: Path, by: str
) -> None:
    """All root keys were lost, so the publisher began another folder."""
    rotate(publisher.site, [publisher.keys], role="root")
    assert board.attempt(publisher.site) == "nothing new"
    anew = simulated.Publisher(tmp_path / "anew")
    anew.publish(2)
    root = (anew.site / "metadata" / "1.root.json").read_bytes()
    sha256 = hashlib.sha256(root).hexdigest()

    def install(*words: str) -> tuple[int, str]:
        if by == "install.sh":
            done = board.install(anew.bundle(2), "install", *words)
        else:
            command = board.command("update", "--bundle", str(anew.bundle(2)), *words)
            done = subprocess.run(command, capture_output=True, text=True)
        return done.returncode, done.stderr

    for words in ([], ["--trust-keys", "0" * 64]):
        code, said = install(*words)
        assert code == 1
        assert "the bundle trusts other keys than this board: version 1 until " in said
        assert f"--trust-keys {sha256}" in said
        assert board.running() == 1
        assert "Refused (arbitrary software)" in board.attempt(anew.site)
        assert board.attempt(publisher.site) == "nothing new"
    code, said = install("--trust-keys", sha256)
    assert (code, board.running()) == (0, 2), said
    assert board.attempt(anew.site) == "nothing new"
    anew.publish(3)
    assert board.attempt(anew.site) == "installed 3"
    assert "Refused (arbitrary software)" in board.attempt(publisher.site)


def test_other_keys_are_trusted_only_with_their_release(publisher: Any, board: Any, tmp_path: Path) -> None:
    """A release that fails its self-test leaves the board with the keys that it had."""
    anew = simulated.Publisher(tmp_path / "anew")
    broken = anew.bundle(2, broken=True)
    sha256 = hashlib.sha256((anew.site / "metadata" / "1.root.json").read_bytes()).hexdigest()
    command = board.command("update", "--bundle", str(broken), "--trust-keys", sha256)
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, board.running()) == (1, 1), done.stderr
    assert "Refused (arbitrary software)" in board.attempt(anew.site)
    publisher.publish(2)
    assert board.attempt(publisher.site) == "installed 2"


def test_earlier_roots_of_a_bundle_count_only_if_they_lead_to_its_root(publisher: Any, tmp_path: Path) -> None:
    rotate(publisher.site, [publisher.keys], role="root")
    first, second = ((publisher.site / "metadata" / f"{version}.root.json").read_bytes() for version in (1, 2))
    assert roots._chain([first, second]) == {"1": first, "2": second}
    foreign = (simulated.Publisher(tmp_path / "foreign").site / "metadata" / "1.root.json").read_bytes()
    assert roots._chain([foreign, second]) == {"2": second}
    assert roots._chain([second, first]) == {"1": first}
    targets = next((publisher.site / "metadata").glob("*.targets.json")).read_bytes()
    with pytest.raises(UpdateError, match="role targets"):
        roots._parse(targets)


def test_a_bundle_of_stolen_keys_does_not_bring_its_own_root(publisher: Any, board: Any, tmp_path: Path) -> None:
    """A rotation cures the theft of the keys of targets and online, also on boards that were offered the bundle."""
    attacker = simulated.Publisher(tmp_path / "attacker")
    evil = attacker.bundle(9)
    mirror = publisher.copy("mirror")
    keys = tmp_path / "attacker's keys"
    shutil.copytree(publisher.keys, keys)
    repository = read_repository(mirror, keys)
    signers = Signers(*(role_signers(repository, role, None) for role in ("targets", "online")))
    (former,) = repository.releases["demo"].releases
    entry = dataclasses.replace(former, release=9, id=verify(evil).manifest.id, target="demo/evil.zip")
    listed = dataclasses.replace(repository.releases["demo"], releases=(entry,))
    files = {
        "demo/evil.zip": add_target(mirror, "demo/evil.zip", evil),
        "demo/releases.json": add_target(mirror, "demo/releases.json", listed.to_bytes()),
    }
    write_state(repository, signers, files=files, now=utc_now())
    assert "Refused (arbitrary software): the bundle trusts other keys than this board" in board.attempt(mirror)
    assert board.running() == 1
    assert not list((board.prefix / "releases").glob(f"{entry.id[:12]}*"))  # no code of it has run
    for role in ("targets", "online"):
        rotate(publisher.site, [publisher.keys], role=role)  # type: ignore[arg-type]
    publisher.publish(10)
    assert board.attempt(publisher.site) == "installed 10"
    assert "Refused" in board.attempt(mirror)
    attacker.publish(11)
    assert "Refused" in board.attempt(attacker.site)


@pytest.mark.parametrize("role", ["root", "none", "targets"])
def test_a_bundle_given_by_hand_follows_the_chain_of_roots(publisher: Any, board: Any, role: Any) -> None:
    """A board that never sees the published folder takes new keys with a bundle that has the chain to them."""
    for _ in range(3):
        rotate(publisher.site, [publisher.keys], role=role)
    done = subprocess.run(board.command("update", "--bundle", str(publisher.bundle(2))), capture_output=True, text=True)
    assert (done.returncode, board.running()) == (0, 2), done.stderr
    assert set(read_state(board.prefix / "updates").roots) == {"1", "2", "3", "4"}
    assert board.attempt(publisher.site) == "nothing new"


def test_a_root_in_a_bundle_counts_only_with_the_roots_between(publisher: Any, board: Any, tmp_path: Path) -> None:
    """A forged link, a gap, and a root of a seen version with other bytes."""
    evil = forged_root(publisher, tmp_path)  # root 2 of the attacker, signed by the stolen key of root 1
    assert board.attempt(publisher.site) == "nothing new"  # the board has the publisher's root 2
    place = read_place(board.prefix / "current")
    state = read_state(place.updates)
    assert set(state.roots) == {"1", "2"}
    for _ in range(2):
        rotate(publisher.site, [publisher.keys], role="root")
    sound = [publisher.site / "metadata" / f"{version}.root.json" for version in range(1, 5)]
    forged = evil / "metadata" / "2.root.json"
    chains = {
        "gap": [sound[0], sound[1], sound[3]],
        "no chain": [sound[3]],
        "forged": [forged],
        "unsigned": [sound[0], sound[1], evil / "metadata" / "1.root.json"],
        "forged link": [sound[0], forged, sound[2]],
    }
    for name, chain in chains.items():
        folder = tmp_path / name
        (folder / "updates" / "roots").mkdir(parents=True)
        for number, path in enumerate(chain[:-1], 1):
            shutil.copy(path, folder / "updates" / "roots" / f"{number}.root.json")
        shutil.copy(chain[-1], folder / "updates" / "root.json")
        if name == "forged link":  # root 3 follows root 2 that the board has; the forged one is only in the way
            assert set(accept_roots(place, folder, state, None).roots) == {"1", "2", "3"}
            continue
        for trusted, error in ((None, VerdictError), ("", UpdateError)):
            with pytest.raises(error, match="the bundle trusts other keys than this board"):
                accept_roots(place, folder, state, trusted)
        assert read_state(place.updates) == state
