"""The MQTT client against brokers on loopback: no promised event is lost, and errors are said once."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from typing import Any

import pytest
from brokers import mosquitto, needs_mosquitto, options
from fake_broker import FakeBroker, unused_port

from edgepress.runtime import mqtt
from edgepress.runtime.mqtt import NO_STATE, Broker, describe_to_home_assistant, publish_once

PREFIX = mosquitto.PREFIX


@needs_mosquitto
def test_what_is_promised_while_the_broker_is_away_arrives(
    broker: Any, subscriber: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mqtt, "LEAST_RETRY_S", 0)
    said: list[str] = []
    client = Broker(options(broker.port), said.append)
    client.start()
    mosquitto.wait_until(lambda: subscriber.statuses == ["online"], "online")
    assert client.publish({"id": "1"})
    mosquitto.wait_until(lambda: not client.waiting, "acknowledged")
    broker.kill()
    assert all(client.publish({"id": str(number)}) for number in range(2, 30))
    assert client.waiting >= 28
    broker.start()
    mosquitto.wait_until(lambda: len(subscriber.events) == 29, "all arrive")
    mosquitto.wait_until(lambda: subscriber.documents.get(f"{PREFIX}/state") == {"id": "29"}, "the state is the last")
    client.close()
    mosquitto.wait_until(lambda: subscriber.statuses[-1] == "offline", "the end is said")
    assert any("events wait" in sentence for sentence in said)
    assert not any("not acknowledged" in sentence for sentence in said)


def test_what_does_not_fit_is_dropped_counted_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a broker; publishing blocks nothing."""
    monkeypatch.setattr(mqtt, "QUEUE", 3)
    said: list[str] = []
    client = Broker(options(unused_port()), said.append)
    client.start()
    assert [client.publish({"id": str(number)}) for number in range(5)] == [True] * 3 + [False] * 2
    assert (client.queued, client.dropped, client.waiting) == (3, 2, 3)
    client.close()
    assert any("3 events wait, so further ones are dropped" in sentence for sentence in said)
    assert said[-1] == "MQTT: 3 events were not acknowledged by the broker, 2 were dropped, of 5."


WAIT = """
import sys, time
from edgepress.runtime.mqtt import Broker
from edgepress.runtime.mqtt_options import BrokerOptions
Broker(BrokerOptions(address=sys.argv[1], prefix=sys.argv[2]), print).start()
time.sleep(60)
"""


@needs_mosquitto
def test_the_last_will_of_a_killed_process_is_offline(broker: Any, subscriber: Any) -> None:
    process = subprocess.Popen([sys.executable, "-c", WAIT, f"127.0.0.1:{broker.port}", PREFIX])
    mosquitto.wait_until(lambda: subscriber.statuses == ["online"], "online")
    process.send_signal(signal.SIGKILL)
    process.wait()
    mosquitto.wait_until(lambda: subscriber.statuses == ["online", "offline"], "the will")


def test_a_broker_that_acknowledges_nothing_tells_the_will(monkeypatch: pytest.MonkeyPatch) -> None:
    """More wait than are in flight at a time, so `offline` would, too, and DISCONNECT would discard the will."""
    monkeypatch.setattr(mqtt, "END_S", 0.2)
    broker = FakeBroker(acknowledges=False)
    client = Broker(options(broker.port), str)
    client.start()
    mosquitto.wait_until(lambda: bool(broker.connections and broker.published()), "online")
    for number in range(60):
        client.publish({"id": str(number)})
    client.close()
    mosquitto.wait_until(lambda: broker.ended[0], "the connection ends")
    assert 0xE0 not in {head for head, _ in broker.connections[0]}
    assert len(broker.connections) == 1


@pytest.mark.slow
def test_a_run_that_ends_before_it_is_connected_delivers_its_events() -> None:
    for _ in range(10):
        broker = FakeBroker()
        client = Broker(options(broker.port), str)
        client.start()
        client.publish({"id": "1"})
        client.close()
        assert client.waiting == 0
        assert broker.published()[-1] == (f"{PREFIX}/status", b"offline")
        mosquitto.wait_until(lambda broker=broker: broker.ended[0], "the connection ends")  # type: ignore[misc]
        assert len(broker.connections) == 1


def test_a_run_without_a_broker_does_not_wait_for_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mqtt, "END_S", 3600.0)
    said: list[str] = []
    client = Broker(options(unused_port()), said.append)
    client.start()
    client.publish({"id": "1"})
    client.close()
    assert "can't be reached" in said[0]
    assert "1 events were not acknowledged" in said[1]


def test_the_state_is_unknown_before_the_board_is_online() -> None:
    """What was retained is of a former run."""
    broker = FakeBroker()
    client = Broker(options(broker.port), str)
    client.start()
    mosquitto.wait_until(lambda: bool(broker.connections and len(broker.published()) > 1), "online")
    (state, document), status = broker.published()[:2]
    assert (state, json.loads(document)) == (f"{PREFIX}/state", NO_STATE)
    assert status == (f"{PREFIX}/status", b"online")
    client.close()
    mosquitto.wait_until(lambda: broker.ended[0], "the connection ends")
    assert broker.published()[-1] == (f"{PREFIX}/status", b"offline")
    assert broker.connections[0][-1][0] == 0xE0


