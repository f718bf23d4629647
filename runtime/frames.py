"""Sources of images: a folder, new files in a folder, and the newest frame of a camera."""

from __future__ import annotations

import importlib
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from edgepress.runtime.errors import EdgepressError, InputError
from edgepress.runtime.image import IMAGE_SUFFIXES


def images_in(folder: Path, *, sound: bool = False) -> list[Path]:
    """The images and `.npy` arrays in a folder, sorted by name, without hidden files; of `sound` WAV files, too."""
    suffixes = (*IMAGE_SUFFIXES, ".npy", *([".wav"] if sound else ()))
    return sorted(p for p in folder.iterdir() if p.suffix.lower() in suffixes and p.name[0] != ".")


def new_images(folder: Path, poll_s: float = 0.1) -> Iterator[Path]:
    """Yield every image that appears in a folder or is rewritten from now on, oldest first; never ends.

    A file is yielded when its size and date are unchanged between two polls, so not while it is written. Files deleted
    meanwhile are skipped. InputError at once if the folder is missing, and later if it is removed.
    """
    return _new_images(folder, _read_states(folder), poll_s)


def _new_images(folder: Path, before: dict[Path, tuple[int, int]], poll_s: float) -> Iterator[Path]:
    done = before
    while True:
        time.sleep(poll_s)
        now = _read_states(folder)
        done = {path: state for path, state in done.items() if path in now}
        for path, state in sorted(now.items(), key=lambda item: item[1]):
            _, size = state
            if size and state == before.get(path) == _read_state(path) and state != done.get(path):
                done[path] = state
                yield path
        before = now


def _read_states(folder: Path) -> dict[Path, tuple[int, int]]:
    try:
        return {path: state for path in images_in(folder) if (state := _read_state(path))}
    except OSError as e:
        raise InputError(f"{folder} can't be watched: {e.strerror}.", "Give an existing folder.") from e


def _read_state(path: Path) -> tuple[int, int] | None:
    """Time of the last change, ns, and size, bytes."""
    try:
        status = path.stat()
    except OSError:  # deleted or renamed since it was listed
        return None
    return status.st_mtime_ns, status.st_size


def newest(frames: Iterable[Any]) -> Iterator[Any]:
    """Read frames in a thread and yield the newest; frames that arrive while one is processed are dropped."""
    slot = deque[Any](maxlen=1)
    ready = threading.Event()

    def take() -> None:
        try:
            for frame in frames:
                slot.append(frame)
                ready.set()
        except BaseException as e:  # raised in the consuming thread
            slot.append(e)
            ready.set()

    threading.Thread(target=take, daemon=True).start()
    while ready.wait():
        ready.clear()
        while slot:
            if isinstance(frame := slot.pop(), BaseException):
                raise frame
            yield frame


def camera_frames(device: int = 0) -> Iterator[Any]:
    """Yield frames of a camera, uint8 RGB (height, width, 3), with picamera2 or else OpenCV; never ends.

    EdgepressError if neither is installed, the camera can't be opened, or it stops delivering frames.
    """
    broken = ""
    for module, frames in (("picamera2", _picamera2), ("cv2", _opencv)):
        try:
            loaded = importlib.import_module(module)
        except Exception as e:  # such as a ValueError from a build for another NumPy
            if getattr(e, "name", None) != module:
                broken += f" {module} is installed, but fails: {e}."
            continue
        yield from frames(loaded, device)
    problem = "A camera needs picamera2 or OpenCV" + ("." if broken else "; neither is installed for this Python.")
    hint = "On a Raspberry Pi: sudo apt install python3-picamera2, then the bundle's install.sh --camera."
    raise EdgepressError(problem + broken, f"{hint} Elsewhere: pip install opencv-python-headless")


def _picamera2(module: Any, device: int) -> Iterator[Any]:
    try:
        camera = module.Picamera2(device)
        # picamera2's BGR888 is RGB in memory: the name begins with the highest byte.
        camera.configure(camera.create_video_configuration(main={"size": (640, 480), "format": "BGR888"}))
        camera.start()
    except (RuntimeError, IndexError) as e:
        raise EdgepressError(f"Camera {device} can't be opened: {e}.", "See rpicam-hello --list-cameras.") from e
    while True:
        yield camera.capture_array("main")


def _opencv(module: Any, device: int) -> Iterator[Any]:
    camera = module.VideoCapture(device)
    while camera.isOpened() and (read := camera.read())[0]:
        yield module.cvtColor(read[1], module.COLOR_BGR2RGB)
    raise EdgepressError(f"Camera {device} delivers no frames.", f"Check that /dev/video{device} exists and is free.")
