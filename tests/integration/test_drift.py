"""`--drift` of the board's commands: what they print and serve when images change."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from serving import Running

from edgepress.runtime import frames, load
from edgepress.runtime.__main__ import main as board
from edgepress.toolkit import calibrate


@pytest.fixture(scope="module")
def calibrated(run: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("calibrated")
    (result,) = calibrate(run.variants["tflite-int8"], max_rejected="10%", out=folder)
    assert result.path is not None
    assert result.fit.drift is not None
    assert sum(result.fit.drift.counts) == result.fit.items
    return result.path


def show(monkeypatch: Any, *shown: Any) -> None:
    """Let the camera deliver these frames, none of which is dropped, and end."""
    monkeypatch.setattr(frames, "camera_frames", lambda device: iter(shown))
    monkeypatch.setattr(frames, "newest", lambda given: given)


def test_a_camera_tells_once_that_images_changed(calibrated: Path, digits: Any, monkeypatch: Any, capsys: Any) -> None:
    known = digits.test.read(slice(0, 120))
    show(monkeypatch, *known, *np.random.default_rng(0).integers(0, 256, (60, *known.shape[1:])).astype(np.uint8))
    assert board(["camera", str(calibrated), "--drift", "--json"]) == 0
    captured = capsys.readouterr()
    lines = [json.loads(line) for line in captured.out.splitlines()]
    states = [line["drift"] for line in lines]
    assert [line["promised"] for line in lines] == [not state["alarm"] for state in states]
    assert [state["alarm"] for state in states[:120]] == [False] * 120
    assert states[-1]["alarm"]
    assert states[-1]["meaning"].startswith("Drift: after ")
    assert captured.err.count("nothing is promised of accepted answers") == 1
    assert states[-1]["meaning"] in captured.err
    assert "the reference of calibration" in captured.err


def test_text_says_drift_before_each_answer(calibrated: Path, digits: Any, monkeypatch: Any, capsys: Any) -> None:
    shape = digits.test.read(slice(0, 1)).shape[1:]
    show(monkeypatch, *np.random.default_rng(0).integers(0, 256, (80, *shape)).astype(np.uint8))
    assert board(["camera", str(calibrated), "--drift"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "drift: " not in lines[0]
    assert ": drift: " in lines[-1]


def test_a_reference_is_learned_from_the_first_scenes(run: Any, digits: Any, monkeypatch: Any, capsys: Any) -> None:
    """A file that isn't calibrated has no reference; frames of one scene do not make one."""
    items = digits.test.read(slice(0, 150))
    show(monkeypatch, *items.repeat(2, axis=0))
    assert board(["camera", str(run.variants["onnx-int8"]), "--drift", "--reference", "100", "--json"]) == 0
    states = [json.loads(line)["drift"] for line in capsys.readouterr().out.splitlines()]
    assert states[1] == {"counted": 1, "scenes": 1, "learns_from": 100, "alarm": False}
    assert states[-1]["scenes"] == pytest.approx(50, abs=2)
    assert not states[-1]["alarm"]


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--drift"], 1, "holds no reference for drift"),
        (["--drift", "--reference", "99"], 1, "The reference is of 99 items; accepted: 100 to 100000."),
        (["--reference", "300"], 2, "--reference is for --drift"),
    ],
)
def test_what_lacks_a_reference_is_an_error(
    options: list[str], code: int, message: str, run: Any, monkeypatch: Any, capsys: Any
) -> None:
    show(monkeypatch)
    try:
        found = board(["camera", str(run.variants["tflite-int8"]), *options])
    except SystemExit as ended:
        found = int(ended.code or 0)
    assert found == code
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.out == ""


def test_answers_over_http_have_the_state(calibrated: Path, pictures: Path) -> None:
    server = Running(calibrated, "--drift")
    try:
        for _ in range(2):
            status, answer, _ = server.ask("POST", "/classify", (pictures / "a.png").read_bytes())
            assert status == 200
            assert answer["drift"]["scenes"] == 1, "the same scene"
            assert answer["drift"]["alarm"] is False
        assert b"drift" in server.ask("GET", "/page.js")[1]
    finally:
        server.end()


def test_other_files_do_not_take_the_reference_over(calibrated: Path, tmp_path: Path) -> None:
    contract = load(calibrated).contract
    assert contract is not None
    assert contract.drift is not None
    assert contract.without_limits().drift is None
    assert contract.drift.engine == "litert"
