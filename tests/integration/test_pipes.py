"""What is not a regular file is refused with one error, instead of waiting for a writer or reading without end."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edgepress.converters.contract.metadata import read_labels
from edgepress.runtime import load
from edgepress.runtime.arrays import load_array
from edgepress.runtime.contract import contract_in
from edgepress.runtime.errors import EdgepressError
from edgepress.runtime.filetypes import open_regular
from edgepress.runtime.image import load_image, peek
from edgepress.runtime.input_spec import InputSpec
from edgepress.toolkit.data import open_data
from edgepress.toolkit.data.readers.idx import read_idx
from edgepress.toolkit.results.file import load_benchmark

pytestmark = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes with names")
WAIT_S = 20
SPEC = InputSpec.image(8, 8, "rgb")


def in_time(work: Callable[[], Any]) -> EdgepressError:
    """The error of some work, which must not wait."""
    caught: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as e:
            caught.append(e)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(WAIT_S)
    assert caught, "it waits, or was read"
    assert isinstance(caught[0], EdgepressError), caught[0]
    return caught[0]


READERS: dict[str, tuple[str, Callable[[Path], Any]]] = {
    "image": ("x.png", lambda path: load_image(path, SPEC)),
    "image's header": ("x.jpg", peek),
    "item": ("x.npy", lambda path: load_array(path, str(path))),
    "TFLite model": ("x.tflite", load),
    "ONNX model": ("x.onnx", load),
    "contract": ("x.json", contract_in),
    "labels": ("x.txt", read_labels),
    "idx": ("x-idx1-ubyte", read_idx),
    "idx, packed": ("x-idx1-ubyte.gz", read_idx),
    "npz": ("x.npz", open_data),
    "shard": ("x.tar", open_data),
    "benchmark": ("benchmark.json", load_benchmark),
}


@pytest.mark.parametrize("place", ["pipe", "link to a pipe", "device", "loop"])
@pytest.mark.parametrize("kind", READERS)
def test_what_is_no_regular_file_is_refused(kind: str, place: str, tmp_path: Path) -> None:
    name, read = READERS[kind]
    path = tmp_path / name
    if place == "pipe":
        os.mkfifo(path)
    elif place == "link to a pipe":
        os.mkfifo(tmp_path / "other")
        path.symlink_to(tmp_path / "other")
    else:
        path.symlink_to("/dev/zero" if place == "device" else path)
    assert name in in_time(lambda: read(path)).message


def test_regular_files_and_links_to_them_are_opened(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"content")
    (tmp_path / "b").symlink_to("a")
    for name in "ab":
        with open_regular(tmp_path / name) as file:
            assert file.read() == b"content"


@pytest.fixture
def classes(tmp_path: Path) -> Path:
    """Two class folders, one with a pipe named like an image."""
    rng = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        for i in range(8):
            Image.fromarray(rng.integers(0, 256, (8, 8), np.uint8)).save(tmp_path / name / f"{i}.png")
    os.mkfifo(tmp_path / "cat" / "pipe.png")
    return tmp_path


@pytest.mark.parametrize("purpose", ["training", "evaluation", "calibration"])
def test_a_pipe_in_a_class_folder_is_an_unreadable_image(purpose: Any, classes: Path) -> None:
    error = in_time(lambda: open_data(classes, purpose=purpose, size=8))
    assert "pipe.png can't be read: it is a pipe, a socket or a device" in error.message
    assert "--skip-unreadable" in error.hint
    data = open_data(classes, purpose=purpose, size=8, skip_unreadable=True)
    assert [name for name, _ in data.skipped] == ["cat/pipe.png"]
