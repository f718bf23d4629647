"""A mosquitto on loopback that can be killed, and a subscriber that notes what arrives: for `mqtt_kills` and tests."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion

PROGRAM = shutil.which("mosquitto", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")
"""The broker; None: it is not installed."""
PREFIX = "edgepress/kitchen"
"""What the topics begin with."""
PATIENCE_S = 60.0
"""Seconds after which what did not happen never will."""
CONFIG = """listener {port} 127.0.0.1
allow_anonymous {anonymous}
user root
persistence true
persistence_location {folder}/
autosave_on_changes true
autosave_interval 1
max_queued_messages 0
max_inflight_messages 0
"""
"""Of mosquitto: each change is written to disk, so that a killed broker still knows its subscriber. Without a limit on
messages in flight it delivers before it acknowledges; else a kill loses what it acknowledged and only queued."""


class Mosquitto:
    """A broker on a free port of loopback; its store survives kills."""

    def __init__(self, folder: Path, *, anonymous: bool = True, more: str = "") -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self._config = folder / "mosquitto.conf"
        settings = CONFIG.format(port=self.port, folder=folder, anonymous=str(anonymous).lower())
        self._config.write_text(settings + more)
        self._log = (folder / "mosquitto.log").open("ab")
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it accepts connections."""
        command = [PROGRAM or "mosquitto", "-c", str(self._config)]
        self._process = subprocess.Popen(command, stdout=self._log, stderr=self._log)

        def answers() -> bool:
            with socket.socket() as probe:
                return probe.connect_ex(("127.0.0.1", self.port)) == 0

        wait_until(answers, "mosquitto accepts connections")

    def kill(self) -> None:
        """End it as a power cut would."""
        assert self._process is not None
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()


class Subscriber:
    """Notes what arrives, with a session that the broker keeps."""

    def __init__(self, port: int) -> None:
        self.events: Counter[str] = Counter()
        self.statuses: list[str] = []
        self.status_at = 0.0
        self.documents: dict[str, Any] = {}
        self._subscribed = threading.Event()
        self._client = Client(CallbackAPIVersion.VERSION2, client_id="subscriber", clean_session=False)
        self._client.on_connect = lambda client, *_: client.subscribe([(f"{PREFIX}/#", 1), ("homeassistant/#", 1)])
        self._client.on_subscribe = lambda *_: self._subscribed.set()
        self._client.on_message = self._note
        self._client.reconnect_delay_set(1, 1)
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        if not self._subscribed.wait(PATIENCE_S):
            raise TimeoutError("the subscriber did not subscribe")

    def end(self) -> None:
        """Disconnect."""
        self._client.disconnect()

    def _note(self, client: Client, data: Any, message: Any) -> None:
        if message.topic == f"{PREFIX}/event":
            self.events[json.loads(message.payload)["id"]] += 1
        elif message.topic == f"{PREFIX}/status":
            if not message.retain:  # what the broker kept from before is no news
                self.statuses.append(message.payload.decode())
                self.status_at = time.monotonic()
        else:
            self.documents[message.topic] = json.loads(message.payload)


def wait_until(happened: Callable[[], bool], what: str) -> float:
    """Seconds until something has happened.

    Raises:
        TimeoutError: It did not happen in `PATIENCE_S`.
    """
    begin = time.monotonic()
    while not happened():
        if time.monotonic() - begin > PATIENCE_S:
            raise TimeoutError(f"{what}: this did not happen in {PATIENCE_S:g} s")
        time.sleep(0.02)
    return time.monotonic() - begin
