"""Kill an MQTT broker again and again while `watch --mqtt` publishes: no promised event may be lost.

    apt-get install mosquitto
    python benchmarks/faults/mqtt_kills.py [--kills 10] [--seed 0] [--home-assistant PYTHON]

mosquitto runs on loopback, with its store on disk, and is killed by SIGKILL at random times while pictures of two
digits arrive in turns, so that each is an event. A subscriber with a session that the broker keeps notes what arrives.

- Each event that `watch` calls `queued` must arrive; one that arrives twice is counted, QoS 1 allows it. What the
  broker acknowledges is noted, too, so that an event that it took and did not deliver is counted as lost by it.
- After each start of the broker `online` must arrive again, and after SIGKILL of `watch` the last will, `offline`.
- The retained state must be the last event.
- The discovery must be accepted by Home Assistant's own schemas, if PYTHON is an interpreter with the package
  `homeassistant`, and by what its documentation demands, which this script checks by itself.

Prints one JSON document; exit 1 if anything was not as it must be.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parents[1] / "speed"))

from mosquitto import PATIENCE_S, PREFIX, Mosquitto, Subscriber, wait_until
from runtime_overhead import make_files

from edgepress.runtime import load

PICTURE_S = 0.02
"""Seconds between two pictures."""
UP_S = (1.0, 4.0)
"""Shortest and longest time that the broker runs before it is killed."""
DOWN_S = (0.2, 4.0)
"""Shortest and longest time that it is away."""
WATCH = """
import json, sys
from paho.mqtt.client import Client
from edgepress.runtime.__main__ import main

publish = Client.publish

def noting(client, topic, payload=None, **more):
    client.on_publish = lambda client, data, number, *rest: print("acknowledged", number, file=sys.stderr, flush=True)
    info = publish(client, topic, payload, **more)
    if topic.endswith("/event"):
        print("sent", info.mid, json.loads(payload)["id"], file=sys.stderr, flush=True)
    return info

Client.publish = noting
sys.exit(main(sys.argv[1:]))
"""
"""The board's command line; it says which of paho's messages is which event, and which were acknowledged."""
REQUIRED = {"device", "origin", "components"}
"""Keys of a discovery by device."""
ACCEPT = """
import asyncio, json, sys, tempfile
from homeassistant.components.mqtt.binary_sensor import DISCOVERY_SCHEMA as binary_sensor
from homeassistant.components.mqtt.schemas import DEVICE_DISCOVERY_SCHEMA
from homeassistant.components.mqtt.sensor import DISCOVERY_SCHEMA as sensor
from homeassistant.const import __version__
from homeassistant.core import HomeAssistant
from homeassistant.helpers.frame import async_setup

async def check(document):
    async_setup(HomeAssistant(tempfile.gettempdir()))  # templates are parsed with it
    DEVICE_DISCOVERY_SCHEMA(document)
    shared = {name: document[name] for name in ("availability_topic", "state_topic", "qos", "device", "origin")}
    for component in document["components"].values():
        platform = component.pop("platform")
        {"sensor": sensor, "binary_sensor": binary_sensor}[platform](shared | component)

asyncio.run(check(json.load(sys.stdin)))
print(__version__)
"""
"""Home Assistant's schemas, of the device and of each of its components with what they share."""


