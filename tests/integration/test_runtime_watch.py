"""`watch` and `camera` of the board's command line: pictures as they come."""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from running import COMMAND

from edgepress.runtime import (
    EdgepressError,
)
from edgepress.runtime.frames import camera_frames, new_images, newest


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_watch_takes_new_whole_files_once(digits: Any, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    item = Image.fromarray(digits.test.read([0])[0, ..., 0])
    item.save(folder / "old.png")
    found: list[str] = []
    images = new_images(folder, poll_s=0.02)
    threading.Thread(target=lambda: found.extend(p.name for p in _until(images, 3)), daemon=True).start()
    time.sleep(0.1)
    with (folder / "a.png").open("wb") as f:  # written in parts, each younger than a look
        for _ in range(12):
            f.write(b"part")
            f.flush()
            assert "a.png" not in found
            time.sleep(0.01)
    _wait(lambda: found == ["a.png"])
    (folder / "gone.png").touch()
    (folder / "gone.png").unlink()
    (folder / ".hidden.png").write_bytes(b"x")
    (folder / "b.png").write_bytes(b"x")
    _wait(lambda: found == ["a.png", "b.png"])
    (folder / "b.png").rename(folder / "old.txt")
    (folder / "old.png").write_bytes(b"written anew")
    _wait(lambda: found == ["a.png", "b.png", "old.png"])


def _until(images: Iterator[Path], count: int) -> Iterator[Path]:
    for _ in range(count):
        yield next(images)


def _wait(done: Any) -> None:
    for _ in range(500):
        if done():
            return
        time.sleep(0.01)
    pytest.fail("it was not done in 500 tries")


def test_watch_command_survives_bad_files_and_ends_by_ctrl_c(run: Any, pictures: Path) -> None:
    command = [*COMMAND, "watch", str(run.variants["tflite-int8"]), str(pictures), "--json"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout is not None
    lines = []
    while not lines:
        (pictures / f"new{time.monotonic_ns()}.png").write_bytes((pictures / "a.png").read_bytes())
        time.sleep(0.4)
        os.set_blocking(process.stdout.fileno(), False)
        lines = process.stdout.readlines()
    os.set_blocking(process.stdout.fileno(), True)
    assert {"image", "classes", "frames_per_s"} == set(json.loads(lines[0]))
    assert json.loads(lines[0])["frames_per_s"] is None  # of one frame there is no rate
    (pictures / "bad.png").write_bytes(b"no image")
    line: dict[str, Any] = {}
    while "bad.png" not in line.get("image", ""):
        line = json.loads(process.stdout.readline())
    assert "not a JPEG" in line["error"]["message"]
    assert line["frames_per_s"] > 0
    process.send_signal(signal.SIGINT)
    assert process.wait(10) == 0


def test_the_newest_frame_wins() -> None:
    taken = threading.Event()

    def source() -> Iterator[int]:
        yield 0
        taken.wait(5)
        yield from range(1, 100)
        time.sleep(0.2)
        raise EdgepressError("The camera is gone.")

    frames = newest(source())
    assert next(frames) == 0
    taken.set()
    time.sleep(0.1)
    assert next(frames) == 99
    with pytest.raises(EdgepressError, match="gone"):
        next(frames)


def test_cameras(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each library by a stand-in with its interface; neither is an error that says what to install."""
    frame = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)

    class Cv2:
        COLOR_BGR2RGB = 4

        @staticmethod
        def VideoCapture(device: int) -> Any:  # noqa: N802
            frames = [(True, frame), (False, None)]
            return type("Capture", (), {"isOpened": lambda self: device == 0, "read": lambda self: frames.pop(0)})()

        @staticmethod
        def cvtColor(image: Any, code: int) -> Any:  # noqa: N802
            return image[..., ::-1]

    class Picamera2:
        def __init__(self, device: int) -> None:
            if device:
                raise IndexError("list index out of range")

        def create_video_configuration(self, main: dict[str, Any]) -> dict[str, Any]:
            return main

        def configure(self, main: dict[str, Any]) -> None:
            assert main["format"] == "BGR888"

        def start(self) -> None:
            pass

        def capture_array(self, name: str) -> Any:
            return frame

    monkeypatch.setitem(sys.modules, "picamera2", None)
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(EdgepressError, match="picamera2 or OpenCV"):
        next(camera_frames())
    with monkeypatch.context() as patch:  # built for another NumPy

        def broken(name: str) -> Any:
            raise ValueError("numpy.dtype size changed") if name == "picamera2" else ModuleNotFoundError(name=name)

        patch.setattr(importlib, "import_module", broken)
        with pytest.raises(EdgepressError, match=r"picamera2 .*numpy\.dtype size changed"):
            next(camera_frames())
    monkeypatch.setitem(sys.modules, "cv2", Cv2)  # type: ignore[arg-type]
    frames = camera_frames()
    np.testing.assert_array_equal(next(frames), frame[..., ::-1])
    for broken in (frames, camera_frames(3)):
        with pytest.raises(EdgepressError, match=r"Camera [03]"):
            next(broken)
    monkeypatch.setitem(sys.modules, "picamera2", type("M", (), {"Picamera2": Picamera2}))  # type: ignore[arg-type]
    np.testing.assert_array_equal(next(camera_frames()), frame)
    with pytest.raises(EdgepressError, match="can't be opened"):
        next(camera_frames(1))
