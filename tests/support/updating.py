"""Programs and services of boards, for tests of updates."""

from __future__ import annotations

import http.server
import os
import threading
from pathlib import Path
from typing import Any

import pytest


def fake(folder: Path, name: str, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that comes first on the path."""
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{text}\n")
    (folder / name).chmod(0o755)
    if str(folder) not in os.environ["PATH"].split(":"):
        monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")


class Service:
    """A service whose answer depends on the release in use, and the programs that control it."""

    def __init__(self, board: Any, folder: Path) -> None:
        self.board, self.folder = board, folder
        self.good: set[int] = {1, 2, 3}
        service = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200 if service.board.running() in service.good else 500)
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()
        self.unit = folder / "units" / "edgepress-demo.service"
        self.unit.parent.mkdir()
        self.belong_to(board.prefix)
        (board.prefix / ".units").write_text(f"{self.unit.parent}\n")

    def belong_to(self, prefix: Path) -> None:
        """Write the unit."""
        self.unit.write_text(f"ExecStart={prefix}/current/run serve --port {self.server.server_address[1]}\n")
