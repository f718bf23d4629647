"""Events, state and availability to an MQTT broker, with paho-mqtt (the extra `mqtt`); nothing is subscribed to.

    PREFIX/event     each event, QoS 1, not retained: at least once, so receivers tell repeated ones by their `id`
    PREFIX/state     the last event, retained; at the start `NO_STATE`
    PREFIX/status    `online`, or `offline` at the end or as the last will, retained
    PREFIX/update    what `run status --json` prints, retained
    homeassistant/device/ID/config    how Home Assistant shows the state, retained

`publish` never blocks: a thread of paho sends. An event that it accepts is promised: it is sent until the broker has
acknowledged it, also after the broker was away, as long as this process lives. At most `QUEUE` events wait; further
ones are dropped and counted. All else is sent again after each connect.

Sources: MQTT 3.1.1 (OASIS standard, 2014), 3.1.2.5 (will), 4.3.2 (QoS 1); the documentation of paho-mqtt 2
(`max_queued_messages_set`, `reconnect_delay_set`); Home Assistant's page "MQTT", "Device discovery messages".
"""

from __future__ import annotations

import hashlib
import math
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from edgepress.runtime.errors import reason_of
from edgepress.runtime.mqtt_client import make_client
from edgepress.runtime.mqtt_options import BrokerOptions, read_address, read_prefix
from edgepress.runtime.text import json_text, one_line

if TYPE_CHECKING:
    from paho.mqtt.client import Client, MQTTMessageInfo

QUEUE = 1000
"""Most events that wait for the broker."""
KEEPALIVE_S = 30
"""Seconds of silence after which the broker is asked whether it is there, and tells the last will."""
LEAST_RETRY_S = 1
"""Seconds before the first new try to connect; each further one waits twice as long."""
MOST_RETRY_S = 30
"""Most seconds between two tries."""
END_S = 5.0
"""Seconds that the end waits for acknowledgements."""
NO_STATE = {"label": None, "what": "start", "score": None, "drift": False}
"""The state before a label has lasted; Home Assistant shows it as unknown."""


