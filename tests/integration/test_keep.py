"""`--keep` of the board's commands: what they keep, print and refuse."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from serving import Running

from edgepress.runtime import frames, load
from edgepress.runtime.__main__ import main as board
from edgepress.runtime.keeping import ABOUT, NAME


def show(monkeypatch: Any, *shown: Any) -> None:
    """Let the camera deliver these frames, none of which is dropped, and end."""
    monkeypatch.setattr(frames, "camera_frames", lambda device: iter(shown))
    monkeypatch.setattr(frames, "newest", lambda given: given)


def kept(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if NAME.fullmatch(path.name))


def test_a_camera_keeps_its_scenes_within_the_quota(
    run: Any, digits: Any, tmp_path: Path, monkeypatch: Any, capsys: Any
) -> None:
    items = digits.test.read(slice(0, 60))
    show(monkeypatch, *items.repeat(3, axis=0))
    command = ["camera", str(run.variants["tflite-int8"]), "--keep", str(tmp_path), "--quota", "20", "--json"]
    assert board(command) == 0
    answers = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(answers) == 180
    assert len(kept(tmp_path)) == 20
    assert json.loads((tmp_path / ABOUT).read_text())["labels"] == [*digits.labels]
    classes = {path.name.split("-")[1] for path in kept(tmp_path)}
    assert len(classes) == 10


def test_watch_does_not_keep_where_it_watches(run: Any, tmp_path: Path, capsys: Any) -> None:
    command = ["watch", str(run.variants["tflite-int8"]), str(tmp_path), "--keep", str(tmp_path / ".." / tmp_path.name)]
    assert board(command) == 1
    assert "which is watched" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("watch", "none"), "none can't be watched"),
        (("watch", ".", "--average", "0"), "accepted: 1 to"),
        (("watch", ".", "--mqtt", "127.0.0.1", "--mqtt-topic", "#"), "can't begin a topic"),
        (("camera", "--device", "99"), "amera"),
    ],
)
def test_a_refused_command_leaves_nothing(
    run: Any, tmp_path: Path, capsys: Any, monkeypatch: Any, words: tuple[str, ...], says: str
) -> None:
    monkeypatch.chdir(tmp_path)
    name, *others = words
    assert board([name, str(run.variants["tflite-int8"]), *others, "--keep", "new/kept"]) == 1
    assert says in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_wrong_options_are_named(run: Any, tmp_path: Path, capsys: Any, monkeypatch: Any) -> None:
    model = str(run.variants["tflite-int8"])
    with pytest.raises(SystemExit):
        board(["camera", model, "--quota", "3"])
    assert "--quota is for --keep" in capsys.readouterr().err
    show(monkeypatch, np.zeros((28, 28, 3), np.uint8))
    assert board(["camera", model, "--keep", str(tmp_path), "--quota", "0"]) == 1
    assert "accepted: 1 to 10000" in capsys.readouterr().err
    (tmp_path / "file").touch()
    assert board(["camera", model, "--keep", str(tmp_path / "file")]) == 1
    assert "Give --keep a folder that you can write." in capsys.readouterr().err


def test_the_time_of_an_answer_is_that_without_keeping(run: Any, digits: Any, tmp_path: Path, monkeypatch: Any) -> None:
    model = load(run.variants["tflite-int8"])
    model.keep_pictures(tmp_path)
    assert model.keeper is not None
    seen, item = list[Any](), digits.test.read(slice(0, 1))[0]
    model.judge_in(item)

    def slowly(*given: Any) -> None:
        time.sleep(0.5)
        seen.append(given)

    monkeypatch.setattr(model.keeper, "look", slowly)
    assert model.judge_in(item)[1] < 500
    assert len(seen) == 1


def test_serve_keeps_what_it_is_sent_and_says_so(run: Any, digits: Any, tmp_path: Path, pictures: Path) -> None:
    server = Running(run.variants["tflite-int8"], "--keep", str(tmp_path / "kept"))
    try:
        assert server.ask("GET", "/ready")[1]["keeps_pictures"] is True
        for body in [(pictures / "a.png").read_bytes(), (pictures / "b.npy").read_bytes(), b"no image"]:
            server.ask("POST", "/classify", body)
        assert len(kept(tmp_path / "kept")) == 2
    finally:
        server.end()