def test_an_acknowledgement_while_the_end_is_said_blocks_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """paho calls back under the lock of its messages, which `publish` takes for what is acknowledged, too."""
    monkeypatch.setattr(mqtt, "END_S", 0.2)
    broker = FakeBroker(acknowledges=False)
    client = Broker(options(broker.port), str)
    paho = client._client
    client.start()
    mosquitto.wait_until(lambda: bool(broker.connections and broker.published()), "online")
    publish = paho.publish
    called_back: list[bool] = []

    def publish_at_an_acknowledgement(topic: str, payload: str, qos: int = 0, retain: bool = False) -> Any:
        if payload == "offline" and not called_back:
            callback = threading.Thread(target=paho.on_publish, args=(paho, None, 0, None, None), daemon=True)
            callback.start()
            callback.join(5)
            called_back.append(not callback.is_alive())
        return publish(topic, payload, qos, retain)

    monkeypatch.setattr(paho, "publish", publish_at_an_acknowledgement)
    client.close()
    assert called_back == [True]


def test_a_refusal_is_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mqtt, "LEAST_RETRY_S", 0)
    broker = FakeBroker(connack=5)
    said: list[str] = []
    client = Broker(options(broker.port), said.append)
    client.start()
    mosquitto.wait_until(lambda: len(broker.connections) > 3, "three retries")
    client.close()
    assert said == [f"MQTT broker 127.0.0.1:{broker.port} refuses the connection: Not authorized."]


@pytest.mark.parametrize(
    "packet",
    [
        b"\x30\xff\xff\xff\x7f\x00\x01a" + bytes(1 << 20),
        b"\x30\x04\x00\x01ab",
        b"\x30\x01\x00",
        b"\x90\x00",
        b"\xc0\x00",
        b"\x62\x02\x00\x01",
        b"\x20\x02\x00\x00",
        b"\x4f\x02\x00\x01",
    ],
    ids=["endless", "message", "cut off", "no subscription", "ping", "released", "connected again", "wrong flags"],
)
def test_a_broker_that_sends_what_was_not_asked_for_is_left(packet: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before its packet, here of 256 MB, is in memory; then it is another try."""
    monkeypatch.setattr(mqtt, "LEAST_RETRY_S", 0)
    broker = FakeBroker(first=packet)
    said: list[str] = []
    client = Broker(options(broker.port), said.append)
    client.start()
    mosquitto.wait_until(lambda: len(broker.connections) == 2, "another try")
    client.publish({"id": "1"})
    mosquitto.wait_until(lambda: not client.waiting, "acknowledged")
    client.close()
    assert len(client._client._in_packet["packet"]) < 1000
    assert len(said) == 2, "it is connected, and away"


def test_a_broker_that_ends_without_an_answer_is_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as one for TLS alone."""
    monkeypatch.setattr(mqtt, "LEAST_RETRY_S", 0)
    broker = FakeBroker(connack=None)
    said: list[str] = []
    client = Broker(options(broker.port), said.append)
    client.start()
    mosquitto.wait_until(lambda: len(broker.connections) > 3, "three retries")
    client.close()
    where = f"MQTT broker 127.0.0.1:{broker.port}"
    assert said == [f"{where} ends the connection without an answer; it is tried again. Does it need --mqtt-tls?"]


def test_of_a_state_only_the_newest_waits_for_a_broker_that_does_not_read() -> None:
    reads = threading.Event()
    broker = FakeBroker(reads=reads)
    client = Broker(options(broker.port), str)
    client.start()
    mosquitto.wait_until(client._client.is_connected, "connected")
    for number in range(100):
        client.retain(f"{PREFIX}/state", f"{number}:" + "x" * 100_000)
    assert len(client._client._out_packet) < 60, "the buffers of the system take some"
    reads.set()
    last = (f"{PREFIX}/state", b"99:" + b"x" * 100_000)
    mosquitto.wait_until(lambda: last in broker.published(), "the newest state")
    client.close()
    states = [body for topic, body in broker.published() if topic == last[0]]
    assert states[-1] == last[1]


def test_availability_waits_once_for_a_broker_that_leaves_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mqtt, "LEAST_RETRY_S", 0)
    monkeypatch.setattr(mqtt, "END_S", 0.1)
    broker = FakeBroker(ends=True)
    client = Broker(options(broker.port), str)
    client.start()
    mosquitto.wait_until(lambda: len(broker.connections) > 5, "five retries")
    waiting = len(client._client._out_messages)
    client.close()
    assert waiting <= 1


def test_two_prefixes_are_two_devices_in_home_assistant() -> None:
    names = [describe_to_home_assistant(prefix, "m", drift=False)[0] for prefix in ("edgepress/a_b", "edgepress/a/b")]
    assert len({*names}) == 2
    assert describe_to_home_assistant("kitchen", "m", drift=False)[0] == "homeassistant/device/kitchen/config"


def test_home_assistant_keeps_the_score_at_an_event_of_drift() -> None:
    """Its templates are those of jinja2; None is unknown there, and what is empty changes nothing."""
    jinja2 = pytest.importorskip("jinja2")
    document = json.loads(describe_to_home_assistant("kitchen", "m", drift=True)[1])
    template = jinja2.Template(document["components"]["score"]["value_template"])
    states = ({"score": 0.1234}, {"what": "drift"}, NO_STATE)
    assert [template.render(value_json=state) for state in states] == ["12.3", "", "None"]


@needs_mosquitto
def test_a_status_is_retained(broker: Any, subscriber: Any) -> None:
    publish_once(options(broker.port), "update", {"release": 2})
    mosquitto.wait_until(lambda: subscriber.documents.get(f"{PREFIX}/update") == {"release": 2}, "the status")
    assert subscriber.statuses == []


def test_a_status_without_a_broker_is_an_error() -> None:
    with pytest.raises(OSError, match="can't be reached"):
        publish_once(options(unused_port()), "update", {})
