"""Damage of installed releases: self-tests notice it, and neither rollbacks nor updates switch to it."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import scripts

from edgepress.toolkit.shipping.publishing.publish import withdraw

sys.path.insert(0, str(scripts.ROOT / "benchmarks" / "updates"))
damages = scripts.script("benchmarks/faults/damaged_installs.py")


def in_use(board: Any) -> Path:
    return (board.prefix / "current").resolve()


def drawn(release: Path) -> Any:
    """A drawn damage of a file of a release; its repr is in the message of a test that fails."""
    (damage,) = damages.draw(damages.sizes_of(release), 1, random.Random())
    return damage


def roll_back(board: Any) -> subprocess.CompletedProcess[str]:
    command = ["sh", str(board.prefix / "current" / "install.sh"), "rollback"]
    return subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)


def test_the_self_test_notices_each_damaged_byte(board: Any) -> None:
    release = in_use(board)
    sizes = damages.sizes_of(release)
    assert {"selftest.json", "installed.sha256", "interpreter", "run", "install.sh"} <= set(sizes)
    assert [name for name in sizes if name.endswith(".pyc")], "bytecode counts, too"
    assert damages.unnoticed(release, damages.draw(sizes, 12, random.Random())) == []


@pytest.mark.parametrize("name", ["run", "edgepress/runtime/installed.py"])
def test_what_compares_files_is_compared_itself(board: Any, name: str) -> None:
    release = in_use(board)
    draw = random.Random()
    size = damages.sizes_of(release)[name]
    chosen = [damages.Damage(name, draw.randrange(size), draw.randint(1, 255)) for _ in range(8)]
    assert damages.unnoticed(release, chosen) == []


def test_a_module_that_was_changed_to_pass_everything_is_noticed(board: Any) -> None:
    release = in_use(board)
    module = release / "edgepress" / "runtime" / "installed.py"
    module.write_text(module.read_text().replace("elif damage := damage_of(folder):", "elif False:"))
    done = subprocess.run(["sh", str(release / "run"), "selftest", "--json"], capture_output=True, text=True)
    assert done.returncode != 0
    assert "edgepress/runtime/installed.py" in json.loads(done.stdout)["error"]["message"]


@pytest.mark.parametrize("command", ["status", "selftest", "--help"])
def test_no_command_adds_files_to_the_release(board: Any, command: str) -> None:
    before = {path.name for path in in_use(board).rglob("*")}
    subprocess.run(board.command(command), check=False, capture_output=True)
    assert {path.name for path in in_use(board).rglob("*")} == before


@pytest.mark.parametrize("added", ["numpy.py", "edgepress/runtime/more.py"])
def test_an_added_module_is_noticed_and_named(board: Any, added: str) -> None:
    (in_use(board) / added).touch()
    done = subprocess.run(board.command("selftest"), capture_output=True, text=True)
    assert done.returncode == 1
    assert f"{added} does not belong to it" in done.stderr


def test_a_rollback_stays_where_it_is_if_the_release_before_is_damaged(publisher: Any, board: Any) -> None:
    publisher.publish(2)
    assert board.attempt(publisher.site) == "installed 2"
    former = (board.prefix / "current" / "former").resolve()
    damage = drawn(former)
    with damage.done(former):
        done = roll_back(board)
        assert done.returncode == 1, damage
        assert "fails its self-test" in done.stderr, damage
        assert board.running() == 2, damage
    assert roll_back(board).returncode == 0, damage
    assert board.running() == 1


@pytest.mark.parametrize("by", ["site", "bundle", "install"])
def test_a_damaged_release_in_use_is_installed_again(publisher: Any, board: Any, by: str) -> None:
    damaged = in_use(board)
    (damaged / "model.tflite").write_bytes(b"demo 1\n")
    assert subprocess.run(board.command("selftest"), capture_output=True).returncode == 1
    if by == "install":
        done = board.install(publisher.bundle(1))
        assert "model.tflite differs" in done.stdout
    else:
        options = {"bundle": publisher.bundle(1)} if by == "bundle" else {}
        assert board.attempt(publisher.site, **options) == "installed 1"
    assert damages.complete(in_use(board))
    assert in_use(board) != damaged
    assert not damaged.exists(), "nothing goes back to it"
    assert board.attempt(publisher.site) == "nothing new"


def test_a_damaged_release_in_use_that_is_not_offered_is_an_error_and_a_newer_one_replaces_it(
    publisher: Any, board: Any
) -> None:
    withdraw("demo", 1, publisher.site, keys=publisher.keys)
    (in_use(board) / "README.md").write_bytes(b"")
    said = board.attempt(publisher.site)
    assert "Release 1, which is in use, is damaged: README.md differs." in said
    assert "README.md differs" in board.status()["last"]["message"]
    publisher.publish(2)
    assert board.attempt(publisher.site) == "installed 2"


def test_a_bundle_whose_manifest_is_damaged_is_not_installed(publisher: Any, board: Any, tmp_path: Path) -> None:
    bundle = publisher.bundle(7)
    board.install(bundle)
    manifest = board.unpacked / "demo" / "MANIFEST.json"
    manifest.write_bytes(manifest.read_bytes().replace(b'"release": 7', b'"release": 9'))
    script = [str(board.unpacked / "demo" / "install.sh"), "--prefix", str(tmp_path / "p"), "--python", board.python]
    done = subprocess.run(["sh", *script, "--system"], capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert done.returncode == 1
    assert "MANIFEST.json is damaged" in done.stderr
    assert not (tmp_path / "p" / "current").exists()