class Broker:
    """A connection to a broker that comes back by itself.

    Args:
        options: How to reach it.
        tell: Called with a sentence when the connection is lost, is back, or is refused, and if an event is dropped.

    Raises:
        InputError: An option can't be used.
        MissingExtraError: paho-mqtt is not installed.
    """

    def __init__(self, options: BrokerOptions, tell: Callable[[str], None]) -> None:
        self.prefix = read_prefix(options.prefix)
        self._host, self._port = read_address(options.address, tls=options.tls)
        self._tls = options.tls
        self._tell = tell
        self._told: set[str] = set()
        self._connected_at = -math.inf
        self._was_connected = self._was_refused = self._ends = self._closed = False
        self._tried = threading.Event()
        self._retained = {f"{self.prefix}/state": json_text(NO_STATE)}
        self._status = f"{self.prefix}/status"
        self._leaving: dict[str, tuple[int, str]] = {}  # of each topic: message and payload that paho has not sent yet
        self._lock = threading.Lock()
        self._disconnected = threading.Event()
        self._promised: list[MQTTMessageInfo] = []
        self.queued = 0
        self.dropped = 0
        self._client = make_client(options)
        self._client.max_queued_messages_set(2 * QUEUE)  # events are counted here, so that `online` always fits
        self._client.reconnect_delay_set(LEAST_RETRY_S, MOST_RETRY_S)
        self._client.will_set(self._status, "offline", qos=1, retain=True)
        self._client.on_connect_fail = self._on_connect_fail
        self._client.on_connect = self._on_connect
        self._client.on_publish = self._on_publish
        self._client.on_disconnect = self._on_disconnect

    def start(self) -> None:
        """Begin to connect, in a thread."""
        self._client.connect_async(self._host, self._port, KEEPALIVE_S)
        self._client.loop_start()

    @property
    def waiting(self) -> int:
        """Number of events that are promised and not acknowledged."""
        return sum(not info.is_published() for info in self._promised)

    def retain(self, topic: str, payload: str) -> None:
        """Set what a topic holds; after each connect it is sent again.

        While the broker does not take what the topic held before, only the newest payload waits.
        """
        with self._lock:
            self._retained[topic] = payload
            if self._client.is_connected() and topic not in self._leaving:
                self._send(topic, payload)

    def _send(self, topic: str, payload: str) -> MQTTMessageInfo:
        """Send what a topic holds; the availability with QoS 1 as the will, so that no session keeps only the will."""
        info = self._client.publish(topic, payload, qos=int(topic == self._status), retain=True)
        self._leaving[topic] = info.mid, payload
        return info

    def _on_publish(self, client: Client, data: Any, number: int, reason: Any, properties: Any) -> None:
        """A message has left; now send what its topic holds meanwhile."""
        with self._lock:
            for topic, (leaving, payload) in [*self._leaving.items()]:
                if leaving == number:
                    del self._leaving[topic]
                    if self._retained.get(topic, payload) != payload:
                        self._send(topic, self._retained[topic])

    def publish(self, event: dict[str, Any]) -> bool:
        """Take an event for delivery and make it the state; False if it is dropped, because too many wait."""
        from paho.mqtt.enums import MQTTErrorCode

        payload = json_text(event)
        self._promised = [info for info in self._promised if not info.is_published()]
        if not self._promised:
            self._told.discard("full")
        accepted = len(self._promised) < QUEUE
        if accepted:
            info = self._client.publish(f"{self.prefix}/event", payload, qos=1)
            accepted = info.rc != MQTTErrorCode.MQTT_ERR_QUEUE_SIZE
        if accepted:
            # paho keeps the result of the first try here, and `is_published` would raise it after later ones succeeded.
            info.rc = MQTTErrorCode.MQTT_ERR_SUCCESS
            self._promised.append(info)
            self.queued += 1
        else:
            self.dropped += 1
            self._tell_if_new("full", f"acknowledges too little: {QUEUE} events wait, so further ones are dropped.")
        self.retain(f"{self.prefix}/state", payload)
        return accepted

    def close(self) -> None:
        """Wait a moment for acknowledgements, say `offline`, and disconnect."""
        from paho.mqtt.enums import MQTTErrorCode

        self._ends = True
        end = time.monotonic() + END_S
        self._tried.wait(END_S)  # a short run may end before it is connected
        self._wait_for(lambda: not self.waiting, end)
        said = False
        if self._client.is_connected() and not self.waiting:
            with self._lock:
                self._retained[self._status] = "offline"
            # Without the lock: paho's thread may hold the lock of its messages, and wait for this one in `_on_publish`.
            offline = self._client.publish(self._status, "offline", qos=1, retain=True)
            offline.rc = MQTTErrorCode.MQTT_ERR_SUCCESS  # as in `publish`
            self._wait_for(offline.is_published, end)
            said = offline.is_published()
        connected = self._client.is_connected()
        self._disconnected.clear()  # it is set if the connection was lost before
        link = self._client.socket()
        if not said and isinstance(link, socket.socket):
            with suppress(OSError):  # so that the broker tells the will, which DISCONNECT would discard
                link.shutdown(socket.SHUT_RDWR)
        self._closed = True
        self._client.disconnect()
        if connected:
            self._disconnected.wait(END_S)
        if self.waiting or self.dropped:
            lost = f"{self.waiting} events were not acknowledged by the broker, {self.dropped} were dropped"
            self._tell(f"MQTT: {lost}, of {self.queued + self.dropped}.")

    def _wait_for(self, done: Callable[[], bool], end: float) -> None:
        """Wait while the broker is there, at most until `end`, seconds of `time.monotonic`."""
        while not done() and self._client.is_connected() and time.monotonic() < end:
            time.sleep(0.01)

    def _on_connect(self, client: Client, data: Any, flags: Any, reason: Any, properties: Any) -> None:
        if self._closed:  # it was connecting
            client.disconnect()
            return
        if reason.is_failure:
            self._was_refused = True
            self._tell_if_new("refused", f"refuses the connection: {one_line(reason, 100)}.")
            self._tried.set()
            return
        self._was_connected = True
        now = time.monotonic()
        if now - self._connected_at > MOST_RETRY_S:  # else one that accepts and leaves at once would fill the log
            self._told.clear()
        self._connected_at = now
        with self._lock:
            self._retained.setdefault(self._status, "online")
            for topic in self._leaving.keys() - {self._status}:  # paho sends again what has QoS 1
                del self._leaving[topic]
            for topic, payload in self._retained.items():
                if topic not in self._leaving:
                    self._send(topic, payload)
        waiting = f"; {self.waiting} events wait for it" if self.waiting else ""
        self._tell_if_new("connected", f"is connected{waiting}.")
        self._tried.set()

    def _on_connect_fail(self, client: Client, data: Any) -> None:
        certificate = " or its certificate is not trusted" if self._tls else ""
        self._tell_if_new("unreachable", f"can't be reached{certificate}; it is tried again.")
        self._tried.set()

    def _on_disconnect(self, client: Client, data: Any, flags: Any, reason: Any, properties: Any) -> None:
        self._disconnected.set()
        if reason.is_failure and not self._ends:
            if self._was_connected:
                self._tell_if_new("away", "is away, and is tried again; events wait.")
            elif not self._was_refused:
                hint = "" if self._tls else " Does it need --mqtt-tls?"
                self._tell_if_new("silent", f"ends the connection without an answer; it is tried again.{hint}")
                self._tried.set()
        self._was_connected = self._was_refused = False

    def _tell_if_new(self, kind: str, what: str) -> None:
        """Tell something of the broker, each kind once until it is over."""
        if kind not in self._told:
            self._told.add(kind)
            with suppress(OSError, ValueError):  # a closed stderr must not end paho's thread
                self._tell(f"MQTT broker {self._host}:{self._port} {what}")


