"""Events, state and availability to an MQTT broker, with paho-mqtt (the extra `mqtt`); nothing is subscribed to.

    PREFIX/event     each event, QoS 1, not retained: at least once, so receivers tell repeated ones by their `id`
    PREFIX/state     the last event, retained
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

import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from edgepress.runtime.errors import MissingExtraError, reason_of
from edgepress.runtime.mqtt_options import BrokerOptions, read_address, read_login, read_prefix
from edgepress.runtime.text import json_text, one_line

if TYPE_CHECKING:
    from paho.mqtt.client import Client, MQTTMessageInfo

QUEUE = 1000
"""Events that wait for the broker at most."""
KEEPALIVE_S = 30
"""Seconds of silence after which the broker is asked whether it is there, and tells the last will."""
LEAST_RETRY_S = 1
"""Seconds before the first new try to connect; each further one waits twice as long."""
MOST_RETRY_S = 30
"""Most seconds between two tries."""
END_S = 5.0
"""Seconds that the end waits for acknowledgements."""


def make_client(options: BrokerOptions) -> Client:
    """A client that is not connected yet.

    Raises:
        InputError: The login can't be used.
        MissingExtraError: paho-mqtt is not installed, or is of version 1.
    """
    try:
        from paho.mqtt.client import Client
        from paho.mqtt.enums import CallbackAPIVersion
    except ImportError as e:
        raise MissingExtraError("--mqtt", "paho-mqtt", "mqtt") from e
    client = Client(CallbackAPIVersion.VERSION2, client_id=f"edgepress-{os.urandom(6).hex()}")
    user, password = read_login(options.login)
    if user is not None:
        client.username_pw_set(user, password)
    if options.tls:
        client.tls_set()
    return client


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
        self._tell = tell
        self._said = ""
        self._retained: dict[str, str] = {}
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._promised: list[MQTTMessageInfo] = []
        self.queued = 0
        self.dropped = 0
        self._client = make_client(options)
        self._client.max_queued_messages_set(2 * QUEUE)  # events are counted here, so that `online` always fits
        self._client.reconnect_delay_set(LEAST_RETRY_S, MOST_RETRY_S)
        self._client.will_set(f"{self.prefix}/status", "offline", qos=1, retain=True)
        doubt = " or its certificate is not trusted" if options.tls else ""
        self._client.on_connect_fail = lambda client, data: self._say(f"can't be reached{doubt}; it is tried again")
        self._client.on_connect = self._on_connect
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
        """Set what a topic holds; after each connect it is sent again."""
        with self._lock:
            self._retained[topic] = payload
            self._send(topic, payload)

    def _send(self, topic: str, payload: str) -> None:
        """Send what a topic holds; the availability with QoS 1 as the will, so that no session keeps only the will."""
        self._client.publish(topic, payload, qos=int(topic == f"{self.prefix}/status"), retain=True)

    def publish(self, event: dict[str, Any]) -> bool:
        """Take an event for delivery and make it the state; False if it is dropped, because too many wait."""
        from paho.mqtt.enums import MQTTErrorCode

        payload = json_text(event)
        self._promised = [info for info in self._promised if not info.is_published()]
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
            self._say(f"is away, and {QUEUE} events wait, so further ones are dropped")
        self.retain(f"{self.prefix}/state", payload)
        return accepted

    def close(self) -> None:
        """Wait a moment for acknowledgements, say `offline`, and disconnect."""
        end = time.monotonic() + END_S
        while self.waiting and self._client.is_connected() and time.monotonic() < end:
            time.sleep(0.01)
        self.retain(f"{self.prefix}/status", "offline")
        connected = self._client.is_connected()
        self._ended.clear()  # it is set if the connection was lost before
        self._client.disconnect()
        if connected:
            self._ended.wait(END_S)
        if self.waiting or self.dropped:
            lost = f"{self.waiting} events were not acknowledged by the broker, {self.dropped} were dropped"
            self._tell(f"MQTT: {lost}, of {self.queued + self.dropped}.")

    def _on_connect(self, client: Client, data: Any, flags: Any, reason: Any, properties: Any) -> None:
        if reason.is_failure:
            self._say(f"refuses the connection: {one_line(reason, 100)}")
            return
        with self._lock:
            self._retained.setdefault(f"{self.prefix}/status", "online")
            for topic, payload in self._retained.items():
                self._send(topic, payload)
        self._say("is connected" + (f"; {self.waiting} events wait for it" if self.waiting else ""))

    def _on_disconnect(self, client: Client, data: Any, flags: Any, reason: Any, properties: Any) -> None:
        self._ended.set()
        if reason.is_failure:
            self._say("is away, and is tried again; events wait")

    def _say(self, what: str) -> None:
        """Tell something of the broker, once."""
        if what != self._said:
            self._said = what
            with suppress(OSError, ValueError):  # a closed stderr must not end paho's thread
                self._tell(f"MQTT broker {self._host}:{self._port} {what}.")


def describe_to_home_assistant(prefix: str, model: str, *, drift: bool) -> tuple[str, str]:
    """Topic and payload by which Home Assistant (2024.11 or newer) discovers a device with its sensors.

    Args:
        prefix: What the topics begin with.
        model: Name of the model file.
        drift: Whether an alarm of drift is looked for.
    """
    from edgepress import __version__

    identifier = prefix.replace("/", "_")
    label = {
        "platform": "sensor",
        "name": "Label",
        "value_template": "{{ value_json.label }}",
        "json_attributes_topic": f"{prefix}/state",
    }
    score = {
        "platform": "sensor",
        "name": "Score",
        "value_template": "{{ (100 * value_json.score) | round(1) }}",
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
