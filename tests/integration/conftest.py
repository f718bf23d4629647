"""What integration tests share: forks of a process that has imported TensorFlow, and a board with updates."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import forked_workers
import pytest
import scripts
from brokers import mosquitto
from shared_folders import once_per_run

from edgepress.converters.worker import Worker

UPDATES = scripts.ROOT / "benchmarks" / "updates"


@pytest.fixture(scope="session", autouse=True)
def _forked_workers() -> Iterator[None]:
    """Fork the workers."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Worker, "_start", forked_workers.start)
        yield


@pytest.fixture
def plain_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Start the workers of this test as users do."""
    monkeypatch.setattr(forked_workers, "PLAIN", True)


@pytest.fixture(scope="session")
def simulated() -> Any:
    """The module that simulates publishers and boards."""
    sys.path.insert(0, str(UPDATES))
    import simulated

    return simulated


@pytest.fixture(scope="session")
def first_release(tmp_path_factory: pytest.TempPathFactory, simulated: Any) -> Path:
    """A published folder with release 1, and a board that runs it; read-only."""

    def make(folder: Path) -> None:
        publisher = simulated.Publisher(folder / "publisher")
        publisher.publish(1)
        done = simulated.Board(folder / "board").install(publisher.bundle(1))
        assert done.returncode == 0, done.stderr

    return once_per_run(tmp_path_factory, "first-release", make)


@pytest.fixture
def publisher(first_release: Path, tmp_path: Path, simulated: Any) -> Any:
    """A publisher of release 1."""
    return simulated.Publisher(shutil.copytree(first_release / "publisher", tmp_path / "publisher"))


@pytest.fixture
def board(first_release: Path, tmp_path: Path, simulated: Any) -> Any:
    """A board that runs release 1, which is published."""
    return simulated.Board(shutil.copytree(first_release / "board", tmp_path / "board", symlinks=True))


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Any]:
    """A broker that runs."""
    folder = tmp_path / "broker"
    folder.mkdir()
    running = mosquitto.Mosquitto(folder)
    running.start()
    yield running
    running.kill()


@pytest.fixture
def subscriber(broker: Any) -> Iterator[Any]:
    """What arrives there."""
    found = mosquitto.Subscriber(broker.port)
    yield found
    found.end()
