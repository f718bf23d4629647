"""What the tests of `edgepress play` share: its server, and files that differ on some test images."""

from __future__ import annotations

import http.client
import importlib
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks" / "faults"
HOSTILE = '<img src=x onerror="window.hacked=1">.tflite'


def fuzz() -> ModuleType:
    """`benchmarks/faults/play_fuzz.py`."""
    if "play_fuzz" not in sys.modules:
        with pytest.MonkeyPatch.context() as patch:
            patch.syspath_prepend(str(BENCHMARKS))
            importlib.import_module("play_fuzz")
    return sys.modules["play_fuzz"]


def damaged(file: Path, copy: Path) -> Path:
    """A copy of an int8 file with negated weights in its middle, so that it opens and answers other classes."""
    content = bytearray(file.read_bytes())
    middle = len(content) // 2
    for at in range(middle, middle + 6000):
        content[at] ^= 0xFF
    copy.write_bytes(content)
    return copy


def some_files(run: Any, folder: Path) -> list[Path]:
    """A float32 file, an int8 file, a damaged one whose name is hostile, and an int8 file of ONNX."""
    folder.mkdir(exist_ok=True)
    names = ("tflite-float32", "tflite-int8", "onnx-int8")
    *files, last = [Path(shutil.copy(run.variants[name], folder)) for name in names]
    return [*files, damaged(run.variants["tflite-int8"], folder / HOSTILE), last]


class Answer(NamedTuple):
    """What the server answered."""

    status: int
    body: bytes
    headers: http.client.HTTPMessage

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Client:
    """Sends requests to a server as its own page does, unless told otherwise."""

    def __init__(self, url: str) -> None:
        self._at = urlsplit(url)
        self.port = self._at.port

    def ask(self, method: str, path: str, body: bytes | None = None, **headers: str) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        connection.request(
            method,
            f"{self._at.path.rstrip('/')}{path}",
            body,
            {name.replace("_", "-"): value for name, value in headers.items()},
        )
        answer = connection.getresponse()
        return Answer(answer.status, answer.read(), answer.headers)


class Page:
    """The page in a tab of its own, with what it complained of and what it asked of others than its server."""

    def __init__(self, browser: Any, url: str, **options: Any) -> None:
        self.context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}} | options)
        self.tab = self.context.new_page()
        self.complaints: list[str] = []
        self.elsewhere: list[str] = []
        self.tab.on("console", lambda message: self.complaints.append(message.text))
        self.tab.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.tab.on("request", self._asked)
        self._own = url
        self.tab.goto(self._own)
        self.tab.wait_for_selector("html[data-ready=yes]")
        self.tab.wait_for_selector("#cards button")

    def _asked(self, request: Any) -> None:
        if not request.url.startswith((self._own, "data:", f"blob:{self._own.rsplit('/', 2)[0]}/")):
            self.elsewhere.append(request.url)

    def text(self, selector: str) -> str:
        return str(self.tab.locator(selector).inner_text()).strip()

    def answers(self) -> int:
        return int(self.tab.evaluate("Number(document.documentElement.dataset.answers ?? 0)"))

    def after(self, act: Callable[[], Any], more: int = 1) -> None:
        """Wait until so many more answers are shown."""
        until = self.answers() + more
        act()
        for _ in range(600):
            if self.answers() >= until:
                return
            self.tab.wait_for_timeout(50)
        raise AssertionError(f"no answer: {self.text('#trouble')}")
