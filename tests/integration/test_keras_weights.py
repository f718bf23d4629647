"""`--weights imagenet` through Keras' cache: whole, cut, killed and wrong downloads, and none, from a local server."""

from __future__ import annotations

import http.server
import os
import threading
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
keras = pytest.importorskip("keras")

from edgepress.runtime.input_spec import InputSpec  # noqa: E402
from edgepress.toolkit.errors import TrainingError  # noqa: E402
from edgepress.toolkit.training.nets.architectures import build  # noqa: E402

NAME = "mobilenet_2_5_128_tf_no_top.h5"
SPEC = InputSpec.image(32, 32, "rgb")


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> bytes:
    """A file as Keras offers for download."""
    import h5py
    from keras.src.legacy.saving.legacy_h5_format import save_weights_to_hdf5_group

    path = tmp_path_factory.mktemp("weights") / NAME
    with h5py.File(path, "w") as file:
        save_weights_to_hdf5_group(
            file, keras.applications.MobileNet((128, 128, 3), alpha=0.25, include_top=False, weights=None)
        )
    return path.read_bytes()


class Server(http.server.BaseHTTPRequestHandler):
    """Sends the bytes that the test says, of which it may claim more."""

    content = b""
    claimed = 0
    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.asked.append(self.path)
        self.send_response(200)
        self.send_header("Content-Length", str(self.claimed))
        self.end_headers()
        self.wfile.write(self.content)

    def log_message(self, *arguments: object) -> None: ...


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache, and a server instead of Keras' own; yields the file in the cache."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.setattr("keras.src.backend.config._KERAS_DIR", str(tmp_path))
    monkeypatch.setattr("keras.src.applications.mobilenet.BASE_WEIGHT_PATH", f"http://127.0.0.1:{server.server_port}/")
    monkeypatch.setattr(Server, "asked", [])
    yield tmp_path / "models" / NAME
    server.shutdown()
    server.server_close()


def send(monkeypatch, content: bytes, claimed: int | None = None) -> None:
    monkeypatch.setattr(Server, "content", content)
    monkeypatch.setattr(Server, "claimed", len(content) if claimed is None else claimed)


def first_kernel() -> np.ndarray:
    model = build("mobilenet-v1", SPEC, classes=2, width=0.25, weights="imagenet")
    return model.get_layer("conv1").get_weights()[0]


def test_weights_are_downloaded_once(cache: Path, weights, monkeypatch):
    send(monkeypatch, weights)
    kernel = first_kernel()
    assert cache.read_bytes() == weights
    assert np.array_equal(first_kernel(), kernel)
    assert len(Server.asked) == 1


def test_a_cut_download_is_one_error_and_leaves_nothing(cache: Path, weights, monkeypatch):
    send(monkeypatch, weights[: len(weights) // 2], len(weights))
    with pytest.raises(TrainingError, match=r"can't be downloaded: .*give its path as weights.*--weights none"):
        first_kernel()
    assert not cache.exists()
    send(monkeypatch, weights)
    first_kernel()


def test_what_a_killed_download_left_is_downloaded_again(cache: Path, weights, monkeypatch):
    cache.parent.mkdir()
    for length in (0, 100, len(weights) // 2, len(weights) - 1):
        cache.write_bytes(weights[:length])
        send(monkeypatch, weights)
        first_kernel()
        assert cache.read_bytes() == weights


def test_without_a_network_it_is_one_error_that_says_what_to_do(cache: Path, monkeypatch):
    monkeypatch.setattr("keras.src.applications.mobilenet.BASE_WEIGHT_PATH", "http://127.0.0.1:9/")
    with pytest.raises(TrainingError, match=r"can't be downloaded.*--arch efficientnet-lite0"):
        first_kernel()
    assert not cache.exists()


def test_a_wrong_file_in_the_cache_is_named(cache: Path, tmp_path, monkeypatch):
    import h5py

    cache.parent.mkdir()
    with h5py.File(cache, "w") as file:
        file["x"] = np.zeros(3)
    with pytest.raises(TrainingError) as caught:
        first_kernel()
    assert str(cache) in caught.value.hint
    assert not Server.asked
