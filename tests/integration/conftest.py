"""What integration tests share: forks of a process that has imported TensorFlow, and an MQTT broker."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import forked_workers
import pytest
from brokers import mosquitto

from edgepress.converters.process.worker import Worker


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
