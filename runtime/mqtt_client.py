"""A client of paho-mqtt that publishes only, so a broker can do no more than acknowledge.

Of 3.1.1's packets it takes the three that answer its own: CONNACK, once a connection, PUBACK and PINGRESP. At any other
one, or at the head of a longer one, it ends the connection: paho answers some without limit, holds up to 256 MB of
others, and until 2.1 its thread ends at malformed ones.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from edgepress.runtime.errors import MissingExtraError
from edgepress.runtime.mqtt_options import BrokerOptions, read_login

if TYPE_CHECKING:
    from paho.mqtt.client import Client
    from paho.mqtt.enums import MQTTErrorCode

MAX_PACKET_BYTES = 2
"""Bytes after the head of the longest packet that answers what this client sends (MQTT 3.1.1, 3.2 and 3.4)."""
CONNACK = 0x20
"""First byte of the answer to a connection."""
ANSWERS = (CONNACK, 0x40, 0xD0)
"""First bytes of the packets that answer what this client sends: CONNACK, PUBACK and PINGRESP."""


def make_client(options: BrokerOptions) -> Client:
    """A client that is not connected yet.

    Raises:
        InputError: The login can't be used.
        MissingExtraError: paho-mqtt is not installed, or is of version 1.
    """
    try:
        from paho.mqtt.client import Client
        from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode
    except ImportError as e:
        missing = MissingExtraError("--mqtt", "paho-mqtt", "mqtt")
        if (Path(__file__).resolve().parents[2] / "MANIFEST.json").exists():
            missing.hint = "Make the bundle with: edgepress bundle --mqtt"
        raise missing from e

    class Sender(Client):
        """A client that leaves a broker that sends something else than answers."""

        def _sock_recv(self, bufsize: int) -> bytes:
            if bufsize > MAX_PACKET_BYTES:
                raise ConnectionError("a packet that was not asked for")
            return super()._sock_recv(bufsize)

        def _packet_handle(self) -> MQTTErrorCode:
            first = self._in_packet["command"]
            if first not in ANSWERS or (first == CONNACK and self.is_connected()):
                return MQTTErrorCode.MQTT_ERR_PROTOCOL
            return super()._packet_handle()

    client = Sender(CallbackAPIVersion.VERSION2, client_id=f"edgepress-{os.urandom(6).hex()}")
    user, password = read_login(options.login)
    if user is not None:
        client.username_pw_set(user, password)
    if options.tls:
        client.tls_set()
    return client
