"""Open files, serve their page at its addresses, and compare them on the test images meanwhile: `play`.

The main thread compares and waits, because only it can be interrupted; the server has a thread of its own.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, Unpack

from edgepress import __version__
from edgepress.converters.contract.hints import Hints
from edgepress.converters.process.system import map_large_blocks
from edgepress.runtime.web import Refused
from edgepress.toolkit.data.decoding import MAX_PIXELS
from edgepress.toolkit.data.reading import Reading, ReadingArguments
from edgepress.toolkit.data.types import DataSet
from edgepress.toolkit.errors import EdgepressError
from edgepress.toolkit.improvement.playing.choice import Choice, Differences, choose, find_differences
from edgepress.toolkit.improvement.playing.drawing import draw_item
from edgepress.toolkit.improvement.playing.hearing import MOST_SECONDS, hear
from edgepress.toolkit.improvement.playing.panel import Panel
from edgepress.toolkit.improvement.playing.web import MAX_BODY, Reply, Request, Server, json_reply, start_server
from edgepress.toolkit.machine.host import describe_host, host_title
from edgepress.toolkit.reports.page import style_sheet
from edgepress.toolkit.reports.view import color_of, shape_of
from edgepress.toolkit.text import plural

HERE = Path(__file__).parent
SCRIPTS = ("answers.js", "give.js", "items.js", "play.js", "recorder.js", "sound.js")
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
        contracts = [player.shown.contract for player in panel.players]
        self._sound = contracts[0].sound
        self._hears = any(contract.sound is not None for contract in contracts)
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
            if self._hears:
                return json_reply(await self._ask(lambda: hear(self.panel, request.body, top=top, live=quick)))
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
            return Reply(200, "image/png", draw_item(item, sound=self._sound is not None))
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
            "input": {
                "image": spec.is_image,
                "sound": self._sound is not None,
                "shape": list(spec.shape),
                "color": spec.color,
            },
            "limits": {"body": MAX_BODY, "pixels": 2 * MAX_PIXELS, "seconds": MOST_SECONDS},
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


class Playing(NamedTuple):
    """The page that is served: its address, which is secret, and what is to be known of the files."""

    url: str
    files: tuple[dict[str, str], ...]
    notes: tuple[str, ...]


def play(
    files: str | Path | Sequence[str | Path],
    *,
    data: str | None = None,
    engines: str | None = None,
    baseline: str | None = None,
    threads: int = 1,
    port: int = 0,
    hints: Hints | None = None,
    cache: Path | None = None,
    on_ready: Callable[[Playing], None],
    **reading: Unpack[ReadingArguments],
) -> None:
    """Serve the page on 127.0.0.1 until Ctrl-C.

    Args:
        files: `.tflite` and `.onnx` files, or one folder of them.
        data: The data set whose test images are compared; None: the one that the files name, if it is here.
        engines: Engines to show each file on, as for `benchmark`; None: the first that opens each file.
        baseline: File or scheme that the others are compared with; None: float32.
        threads: Number of threads that an engine may use.
        port: Port to listen on; 0 takes a free one.
        hints: What you know of files that edgepress did not make.
        cache: Folder of kept answers to test images.
        on_ready: Called when the page can be opened.

    Raises:
        EdgepressError: No file can be used, none opens, or the data or the port can't be used.
    """
    choice = choose(files, engines=engines, baseline=baseline, threads=threads, hints=hints)
    opened = None
    if data is not None:  # the user's own: what is wrong with it is an error
        opened = choice.open_data(data, reading=Reading(**reading))
        choice = choice.labelled(opened[0])
    panel = Panel(choice)
    site = Site(panel, Differences("running", "The test images are being opened."))
    server = Server(site.handle)
    map_large_blocks()  # photos are large requests
    try:
        panel.open()
        failed = [player.error for player in panel.players if player.error is not None]
        if len(failed) == len(panel.players):
            raise failed[0]
        on_ready(_ready(start_server(server, port), panel))
        if opened is None:
            try:
                opened = choice.open_data(None, reading=Reading(**reading))
            except EdgepressError as e:
                site.differences = Differences("none", f"No test images: {e.message} Name a data set with --data.")
        if opened is not None:
            site.differences = _compare_files(site, choice, *opened, cache=cache)
        server.wait()
    except KeyboardInterrupt:  # the way to end it
        pass
    finally:
        server.stop()
        site.close()  # before the processes end: what waits would start new ones
        panel.close()


def _ready(url: str, panel: Panel) -> Playing:
    files = tuple(
        {
            "file": row["file"],
            "scheme": row["scheme"],
            "engine": row["engine"] or "",
            "error": str(row["error"]["message"]) if row["error"] else "",
        }
        for row in panel.state()
    )
    broken = [f"{name}: {message}" for name, message in panel.choice.broken]
    failures = [f"{row['file']} does not answer: {row['error']}" for row in files if row["error"]]
    return Playing(url, files, (*panel.choice.notes, *broken, *failures))


def _compare_files(site: Site, choice: Choice, data: DataSet, notes: list[str], *, cache: Path | None) -> Differences:
    what = f"The files answer {plural(len(data.test), 'test item')} of {data.source}."
    begun = Differences("running", f"{what} Until they have, latencies are too high.")
    site.differences = begun

    def on_progress(_: str, share: float) -> None:
        site.differences = replace(begun, share=share)

    try:
        return find_differences(choice, data, cache=cache, notes=tuple(notes), on_progress=on_progress)
    except EdgepressError as e:
        return Differences("none", f"No test images: {e}")
