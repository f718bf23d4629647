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
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from running import COMMAND

from edgepress.runtime import (
    EdgepressError,
    frames,
)
from edgepress.runtime.frames import camera_frames, new_images, newest


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


class _OverError(Exception):
    """All polls of a test are over."""


def test_watch_takes_new_whole_files_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What happens between two polls is a step; each name is noted with the number of steps before it came."""
    (tmp_path / "old.png").write_bytes(b"there before")

    def grow() -> None:
        with (tmp_path / "a.png").open("ab") as file:
            file.write(b"part")

    def come_and_go() -> None:
        (tmp_path / "gone.png").touch()
        (tmp_path / "gone.png").unlink()
        (tmp_path / ".hidden.png").write_bytes(b"x")
        (tmp_path / "b.png").write_bytes(b"x")

    def rewrite() -> None:
        (tmp_path / "b.png").rename(tmp_path / "old.txt")
        (tmp_path / "old.png").write_bytes(b"written anew")

    def end() -> None:
        raise _OverError

    wait = str  # nothing happens
    steps = [*[grow] * 12, wait, wait, come_and_go, wait, wait, rewrite, wait, wait, end]
    taken: list[Callable[[], object]] = []

    def sleep(seconds: float) -> None:
        assert seconds == 0.02
        taken.append(steps[len(taken)])
        taken[-1]()

    monkeypatch.setattr(frames, "time", SimpleNamespace(sleep=sleep))
    seen: list[tuple[str, int]] = []
    with suppress(_OverError):
        for path in new_images(tmp_path, poll_s=0.02):
            seen.append((path.name, len(taken)))
    assert len(taken) == len(steps)
    assert seen == [("a.png", 13), ("b.png", 16), ("old.png", 19)]


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
