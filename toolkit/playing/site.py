"""The addresses of the page's server with their replies, and the two threads that compute them."""

from __future__ import annotations

import asyncio
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from edgepress import __version__
from edgepress.runtime.web import Refused
from edgepress.toolkit.data.decoding import MAX_PIXELS
from edgepress.toolkit.host.describe import describe_host, host_title
from edgepress.toolkit.playing.differences import Differences
from edgepress.toolkit.playing.drawing import draw_item
from edgepress.toolkit.playing.panel import Panel
from edgepress.toolkit.playing.web import MAX_BODY, Reply, Request, json_reply
from edgepress.toolkit.reports.chart_data import color_of, shape_of
from edgepress.toolkit.reports.page import style_sheet

HERE = Path(__file__).parent
SCRIPTS = ("answers.js", "give.js", "items.js", "play.js")
QUEUE = 64
"""Most requests that wait for the files."""
MAX_TOP = 1000
"""Most labels that a request may ask for."""
TOP = 5
"""Labels of an answer, unless a request asks for more or fewer."""
TEST_IMAGE = re.compile(r"/test/(\d{1,9})(\.png)?", re.ASCII)


class Site:
    """The page, the answers of the files, and the test images; `differences` is replaced as they are found.

    Args:
        panel: The opened files.
        differences: What is known of the test images at the beginning.
    """

    def __init__(self, panel: Panel, differences: Differences) -> None:
        self.panel = panel
        self.differences = differences
        self._asking = ThreadPoolExecutor(1)
        self._reading = ThreadPoolExecutor(1)
        self._waiting = 0
        self._host = host_title(describe_host())
        self._files = {
            "/": Reply(200, "text/html; charset=utf-8", _read("page.html")),
            "/play.css": Reply(200, "text/css; charset=utf-8", style_sheet().encode() + _read("play.css")),
        }
        for name in SCRIPTS:
            self._files[f"/{name}"] = Reply(200, "text/javascript; charset=utf-8", _read(name))

    async def handle(self, request: Request) -> Reply:
        """Answer a request.

        Raises:
            Refused: There is nothing at its address, or too many wait.
            EdgepressError: What was sent can't be classified.
        """
        path = request.path
        posted = request.method == "POST"
        test = TEST_IMAGE.fullmatch(path)
        if posted and path == "/classify":
            top = _top(request)
            quick = "quick" in request.query
            return json_reply(await self._ask(lambda: self.panel.classify(request.body, top=top, quick=quick)))
        if posted and test and not test[2]:
            top = _top(request)
            item = await self._test_item(int(test[1]))
            count = len(self.panel.players)
            return json_reply(await self._ask(lambda: self.panel.answers([item] * count, top=top)))
        if posted or (test and not test[2]):
            raise Refused(404 if not test else 405, "Accepted: POST /classify and /test/ROW; see docs/play.md.")
        if test:
            item = await self._test_item(int(test[1]))
            return Reply(200, "image/png", draw_item(item))
        if path == "/state":
            return json_reply(self.state())
        if path == "/differences":
            return json_reply(self.differences.to_dict())
        if path in self._files:
            return self._files[path]
        raise Refused(404, "Nothing is here. The page is at /.")

    def state(self) -> dict[str, Any]:
        """What the page shows before anything is asked."""
        choice = self.panel.choice
        spec = choice.reference.contract.input
        return {
            "version": __version__,
            "host": self._host,
            "files": [
                row | {"color": color_of(row["scheme"]), "shape": shape_of(row["engine"])} for row in self.panel.state()
            ],
            "broken": [{"name": name, "message": message} for name, message in choice.broken],
            "notes": list(choice.notes),
            "is_float": choice.is_float,
            "labels": len(choice.reference.contract.labels),
            "input": {"image": spec.is_image, "shape": list(spec.shape), "color": spec.color},
            "limits": {"body": MAX_BODY, "pixels": 2 * MAX_PIXELS},
        }

    def close(self) -> None:
        """Start no more work."""
        for pool in (self._asking, self._reading):
            pool.shutdown(wait=False, cancel_futures=True)

    async def _ask(self, work: Any) -> Any:
        """Let the files answer, one request after another."""
        if self._waiting >= QUEUE:
            raise Refused(503, f"{QUEUE} requests are already waiting for the files.")
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._asking, work)
        finally:
            self._waiting -= 1

    async def _test_item(self, row: int) -> Any:
        loop = asyncio.get_running_loop()
        item = await loop.run_in_executor(self._reading, self.differences.item, row)
        if item is None:
            raise Refused(404, "This test image is not listed.")
        return item


def _read(name: str) -> bytes:
    return (HERE / name).read_bytes()


def _top(request: Request) -> int:
    text = request.query.get("top", str(TOP))
    if not re.fullmatch(r"[0-9]{1,4}", text) or not 1 <= int(text) <= MAX_TOP:
        raise Refused(400, f"top is {text[:20]!r}; accepted: a whole number from 1 to {MAX_TOP}.")
    return int(text)
