"""`board push` and `board fleet`: bundles are installed over ssh on boards that lack them; failures stop a fleet."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import scripts

from edgepress.toolkit.cli.app import run
from edgepress.toolkit.errors import BoardError, BundleError, InputError
from edgepress.toolkit.shipping.boards import fleet as fleets
from edgepress.toolkit.shipping.boards import ssh
from edgepress.toolkit.shipping.boards.fleet import fleet, read_hosts
from edgepress.toolkit.shipping.boards.options import InstallArguments
from edgepress.toolkit.shipping.boards.push import Pushed, checked_bundle, push
from edgepress.toolkit.shipping.bundles.archive import sign

sys.path.insert(0, str(scripts.ROOT / "benchmarks" / "updates"))
simulated = scripts.script("benchmarks/updates/simulated.py")
LIMITS = {"frames": 20, "max_slowdown": 3.0}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with importlib.import_module("sshd").serve(tmp_path_factory.mktemp("ssh")) as running:
        yield running


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Makes the bundle of a release, once."""
    publisher = simulated.Publisher(tmp_path_factory.mktemp("publisher"))
    made: dict[str, Path] = {}

    def make(release: int, **more: Any) -> Path:
        name = f"{release} {more}"
        if name not in made:
            made[name] = publisher.bundle(release, shadow=LIMITS, **more).rename(publisher.folder / f"{len(made)}.zip")
        return made[name]

    return make


@pytest.fixture
def how(server: Any, tmp_path: Path) -> InstallArguments:
    return {"prefix": str(tmp_path / "prefix"), "python": sys.executable, "ssh_config": server.config}


def code(*words: object) -> int:
    """The exit code of a command."""
    with pytest.raises(SystemExit) as ended:
        run(["board", *map(str, words)])
    return int(str(ended.value.code))


def current(how: InstallArguments) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(Path(how["prefix"], "current", "MANIFEST.json").read_bytes())
    return found


def test_a_bundle_is_installed_then_updated_and_then_there_is_nothing_to_do(
    bundles: Callable[..., Path], how: InstallArguments, server: Any
) -> None:
    steps: list[str] = []
    first = push("board", bundles(1), on_step=steps.append, **how)
    assert (first.state, first.before, first.after) == ("installed", None, 1)
    assert [step for step in steps if "install" in step]
    second = push("board", bundles(2), **how)
    assert (second.state, second.before, second.after) == ("installed", 1, 2)
    state = json.loads(Path(how["prefix"], "updates", "state.json").read_bytes())
    assert (state["shadow"]["release"], state["shadow"]["frames"]) == (2, 20)
    again = push("board", bundles(2), **how)
    assert (again.state, again.before, again.after) == ("up to date", 2, 2)
    assert list((server.folder / "home" / ".cache" / "edgepress").iterdir()) == []


def test_a_bundle_that_is_replaced_after_its_verification_is_not_installed(
    bundles: Callable[..., Path], how: InstallArguments, tmp_path: Path
) -> None:
    bundle = tmp_path / "mine.zip"
    bundle.write_bytes(bundles(1).read_bytes())

    def replace(text: str) -> None:
        if "connecting" in text:
            bundle.write_bytes(bundles(2).read_bytes())

    assert push("board", bundle, on_step=replace, **how).after == 1
    assert current(how)["release"] == 1
    bundle.write_bytes(bundles(1).read_bytes())
    result = fleet(["board"], bundle, on_step=replace, **{**how, "prefix": f"{how['prefix']}2"})
    assert (result.boards[0].after, result.bundle.path) == (1, bundle)


def test_a_signed_bundle_is_verified_as_the_copy_that_is_pushed(
    bundles: Callable[..., Path], server: Any, tmp_path: Path
) -> None:
    bundle, key = tmp_path / "mine.zip", server.folder / "keys" / "user"
    bundle.write_bytes(bundles(1).read_bytes())
    (tmp_path / "mine.zip.sig").write_bytes(sign(bundle, key))
    with checked_bundle(bundle, key.with_suffix(".pub")) as found:
        bundle.write_bytes(b"")
        assert found.signer
        assert found.path.read_bytes() == bundles(1).read_bytes()
        assert found.path.parent != tmp_path
    assert not found.path.exists()


def test_a_relative_prefix_is_below_the_home_on_the_board(
    bundles: Callable[..., Path], how: InstallArguments, server: Any
) -> None:
    relative: InstallArguments = {**how, "prefix": "below/here"}
    assert push("board", bundles(1), **relative).state == "installed"
    assert (server.folder / "home" / "below" / "here" / "current" / "model.tflite").exists()
    assert push("board", bundles(1), **relative).state == "up to date"
    assert push("board", bundles(2), **relative).after == 2


def test_a_board_that_writes_without_end_is_one_that_failed(server: Any) -> None:
    with ssh.Connection("board", config=server.config) as board:
        for target in ("1", "2"):
            with pytest.raises(BoardError, match="wrote more than 1048576 bytes"):
                board.run(["sh", "-c", f"yes >&{target}"])
        with pytest.raises(BoardError, match=r"took more than 0\.5 s"):
            board.run(["sleep", "5"], timeout_s=0.5)
        assert board.run(["cat"], stdin=b"x" * 500_000) == b"x" * 500_000
        assert len(board.run(["head", "-c", "2000000", "/dev/zero"], most=2_000_000)) == 2_000_000


