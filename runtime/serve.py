"""Serve a model over HTTP: `POST /classify` an image or a `.npy` array, get JSON; a page to try it on at `/`.

If the model keeps its state, all requests are one stream, whoever sends them; `POST /reset` begins a new one.

An event loop reads all requests and one thread decodes and classifies, so a slow client delays nobody and costs a few
kilobytes. There are limits on connections, on the size of a body and of all bodies, on the queue for the engine (503
with Retry-After), and on the time to receive a request. If the engine gives no answer in time (`limit`), all requests
get 503 and the process ends with an error, so that a supervisor starts it again. There is one request per connection,
and no TLS or authentication; by default only this machine can connect (127.0.0.1), and no page of another site (`web`).
"""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from http import HTTPStatus
from typing import Any, NamedTuple
from urllib.parse import parse_qs

from edgepress.runtime.answers import Answer
from edgepress.runtime.errors import EdgepressError, InputError
from edgepress.runtime.limit import LIMIT
from edgepress.runtime.model import Model
from edgepress.runtime.text import json_text, traceback_of
from edgepress.runtime.web import (
    HEADERS,
    MAX_HEAD,
    Bodies,
    Refused,
    is_loopback,
    name_in,
    page_files,
    read_head,
    refusal,
    send,
)

MAX_BODY = 8 << 20
MAX_BODIES = 32 << 20
"""Bytes of a body, and of all that are arriving or waiting."""
MAX_CONNECTIONS = 500
QUEUE = 64
"""Requests that wait for the engine."""
MAX_PIXELS = 12_500_000
"""Pillow's limit; an image with more than twice as many pixels is refused before decoding."""
MAX_DECODING = 104 << 20
"""Memory that decoding may take: with a body and its copies, a request takes less than 200 MB."""


class HttpReply(NamedTuple):
    """An answer; `more` are lines of its head."""

    status: int
    body: bytes
    kind: str = "application/json"
    more: str = ""


def serve(
    model: Model,
    port: int,
    *,
    host: str = "127.0.0.1",
    timeout_s: float = 10.0,
    names: Collection[str] = (),
    on_ready: Callable[[int], None],
) -> None:
    """Serve a model until SIGTERM or SIGINT, then answer the received requests and return.

    Port 0 chooses a free port; OSError if the port is in use. `timeout_s` limits receiving a request and sending its
    answer. `names` are those by which the server may be called besides its addresses, such as a proxy's.
    `on_ready` is called with the port when the server accepts requests.
    """
    with suppress(ImportError):
        from PIL import Image

        from edgepress.runtime.image import Memory

        Image.MAX_IMAGE_PIXELS = MAX_PIXELS
        Memory.most = MAX_DECODING
        Image.preinit()  # its decoders now, not with the first image
    known = {name: name_in(name.lower()) for name in names}
    if wrong := [name for name, server in known.items() if not server]:
        raise InputError(
            f"{wrong[0]!r} is not the name of a server.", "Give --allow-host a name such as board.example.org."
        )
    asyncio.run(_Server(model, timeout_s, set(known.values())).run(host, port, on_ready))


