"""A broker on loopback that does what mosquitto never does, and a port at which nothing listens."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from typing import Any


def unused_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class FakeBroker:
    """Does what mosquitto never does. A connection of a client is a list of its packets, as (first byte, rest).

    Args:
        connack: What the answer to CONNECT says; 0: welcome; None: the connection ends without one.
        acknowledges: Whether it acknowledges what has QoS 1.
        first: What it sends to its first client after that.
        reads: Set while it reads; None: always.
        ends: Whether it ends each connection after its first answer.
    """

    def __init__(
        self,
        *,
        connack: int | None = 0,
        acknowledges: bool = True,
        first: bytes = b"",
        reads: threading.Event | None = None,
        ends: bool = False,
    ) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self.connections: list[list[tuple[int, bytes]]] = []
        self.ended: list[bool] = []
        self._connack, self._acknowledges, self._first = connack, acknowledges, first
        self._reads, self._ends = reads, ends
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            connection, _ = self._socket.accept()
            self.connections.append([])
            self.ended.append(False)
            with connection, connection.makefile("rb") as file, suppress(OSError, IndexError):
                self._answer(connection, file)
            self.ended[-1] = True

    def _answer(self, connection: socket.socket, file: Any) -> None:
        while head := file.read(1):
            length = shift = 0
            while (byte := file.read(1)[0]) & 128:
                length |= (byte & 127) << shift
                shift += 7
            body = file.read(length | byte << shift)
            self.connections[-1].append((head[0], body))
            if head[0] == 0x10:
                if self._connack is None:
                    return
                connection.sendall(bytes((0x20, 2, 0, self._connack)) + self._first)
                self._first = b""
                if self._connack or self._ends:
                    return
                if self._reads is not None:
                    self._reads.wait()
            elif head[0] >> 4 == 3 and head[0] & 6 and self._acknowledges:
                begin = 2 + int.from_bytes(body[:2], "big")
                connection.sendall(b"\x40\x02" + body[begin : begin + 2])

    def published(self, number: int = -1) -> list[tuple[str, bytes]]:
        """Topics, and what follows them, of a connection, the last one by default."""
        found = []
        for head, body in self.connections[number]:
            if head >> 4 == 3:
                end = 2 + int.from_bytes(body[:2], "big")
                found.append((body[2:end].decode(), body[end + 2 * bool(head & 6) :]))
        return found
