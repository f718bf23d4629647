"""A shadow run with real models: the bundle holds the measured agreement, and a real service keeps the frames."""

from __future__ import annotations

import contextlib
import io
import json
import subprocess
import sys
import threading
import urllib.request
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scripts

from edgepress.runtime.errors import UpdateError
from edgepress.runtime.updates import frames
from edgepress.runtime.updates.place import read_place
from edgepress.runtime.updates.update import status, update
from edgepress.toolkit.errors import InputError
from edgepress.toolkit.shipping.bundles.build import bundle
from edgepress.toolkit.shipping.publishing.publish import publish

sys.path.insert(0, str(scripts.ROOT / "benchmarks" / "updates"))
simulated = scripts.script("benchmarks/updates/simulated.py")


def shadow_in(path: Path) -> dict[str, Any]:
    """The limits in a bundle."""
    with zipfile.ZipFile(path) as archive:
        found: dict[str, Any] = json.loads(archive.read("demo/updates/settings.json"))["shadow"]
        return found


@contextlib.contextmanager
def service(board: Any, items: Any) -> Iterator[None]:
    """The service of the release in use, which answers items again and again."""
    command = board.command("serve", "--port", "0", "--json")
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        url = json.loads(process.stdout.readline())["url"]
        ended = threading.Event()

        def ask() -> None:
            for number in range(1_000_000):
                if ended.is_set():
                    return
                body = io.BytesIO()
                np.save(body, items[number % len(items)])
                with urllib.request.urlopen(urllib.request.Request(url, body.getvalue()), timeout=30) as answer:
                    answer.read()

        thread = threading.Thread(target=ask)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()
            process.terminate()


@pytest.mark.slow
def test_a_quantized_release_is_compared_with_the_float_one_in_use(
    run: Any, digits: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publisher = simulated.Publisher(tmp_path / "publisher")
    given: dict[str, Any] = {
        "name": "demo",
        "updates": publisher.site,
        "keys": publisher.keys,
        "data": "digits",
        "samples": 2,
    }
    first = bundle(run.variants["tflite-float32"], tmp_path / "1.zip", **given)
    assert shadow_in(first.path) == {"frames": 200, "max_slowdown": 1.2, "min_agreement": None, "measured": {}}
    publish(first.path, publisher.site, keys=publisher.keys)
    steps: list[str] = []
    second = bundle(run.variants["tflite-int8"], tmp_path / "2.zip", on_step=steps.append, max_slowdown=50.0, **given)
    (model,) = [file.sha256 for file in first.verified.manifest.files if file.path == "model.tflite"]
    (low,) = shadow_in(second.path)["measured"].values()
    assert list(shadow_in(second.path)["measured"]) == [model]
    assert 0.8 < low < 1
    assert "Measuring the agreement with release 1" in steps
    third = bundle(run.variants["tflite-int8"], tmp_path / "3.zip", min_agreement="90%", release=2, **given)
    assert shadow_in(third.path)["min_agreement"] == 0.9
    with pytest.raises(InputError, match="this bundle has none"):
        bundle(run.variants["tflite-int8"], tmp_path / "4.zip", shadow=10, samples=0)

    board = simulated.Board(tmp_path / "board")
    assert board.install(first.path).returncode == 0
    publish(second.path, publisher.site, keys=publisher.keys)
    folder = tmp_path / "run" / "edgepress-demo"
    folder.mkdir(parents=True)
    monkeypatch.setattr(frames, "RUN", folder.parent)
    monkeypatch.setattr(frames, "WAIT_S", 60.0)
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(folder))
    place = read_place(board.prefix / "current")
    with service(board, digits.test.read(slice(0, 100))):
        with contextlib.suppress(UpdateError):  # how fast this machine is does not matter here
            update(place, source=str(publisher.site), shadow=50)
        shadow = status(place)["shadow"]
    assert (shadow["source"], shadow["frames"], shadow["min_agreement"]) == ("service", 50, low)
    assert shadow["agreement"] > 0.8
    assert shadow["new"]["p99_us"] >= shadow["new"]["p50_us"] > 1
    assert shadow["old"]["memory_bytes"] > 10_000_000
    assert "agrees with" not in shadow["why"]