def test_what_this_machine_refuses_fails_one_board_and_not_the_fleet(
    bundles: Callable[..., Path], how: InstallArguments, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(ssh.Connection, "send", full)
    result = fleet(["board", "kitchen"], bundles(1), jobs=1, max_failures=5, **how)
    assert result.counts == {"failed": 2}
    assert "No space left" in str(result.boards[0].error)


WORSE = {
    "self-test": ({"broken": True}, "fails its self-test"),
    "slower": ({"how": simulated.How(us=4000)}, "times as long as the release in use"),
    "older": (None, "Release 1 is older than release 2"),
}


@pytest.mark.parametrize("name", WORSE)
def test_a_release_that_is_worse_is_refused_and_the_former_one_goes_on(
    name: str, bundles: Callable[..., Path], how: InstallArguments
) -> None:
    push("board", bundles(2), **how)
    before = current(how)["id"]
    more, words = WORSE[name]
    with pytest.raises(BoardError, match=words):
        push("board", bundles(1 if more is None else 3, **(more or {})), **how)
    assert current(how)["id"] == before
    if more is not None:
        with pytest.raises(BoardError, match="was refused before"):
            push("board", bundles(3, **more), **how)


def test_what_can_not_be_pushed_is_one_error(
    bundles: Callable[..., Path], how: InstallArguments, tmp_path: Path, server: Any
) -> None:
    with pytest.raises(InputError, match="does not exist"):
        push("board", tmp_path / "missing.zip", **how)
    with pytest.raises(InputError, match="is not a host"):
        push("-oProxyCommand=x", bundles(1), **how)
    with pytest.raises(BoardError, match="can't be reached"):
        push("denied", bundles(1), **how)
    (tmp_path / "bad.zip").write_bytes(bundles(1).read_bytes()[:-10])
    with pytest.raises(BundleError):
        push("board", tmp_path / "bad.zip", **how)
    (tmp_path / "key.pub").write_text("ssh-ed25519 AAAA me\n")
    with pytest.raises(BundleError, match="has no signature"):
        push("board", bundles(1), key=tmp_path / "key.pub", **how)
    assert not Path(how["prefix"]).exists()


def test_a_fleet_is_served_in_its_order_and_can_be_called_again(
    bundles: Callable[..., Path], how: InstallArguments, server: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hosts = tmp_path / "boards.txt"
    hosts.write_text("# all boards\nboard\ndenied # this one fails\nkitchen\n")
    words = [str(bundles(1)), "--prefix", how["prefix"], "--python", sys.executable, "--ssh-config", str(server.config)]
    assert code("fleet", str(hosts), *words, "--jobs", "1") == 4
    shown = capsys.readouterr()
    assert "1 installed, 1 failed, 1 not tried" in shown.out
    assert "ssh-copy-id denied" in " ".join(shown.out.split())
    assert run(["board", "fleet", str(hosts), *words, "--jobs", "2", "--max-failures", "2", "--json"]) == 4
    document = json.loads(capsys.readouterr().out)
    assert [board["state"] for board in document["boards"]] == ["up to date", "failed", "up to date"]
    assert document["counts"] == {"up to date": 2, "failed": 1}
    assert document["boards"][1]["error"]["kind"] == "board"
    hosts.write_text("board\n")
    assert code("fleet", str(hosts), *words) == 0
    assert code("push", "board", *words) == 0
    assert "has this release already" in capsys.readouterr().out
    hosts.write_text("denied\n")
    assert code("fleet", str(hosts), *words) == 1


def test_no_further_board_begins_after_the_failures(
    bundles: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[str] = []

    def pretend(host: str, *_: Any) -> Pushed:
        begun.append(host)
        failed = host.startswith("bad")
        return Pushed(host, "failed", error=BoardError("no")) if failed else Pushed(host, "installed", 1, 2)

    monkeypatch.setattr(fleets, "push_verified", pretend)
    result = fleet(["a", "bad1", "b", "bad2", "c", "d"], bundles(1), jobs=1, max_failures=2)
    assert begun == ["a", "bad1", "b", "bad2"]
    assert result.counts == {"installed": 2, "failed": 2, "not tried": 2}
    assert len(fleet([f"b{n}" for n in range(300)], bundles(1), jobs=50).boards) == 300
    for wrong in ({"jobs": 0}, {"max_failures": 0}):
        with pytest.raises(InputError, match="accepted: 1 or more"):
            fleet(["a"], bundles(1), **wrong)


def test_files_of_boards(tmp_path: Path) -> None:
    text, toml = tmp_path / "boards", tmp_path / "boards.toml"
    text.write_text("\n# a comment\n pi@a \npi@b#here\r\npi@a\nssh://c:22\n")
    assert read_hosts(text) == ["pi@a", "pi@b", "ssh://c:22"]
    toml.write_text('hosts = ["pi@a", "pi@b"]\n')
    assert read_hosts(toml) == ["pi@a", "pi@b"]
    for path, content in (
        (text, b""),
        (text, b"# none\n"),
        (text, b"a b\n"),
        (text, b"-oProxyCommand=x\n"),
        (text, b"\xff\n"),
        (text, b"a\n" * 600_000),
        (toml, b"hosts = 3"),
        (toml, b'boards = ["a"]'),
        (toml, b'hosts = ["a"]\nmore = 1'),
        (toml, b"hosts = [["),
        (toml, b"hosts = []"),
    ):
        path.write_bytes(content)
        with pytest.raises(InputError):
            read_hosts(path)
    with pytest.raises(InputError, match="does not exist"):
        read_hosts(tmp_path)
