"""Serve a model over HTTP: `POST /classify` an image or a `.npy` array, get JSON; `GET /ready` and `/healthz`.

If the model keeps its state, all requests are one stream, whoever sends them; `POST /reset` begins a new one.

An event loop reads all requests and one thread decodes and classifies, so a slow client delays nobody and costs a few
kilobytes. There are limits on connections, on the size of a body and of all bodies, on the queue for the engine (503
with Retry-After), and on the time to receive a request. There is one request per connection, and no TLS or
authentication; by default only this machine can connect (127.0.0.1).
"""

from __future__ import annotations

import asyncio
import http.client
import io
import json
import signal
import sys
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qs, urlsplit

from edgepress.runtime.errors import EdgepressError
from edgepress.runtime.model import Model

MAX_BODY, MAX_BODIES, MAX_HEAD, MAX_CONNECTIONS, QUEUE = 8 << 20, 64 << 20, 16 << 10, 500, 64
MAX_PIXELS = 12_500_000
"""Pillow's limit; an image with more than twice as many pixels is refused before decoding."""
Reply = tuple[int, dict[str, Any]]


def serve(
    model: Model, port: int, *, host: str = "127.0.0.1", timeout_s: float = 10.0, on_ready: Callable[[int], None]
) -> None:
    """Serve a model until SIGTERM or SIGINT, then answer the received requests and return.

    Port 0 chooses a free port; OSError if the port is in use. `timeout_s` limits receiving a request and sending its
    answer. `on_ready` is called with the port when the server accepts requests.
    """
    with suppress(ImportError):
        from PIL import Image

        Image.MAX_IMAGE_PIXELS = MAX_PIXELS
    asyncio.run(_Server(model, timeout_s).run(host, port, on_ready))


class _Server:
    def __init__(self, model: Model, timeout_s: float) -> None:
        self._model, self._timeout_s, self._worker = model, timeout_s, ThreadPoolExecutor(1)
        self._tasks: set[asyncio.Task[None] | None] = set()
        self._bytes = self._waiting = 0

    async def run(self, host: str, port: int, on_ready: Callable[[int], None]) -> None:
        stop, loop = asyncio.Event(), asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        server = await asyncio.start_server(self._connected, host, port, limit=MAX_HEAD, backlog=1024)
        on_ready(server.sockets[0].getsockname()[1])
        await stop.wait()
        server.close()
        if tasks := [task for task in self._tasks if task is not None]:
            await asyncio.wait(tasks, timeout=self._timeout_s)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._tasks.add(task := asyncio.current_task())
        try:
            full = len(self._tasks) > MAX_CONNECTIONS
            status, answer = _error(503, "Too many connections.") if full else await self._reply(reader, writer)
            body = json.dumps(answer, ensure_ascii=False).encode() + b"\n"
            head = f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\nContent-Type: application/json\r\n"
            head += "Retry-After: 1\r\n" if status == 503 else ""
            writer.write(f"{head}Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode() + body)
            async with asyncio.timeout(self._timeout_s):
                await writer.drain()
                if status != 200 and not full:  # closing with unread input resets the connection and loses the answer
                    writer.write_eof()
                    for _ in range(4 * MAX_BODY >> 14):
                        if not await reader.read(1 << 14):
                            break
        except (OSError, TimeoutError):  # the client left or does not read the answer
            writer.transport.abort()
        finally:
            writer.close()
            self._tasks.discard(task)

    async def _reply(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Reply:
        taken = 0
        try:
            async with asyncio.timeout(self._timeout_s):
                first, _, rest = (await reader.readuntil(b"\r\n\r\n")).partition(b"\r\n")
                method, target, _ = first.decode("ascii").split(" ")
                headers, url = http.client.parse_headers(io.BytesIO(rest)), urlsplit(target)
                if url.path in ("/ready", "/healthz") and method == "GET":
                    return 200, {"status": "ok", "model": self._model.path.name, "engine": self._model.engine}
                if url.path == "/reset" and method == "POST" and self._model.keeps_state:
                    await asyncio.get_running_loop().run_in_executor(self._worker, self._model.reset)
                    return 200, {"status": "ok"}
                length = headers.get("Content-Length", "")
                if url.path != "/classify":
                    return _error(404, "Accepted: POST /classify, GET /ready and GET /healthz.")
                if method != "POST":
                    return _error(405, "POST an image or a .npy array to /classify.")
                if not (length.isdecimal() and length.isascii()):
                    return _error(411, "Content-Length is required.")
                if len(length) > 12 or int(length) > MAX_BODY:
                    return _error(413, f"The body has {length} bytes; accepted: up to {MAX_BODY}.")
                top = parse_qs(url.query).get("top", ["5"])[0]
                if not (top.isdecimal() and len(top) < 9):
                    return _error(400, f"top is {top[:20]!r}; accepted: a whole number.")
                if "Expect" in headers:
                    writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
                body = bytearray()
                while len(body) < int(length):  # count received bytes: a claimed length must not block others
                    if not (piece := await reader.read(min(1 << 16, int(length) - len(body)))):
                        return _error(400, f"Incomplete HTTP request: {len(body)} of {length} bytes arrived.")
                    body += piece
                    taken += len(piece)
                    self._bytes += len(piece)
                    if self._bytes > MAX_BODIES:
                        return _error(503, "Too many bytes are arriving at once.")
            if self._waiting >= QUEUE:
                return _error(503, f"{QUEUE} requests are already waiting for the engine.")
            self._waiting += 1
            try:
                loop = asyncio.get_running_loop()
                classes = await loop.run_in_executor(self._worker, self._model.classify, bytes(body), int(top))
            finally:
                self._waiting -= 1
            return 200, {"classes": [p._asdict() for p in classes]}
        except EdgepressError as e:
            return 400, {"error": e.to_dict()}
        except TimeoutError:
            return _error(408, f"The request did not arrive in {self._timeout_s:g} s.")
        except asyncio.LimitOverrunError:
            return _error(431, f"The headers are longer than {MAX_HEAD} bytes.")
        except (asyncio.IncompleteReadError, ValueError, http.client.HTTPException) as e:
            return _error(400, f"Invalid HTTP request: {e}")
        except MemoryError:
            return _error(413, "Not enough memory for this image.")
        except OSError:
            raise
        except Exception:  # a bug: only this request fails
            traceback.print_exc(file=sys.stderr)
            return _error(500, "Internal error; see the server's log.")
        finally:
            self._bytes -= taken


def _error(status: int, message: str) -> Reply:
    return status, {"error": {"kind": "http", "message": message, "hint": ""}}