class Watcher:
    """`watch --mqtt` of a folder, and the events that it says it has queued."""

    def __init__(self, model: Path, folder: Path, port: int) -> None:
        broker = ["--mqtt", f"127.0.0.1:{port}", "--mqtt-topic", PREFIX]
        command = [sys.executable, "-c", WATCH, "watch", str(model), str(folder), "--json", *broker]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.promised: list[str] = []
        self.dropped = 0
        self.sent: dict[str, str] = {}
        self.acknowledged: set[str] = set()
        self._threads = [threading.Thread(target=work, daemon=True) for work in (self._read, self._listen)]
        for thread in self._threads:
            thread.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if event := json.loads(line).get("event"):
                if event["queued"]:
                    self.promised.append(event["id"])
                else:
                    self.dropped += 1

    def _listen(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            match line.split():
                case ["sent", number, identifier]:
                    self.sent[identifier] = number
                case ["acknowledged", number]:
                    self.acknowledged.add(number)

    def end(self, number: int) -> None:
        """Send a signal, and read what is left of the output."""
        self.process.send_signal(number)
        self.process.wait(PATIENCE_S)
        for thread in self._threads:
            thread.join()


class Pictures:
    """Puts pictures of two digits into a folder in turns, each under a new name."""

    def __init__(self, folder: Path, contents: list[bytes]) -> None:
        self._folder, self._contents = folder, contents
        self._stop = threading.Event()
        self._count = 0
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin."""
        self._stop.clear()
        self._thread = threading.Thread(target=self._put, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End."""
        self._stop.set()
        assert self._thread is not None
        self._thread.join()

    def _put(self) -> None:
        while not self._stop.wait(PICTURE_S):
            self._count += 1
            path = self._folder / f"{self._count:06d}.part"
            path.write_bytes(self._contents[self._count % 2])
            path.rename(path.with_suffix(".png"))
            (self._folder / f"{self._count - 500:06d}.png").unlink(missing_ok=True)


def two_digits(model: Path) -> list[bytes]:
    """PNG files of two digits with different labels."""
    import io

    from PIL import Image

    from edgepress.toolkit.data import open_data

    opened = load(model)
    by_label: dict[str, bytes] = {}
    for item in open_data("digits").test.read(slice(0, 50)):
        written = io.BytesIO()
        Image.fromarray(item[..., 0]).save(written, "PNG")
        by_label.setdefault(opened.classify(written.getvalue(), 1)[0].label, written.getvalue())
    return list(by_label.values())[:2]


def discovery_faults(document: dict[str, Any]) -> list[str]:
    """What a discovery lacks of what Home Assistant's documentation demands."""
    wrong = [f"{key} is missing" for key in REQUIRED - document.keys()]
    if not document.get("device", {}).get("identifiers") or not document.get("origin", {}).get("name"):
        wrong.append("the device has no identifiers, or the origin no name")
    for name, component in document.get("components", {}).items():
        if component.get("platform") not in ("sensor", "binary_sensor"):
            wrong.append(f"{name} has the platform {component.get('platform')}")
        if not re.fullmatch("[A-Za-z0-9_-]+", component.get("unique_id", "")):
            wrong.append(f"{name} has the unique_id {component.get('unique_id')}")
    return wrong


def accepted_by_home_assistant(python: str, document: dict[str, Any]) -> str:
    """The version of Home Assistant whose schemas accept a discovery.

    Raises:
        CalledProcessError: They refuse it.
    """
    command = [python, "-c", ACCEPT]
    return subprocess.run(
        command, input=json.dumps(document), text=True, capture_output=True, check=True
    ).stdout.strip()


def kill_brokers(folder: Path, kills: int, seed: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Kill the broker, then `watch`; the figures, and the discovery."""
    chance = random.Random(seed)
    make_files(folder)
    model = next(folder.glob("*-int8.tflite"))
    watched = folder / "watched"
    store = folder / "broker"
    for made in (watched, store):
        made.mkdir()
    broker = Mosquitto(store)
    broker.start()
    subscriber = Subscriber(broker.port)
    watcher = Watcher(model, watched, broker.port)
    pictures = Pictures(watched, two_digits(model))
    wait_until(lambda: subscriber.statuses == ["online"], "`online` arrives")
    pictures.start()
    wait_until(lambda: len(subscriber.events) > 2, "events arrive")
    seconds = []
    away = 0
    for _ in range(kills):
        time.sleep(chance.uniform(*UP_S))
        broker.kill()
        before = len(watcher.promised)
        online = subscriber.statuses.count("online")
        time.sleep(chance.uniform(*DOWN_S))
        away += len(watcher.promised) - before
        broker.start()
        back = wait_until(lambda: subscriber.statuses.count("online") > online, "`online` arrives again")  # noqa: B023
        seconds.append(round(back, 2))
    pictures.stop()
    time.sleep(1)  # the last pictures are classified
    promised = list(watcher.promised)
    with suppress(TimeoutError):
        wait_until(lambda: set(promised) <= set(subscriber.events), "all promised events arrive")
    lost = set(promised) - set(subscriber.events)
    lost_by_broker = sum(watcher.sent[identifier] in watcher.acknowledged for identifier in lost)
    state = subscriber.documents[f"{PREFIX}/state"]["id"]
    killed_at = time.monotonic()
    watcher.end(signal.SIGKILL)
    wait_until(lambda: subscriber.statuses[-1] == "offline", "the last will arrives")
    result = {
        "kills": kills,
        "promised": len(promised),
        "promised_while_away": away,
        "arrived": len(set(promised) & set(subscriber.events)),
        "lost": len(lost),
        "lost_by_broker": lost_by_broker,
        "arrived_twice": sum(count > 1 for count in subscriber.events.values()),
        "dropped": watcher.dropped,
        "online_after_start_s": seconds,
        "state_is_last_event": state == promised[-1],
        "will_after_kill_s": round(subscriber.status_at - killed_at, 3),
    }
    again = Watcher(model, watched, broker.port)
    wait_until(lambda: subscriber.statuses[-1] == "online", "`online` arrives from a new process")
    again.end(signal.SIGINT)
    wait_until(lambda: subscriber.statuses[-1] == "offline", "`offline` arrives at the end")
    result["clean_end_says_offline"] = True
    broker.kill()
    return result, next(v for topic, v in subscriber.documents.items() if topic.startswith("homeassistant/device/"))


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--home-assistant", metavar="PYTHON", help="an interpreter with the package homeassistant")
    args = parser.parse_args()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # shells let what runs in the background ignore it
    with tempfile.TemporaryDirectory() as folder:
        result, discovery = kill_brokers(Path(folder), args.kills, args.seed)
    result["discovery_faults"] = discovery_faults(discovery)
    if args.home_assistant:
        result["accepted_by_home_assistant"] = accepted_by_home_assistant(args.home_assistant, discovery)
    print(json.dumps(result))
    sys.exit(bool(result["lost"] or result["discovery_faults"] or not result["state_is_last_event"]))


if __name__ == "__main__":
    main()
