"""A server of `edgepress.runtime serve` in a process of its own, for tests."""

from __future__ import annotations

import http.client
import json
import socket
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

TIMEOUT_S = 1.0
COMMAND = ("-m", "edgepress.runtime", "serve")


class Running:
    """A server, started with a command of Python; `ask` and `raw` send one request."""

    def __init__(self, model: Any, *options: str, command: tuple[str, ...] = COMMAND) -> None:
        whole = [sys.executable, *command, str(model), "--port", "0", "--timeout", f"{TIMEOUT_S:g}", "--json", *options]
        self.process = subprocess.Popen(whole, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.ready = json.loads(self.process.stdout.readline())
        self.port = int(self.ready["url"].split(":")[2].split("/")[0])
        self.page = f"http://127.0.0.1:{self.port}/"

    def ask(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, Any, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        connection.request(method, path, body, dict(headers or {}))
        answer = connection.getresponse()
        content, kind = answer.read(), answer.headers["Content-Type"]
        return answer.status, json.loads(content) if kind == "application/json" else content, answer.headers

    def raw(self, data: bytes, *, end: bool = False, wait_s: float = 20) -> bytes:
        with socket.create_connection(("127.0.0.1", self.port), timeout=wait_s) as connection:
            connection.sendall(data)
            if end:
                connection.shutdown(socket.SHUT_WR)
            received = b""
            while part := connection.recv(1 << 16):
                received += part
        return received

    def end(self) -> str:
        """Stop it, as its user would, and return its log."""
        self.process.terminate()
        _, log = self.process.communicate(timeout=20)
        assert self.process.returncode == 0
        return log
