"""`board collect`, with a real OpenSSH server on the loopback device, honest and hostile."""

from __future__ import annotations

import json
import shutil
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sshd import serve

from edgepress.runtime.keeping import ABOUT, MOST_BYTES, NAME, Keeper
from edgepress.runtime.sound.doubt import wav_bytes
from edgepress.toolkit.cli.main import main
from edgepress.toolkit.errors import BoardError, DataError, InputError
from edgepress.toolkit.shipping.boards import collect as module
from edgepress.toolkit.shipping.boards.collect import board_collect, default_folder
from edgepress.toolkit.shipping.boards.ssh import Connection, TooSlowError

OTHER = "20261128T120000000Z-000-0900-0000000a.png"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Any]:
    with serve(tmp_path / "board") as running:
        yield running


@pytest.fixture
def kept(server: Any) -> Path:
    """Twelve pictures that a board has kept."""
    folder: Path = server.folder / "home" / "kept"
    keeper = Keeper(folder, 20, labels=("cat", "dog"), model="m", prepare=lambda path: np.zeros((8, 8, 1)), seed=0)
    for seed in range(12):
        item = np.random.default_rng(seed).integers(0, 256, (8, 8, 1)).astype(np.uint8)
        keeper.look(item, item, np.array([0.3, 0.7], np.float32))
    keeper._lock.close()
    return folder


def pictures(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in folder.rglob("*") if NAME.fullmatch(p.name)}


def test_pictures_are_fetched_once_even_if_they_were_moved(server: Any, kept: Path, tmp_path: Path) -> None:
    out, shares = tmp_path / "out", list[float]()
    found = board_collect("board", out=out, ssh_config=server.config, on_progress=shares.append)
    assert (found.fetched, found.known, found.skipped) == (12, 0, ())
    assert pictures(out) == pictures(kept)
    assert shares[-1] == 1
    names = sorted(pictures(out))
    (out / "dog").mkdir()
    (out / names[0]).rename(out / "dog" / names[0])
    (out / names[1]).unlink()
    found = board_collect("board", out=out, ssh_config=server.config)
    assert (found.fetched, found.known) == (1, 11)
    assert len(pictures(out)) == 12
    assert json.loads((out / ABOUT).read_text())["labels"] == ["cat", "dog"]


def test_the_command_says_what_comes_next(server: Any, kept: Path, tmp_path: Path, capsys: Any) -> None:
    assert len(pictures(kept)) == 12
    command = ["board", "collect", "board", "--out", str(tmp_path / "out"), "--ssh-config", str(server.config)]
    with pytest.raises(SystemExit) as ended:
        main(command)
    assert ended.value.code == 0
    text = capsys.readouterr().out
    assert "12 new files in" in text
    assert "edgepress label" in text
    with pytest.raises(SystemExit):
        main([*command, "--json"])
    assert json.loads(capsys.readouterr().out) == {
        "folder": str(tmp_path / "out"), "fetched": 0, "known": 12, "skipped": []
    }  # fmt: skip


def test_a_folder_that_is_not_there_is_named(server: Any, tmp_path: Path) -> None:
    with pytest.raises(BoardError, match="no kept pictures or recordings in nowhere") as caught:
        board_collect("board", folder="nowhere", out=tmp_path / "out", ssh_config=server.config)
    assert "--folder" in caught.value.hint
    assert not (tmp_path / "out").exists()


def test_pictures_of_another_model_are_refused(server: Any, kept: Path, tmp_path: Path) -> None:
    shutil.copytree(kept, tmp_path / "out")
    (tmp_path / "out" / ABOUT).write_text('{"labels": ["x"], "model": "n"}')
    with pytest.raises(InputError, match="other labels"):
        board_collect("board", out=tmp_path / "out", ssh_config=server.config)


def test_a_hostile_board_writes_nothing_else(server: Any, kept: Path, tmp_path: Path) -> None:
    """Names that lead elsewhere, too large files, files that are none, and links."""
    for name in ("../escape.png", "a.png", "-rf", ".bashrc"):
        (kept / name).write_bytes(b"x")
    made = sorted(pictures(kept))
    (kept / made[0]).write_bytes(b"\x89PNG" + bytes(MOST_BYTES))
    (kept / made[1]).write_bytes(b"#!/bin/sh")
    (kept / made[2]).unlink()
    (kept / made[2]).symlink_to("/dev/zero")
    (kept / OTHER).mkdir()
    before = {*tmp_path.iterdir()}
    found = board_collect("board", out=tmp_path / "out", ssh_config=server.config)
    assert found.fetched == 9
    reasons = dict(found.skipped)
    assert reasons.keys() == {*made[:3], OTHER}
    assert f"more than {MOST_BYTES} bytes" in reasons[made[0]]
    assert "no PNG file" in reasons[made[1]]
    assert f"more than {MOST_BYTES} bytes" in reasons[made[2]]
    assert {*tmp_path.iterdir()} == {*before, tmp_path / "out"}
    assert {p.name for p in (tmp_path / "out").iterdir()} == {ABOUT, *made[3:]}