class _Server:
    def __init__(self, model: Model, timeout_s: float, names: Collection[str]) -> None:
        self._model = model
        self._timeout_s = timeout_s
        self._worker = ThreadPoolExecutor(1)
        self._tasks: set[asyncio.Task[None] | None] = set()
        self._bodies = Bodies(MAX_BODIES, MAX_BODY)
        self._waiting = 0
        self._names = names
        self._loopback = True
        self._files = page_files()
        self._ready = _json(200, _about(model))
        self._late: asyncio.Future[None] | None = None
        self._keep: Callable[[bytes], None] = lambda body: None
        with suppress(ModuleNotFoundError):  # only bundles with updates have it
            from edgepress.runtime.updates.frames import FrameKeeper

            crop = model.crop
            contract = model.contract
            shown = (lambda body: crop.png_of(body, contract.input)) if crop and contract else None
            self._keep = FrameKeeper(model.path, shown).keep

    async def run(self, host: str, port: int, on_ready: Callable[[int], None]) -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        self._late = loop.create_future()
        LIMIT.before_end.append(lambda: asyncio.run_coroutine_threadsafe(self._give_up(), loop).result(self._timeout_s))
        for number in (signal.SIGTERM, signal.SIGINT):
            with suppress(NotImplementedError):  # on Windows, where Ctrl-C ends it at once
                loop.add_signal_handler(number, stop.set)
        server = await asyncio.start_server(self._connected, host, port, limit=MAX_HEAD, backlog=1024)
        self._loopback = all(is_loopback(socket.getsockname()[0]) for socket in server.sockets)
        on_ready(server.sockets[0].getsockname()[1])
        await stop.wait()
        server.close()
        await self._finish()

    async def _finish(self) -> None:
        if tasks := [task for task in self._tasks if task is not None]:
            await asyncio.wait(tasks, timeout=self._timeout_s)

    async def _give_up(self) -> None:
        """Answer all requests, because the engine will not."""
        assert self._late is not None
        self._late.set_result(None)
        await self._finish()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._tasks.add(task := asyncio.current_task())
        try:
            full = len(self._tasks) > MAX_CONNECTIONS
            reply = _error(503, "Too many connections.") if full else await self._reply(reader, writer)
            status, body, kind, more = reply
            head = f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\nContent-Type: {kind}\r\n{HEADERS}{more}"
            head += "Retry-After: 1\r\n" if status == 503 else ""
            answer = f"{head}Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode() + body
            unread = 0 if status == 200 or full else 4 * MAX_BODY
            await send(reader, writer, answer, unread=unread, timeout_s=self._timeout_s)
        except (OSError, TimeoutError):  # the client left or does not read the answer
            writer.transport.abort()
        finally:
            writer.close()
            self._tasks.discard(task)

    async def _reply(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> HttpReply:
        body = bytearray()
        try:
            async with asyncio.timeout(self._timeout_s):
                reply = await self._receive(reader, writer, body)
            return reply if isinstance(reply, HttpReply) else await self._classify(body, reply)
        except EdgepressError as e:
            return _json(400, {"error": e.to_dict()})
        except Refused as e:
            return _error(e.status, str(e))
        except TimeoutError:
            return _error(408, f"The request did not arrive in {self._timeout_s:g} s.")
        except MemoryError:
            return _error(413, "Not enough memory for this image.")
        except OSError:
            raise
        except Exception as e:  # a bug: only this request fails
            sys.stderr.write(traceback_of(e))
            return _error(500, "Internal error; see the server's log.")
        finally:
            self._bodies.held -= len(body)

    async def _receive(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, body: bytearray
    ) -> HttpReply | int:
        """Read a request: its answer, or the number of classes to answer with, and then its body."""
        method, path, query, headers = await read_head(reader)
        if why := refusal(method, headers, loopback=self._loopback, allowed=self._names):
            raise Refused(403, why)
        if method == "GET" and path in ("/ready", "/healthz"):
            return self._ready
        if method == "GET" and path in self._files:
            kind, content = self._files[path]
            return HttpReply(200, content, kind)
        if path == "/reset" and method == "POST" and self._model.keeps_state:
            await asyncio.get_running_loop().run_in_executor(self._worker, self._model.reset)
            return _json(200, {"status": "ok"})
        if path != "/classify":
            raise Refused(404, "Accepted: POST /classify, GET /, GET /ready and GET /healthz.")
        if method != "POST":
            raise Refused(405, "POST an image or a .npy array to /classify.")
        top = parse_qs(query).get("top", ["5"])[0]
        if not (top.isdecimal() and len(top) < 9):
            raise Refused(400, f"top is {top[:20]!r}; accepted: a whole number.")
        await self._bodies.read(headers, reader, writer, body)
        return int(top)

    async def _classify(self, body: bytearray, top: int) -> HttpReply:
        if self._waiting >= QUEUE:
            raise Refused(503, f"{QUEUE} requests are already waiting for the engine.")
        assert self._late is not None
        self._waiting += 1
        answer: asyncio.Future[Any] = asyncio.get_running_loop().run_in_executor(self._worker, self._timed, body, top)
        try:
            await asyncio.wait([answer, self._late], return_when=asyncio.FIRST_COMPLETED)
            if not answer.done():
                raise Refused(503, "The engine gave no answer in time; the server ends.")
            judged, ms = answer.result()
        finally:
            answer.cancel()  # of a server that ends, which would wait for the engine's answers to nobody
            del answer  # its error has this frame in its traceback: in a circle, the body would stay in memory
            self._waiting -= 1
        return _json(200, judged.to_dict(), f"Server-Timing: classify;dur={ms:.3f}\r\n")

    def _timed(self, body: bytearray, top: int) -> tuple[Answer, float]:
        content = bytes(body)
        judged, ms = self._model.judge_in(content, top)
        self._keep(content)
        return judged, ms


def _about(model: Model) -> dict[str, Any]:
    """What `/ready` says of the model; the page prepares pictures by it."""
    spec = model.contract.input if model.contract and model.contract.input.is_image else None
    return {
        "status": "ok",
        "model": model.path.name,
        "engine": model.engine,
        "shape": list(spec.shape if spec else model.shape),
        "crop": model.crop and model.crop.text,
        "image": spec and {"color": spec.color, "resize": spec.resize},
        "decodes_images": "PIL.Image" in sys.modules,
        "keeps_state": model.keeps_state,
        "keeps_pictures": model.keeper is not None,
        "max_body_bytes": MAX_BODY,
        "max_pixels": 2 * MAX_PIXELS,
    }


def _json(status: int, document: dict[str, Any], more: str = "") -> HttpReply:
    return HttpReply(status, json_text(document).encode() + b"\n", more=more)


def _error(status: int, message: str) -> HttpReply:
    return _json(status, {"error": {"kind": "http", "message": message, "hint": ""}})