def describe_to_home_assistant(prefix: str, model: str, *, drift: bool) -> tuple[str, str]:
    """Topic and payload by which Home Assistant (2024.11 or newer) discovers a device with its sensors."""
    from edgepress import __version__

    identifier = prefix.replace("/", "_")
    if identifier != prefix:  # another prefix may have this name
        identifier += f"_{hashlib.sha256(prefix.encode()).hexdigest()[:8]}"
    label = {
        "platform": "sensor",
        "name": "Label",
        "value_template": "{{ value_json.label }}",
        "json_attributes_topic": f"{prefix}/state",
    }
    score = {
        "platform": "sensor",
        "name": "Score",
        # Events of drift have no score: what is empty is ignored. None is unknown.
        "value_template": "{% if value_json.score is number %}{{ (100 * value_json.score) | round(1) }}"
        "{% elif value_json.score is defined %}{{ None }}{% endif %}",
        "unit_of_measurement": "%",
        "state_class": "measurement",
    }
    alarm = {
        "platform": "binary_sensor",
        "name": "Drift",
        "device_class": "problem",
        "entity_category": "diagnostic",
        "value_template": "{{ 'ON' if value_json.drift else 'OFF' }}",
    }
    components: dict[str, dict[str, str]] = {"label": label, "score": score} | ({"drift": alarm} if drift else {})
    for name, component in components.items():
        component["unique_id"] = f"{identifier}_{name}"
    document = {
        "device": {"identifiers": [identifier], "name": prefix, "manufacturer": "edgepress", "model": model},
        "origin": {"name": "edgepress", "sw_version": __version__},
        "availability_topic": f"{prefix}/status",
        "state_topic": f"{prefix}/state",
        "qos": 1,
        "components": components,
    }
    return f"homeassistant/device/{identifier}/config", json_text(document)


def publish_once(options: BrokerOptions, topic: str, document: dict[str, Any]) -> None:
    """Publish a document, retained, below the prefix, and wait until the broker has it.

    Raises:
        InputError: An option can't be used.
        MissingExtraError: paho-mqtt is not installed.
        OSError: The broker was not reached or did not acknowledge it in `END_S` seconds.
    """
    topic = f"{read_prefix(options.prefix)}/{topic}"
    host, port = read_address(options.address, tls=options.tls)
    client = make_client(options)
    try:
        client.connect(host, port, KEEPALIVE_S)
    except OSError as e:
        raise OSError(f"the MQTT broker {host}:{port} can't be reached ({reason_of(e)}).") from e
    client.loop_start()
    info = client.publish(topic, json_text(document), qos=1, retain=True)
    published = False
    with suppress(RuntimeError):  # the connection was lost before
        info.wait_for_publish(END_S)
        published = info.is_published()
    client.disconnect()
    if not published:
        raise OSError(f"the MQTT broker {host}:{port} did not acknowledge it. Is the login right?")