def test_recordings_are_fetched_and_damaged_ones_named(server: Any, tmp_path: Path) -> None:
    folder = server.folder / "home" / "kept"
    keeper = Keeper(folder, 20, labels=("go", "background"), model="m", prepare=None, seed=0)
    whole = wav_bytes(np.random.default_rng(0).integers(-999, 999, 32000).astype(np.int16), 16000)
    huge = whole[:40] + (0x7FFE0000).to_bytes(4, "little") + whole[44:]
    damaged = (whole[:-9000], huge, b"RIFF", b"<script>", whole + bytes(MOST_BYTES))
    for content in (whole, *damaged):
        keeper.keep(lambda content=content: (".wav", content), 0, 0.5)  # type: ignore[misc]
    keeper._lock.close()
    (folder / "-rf.wav").write_bytes(whole)
    found = board_collect("board", out=tmp_path / "out", ssh_config=server.config)
    assert (found.fetched, len(found.skipped)) == (1, len(damaged))
    assert [path.read_bytes() for path in (tmp_path / "out").glob("*.wav")] == [whole]
    reasons = " ".join(reason for _, reason in found.skipped)
    assert "cut off" in reasons
    assert "no WAV file" in reasons
    assert f"more than {MOST_BYTES} bytes" in reasons


@pytest.mark.parametrize("about", [b"[]", b"{}", b'{"labels": ["a", "a"], "model": "m"}', b"[" * 9999])
def test_a_damaged_description_is_told(about: bytes, server: Any, kept: Path, tmp_path: Path) -> None:
    (kept / ABOUT).write_bytes(about)
    with pytest.raises(DataError, match="is damaged"):
        board_collect("board", out=tmp_path / "out", ssh_config=server.config)


def test_a_board_that_never_ends_is_cut_off(server: Any, kept: Path, tmp_path: Path) -> None:
    assert kept.is_dir()
    path = server.folder / "bin" / "ls"
    path.write_text("#!/bin/sh\nexec yes\n")
    path.chmod(0o755)
    with pytest.raises(BoardError, match="wrote more than 1048576 bytes"):
        board_collect("board", out=tmp_path / "out", ssh_config=server.config)


@pytest.mark.parametrize(("slow", "ends"), [((0, 1, 3, 4), False), ((4, 5, 6), True)])
def test_a_board_that_does_not_answer_any_more_ends_it(
    slow: tuple[int, ...], ends: bool, server: Any, kept: Path, tmp_path: Path, monkeypatch: Any
) -> None:
    fetch, names = Connection.fetch, sorted(pictures(kept))

    def fetched(self: Connection, command: list[str], **more: Any) -> bytes:
        if command[-1] in [names[n] for n in slow]:
            raise TooSlowError("cat took more than 60 s on board.")
        return fetch(self, command, **more)

    monkeypatch.setattr(Connection, "fetch", fetched)
    if ends:
        with pytest.raises(BoardError, match="3 files in a row") as caught:
            board_collect("board", out=tmp_path / "out", ssh_config=server.config)
        assert "it goes on" in caught.value.hint
        assert sorted(pictures(tmp_path / "out")) == names[:4]
    else:
        found = board_collect("board", out=tmp_path / "out", ssh_config=server.config)
        assert (found.fetched, len(found.skipped)) == (8, 4)


@pytest.mark.parametrize(("left_out", "enough"), [(0, True), (1, False)])
def test_256_mib_stay_free_on_the_disk(
    server: Any, kept: Path, tmp_path: Path, monkeypatch: Any, left_out: int, *, enough: bool
) -> None:
    assert kept.is_dir()
    usage = types.SimpleNamespace(free=256 * 1024**2 - left_out)
    monkeypatch.setattr(module, "shutil", types.SimpleNamespace(disk_usage=lambda folder: usage))
    if enough:
        assert board_collect("board", out=tmp_path / "out", ssh_config=server.config).fetched == 12
    else:
        with pytest.raises(InputError, match="has less than 256 MiB free") as caught:
            board_collect("board", out=tmp_path / "out", ssh_config=server.config)
        assert "it goes on" in caught.value.hint


@pytest.mark.parametrize(
    ("host", "name"),
    [("pi@kitchen", "kitchen"), ("ssh://pi@a.b:22", "a-b-22"), ("..", ""), ("[fe80::1%eth0]", "fe80-1-eth0")],
)
def test_the_folder_is_named_after_the_host(host: str, name: str) -> None:
    assert default_folder(host) == Path("collected") / name
