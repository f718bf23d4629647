"""A small HTTP server for one page on this machine: an event loop, with limits on everything that a client sends.

Only 127.0.0.1 is listened on, and that alone protects nobody from other pages in the same browser. So a request must
name this machine as its host (no page can reach the server under a name of its own: DNS rebinding), and come from the
page itself, as `Origin` and `Sec-Fetch-Site` say, which browsers set and pages can't (`edgepress.runtime.web` has the
rule; here the host must be this machine, and other pages may not even load a picture). All answers forbid the browser
to load anything from elsewhere, or to show the page inside another one.

As in `edgepress.runtime.serve`, a request has to arrive in time as a whole, a slow client delays nobody, and there is
one request per connection.
"""

from __future__ import annotations

import asyncio
import http.client
import io
import json
import re
import sys
import threading
import traceback
from collections.abc import Awaitable, Callable
from contextlib import suppress
from http import HTTPStatus
from queue import SimpleQueue
from typing import Any, NamedTuple
from urllib.parse import parse_qs

from edgepress.runtime.web import refusal, send
from edgepress.toolkit.errors import EdgepressError

MAX_HEAD, MAX_BODY, MAX_BODIES, MAX_CONNECTIONS = 16 << 10, 32 << 20, 96 << 20, 100
"""Bytes of a head, of a body and of all bodies together, and connections at once."""
TIMEOUT_S = 10.0
"""Time to receive a request, and to send its answer."""
HOST = re.compile(r"(?:127\.0\.0\.1|localhost)(?::\d{1,5})?", re.ASCII)
"""Any port: an ssh tunnel has another one at its end."""
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' blob: data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
    "Referrer-Policy": "same-origin",  # with "no-referrer", browsers say `Origin: null` in the page's own requests
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cache-Control": "no-store",
}
"""Headers of every answer."""


class Request(NamedTuple):
    """A request that was allowed: its method, path, query (the last value of each name) and body."""

    method: str
    path: str
    query: dict[str, str]
    body: bytes


class Reply(NamedTuple):
    """An answer: its status, type and content."""

    status: int
    kind: str
    body: bytes


class Refused(Exception):  # noqa: N818 - no error of the program
    """A request that is answered with an error."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def document(value: Any, status: int = 200) -> Reply:
    """An answer in JSON; bytes of file names that are no text become escapes of it."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    return Reply(status, "application/json", text.encode(errors="backslashreplace") + b"\n")


class Server:
    """The server, in a thread of its own.

    Args:
        handle: Answers a request; it may raise `Refused` and `EdgepressError`.
        timeout_s: Time to receive a request, and to send its answer, seconds.
    """

    def __init__(self, handle: Callable[[Request], Awaitable[Reply]], *, timeout_s: float = TIMEOUT_S) -> None:
        self._handle, self._timeout_s = handle, timeout_s
        self._tasks: set[asyncio.Task[None] | None] = set()
        self._bytes = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)

    def start(self, port: int) -> int:
        """Listen on 127.0.0.1 and return the port; 0 takes a free one.

        Raises:
            OSError: The port is in use, or may not be used.
            OverflowError: It is no number of a port.
        """
        self._port, self._begun = port, SimpleQueue[int | Exception]()
        self._thread.start()
        begun = self._begun.get()
        if isinstance(begun, Exception):
            raise begun
        return begun

    def wait(self) -> None:
        """Wait until the server ends; Ctrl-C interrupts it on every system."""
        while self._thread.is_alive():
            self._thread.join(0.5)

    def stop(self) -> None:
        """End it; requests that are being answered are given up."""
        if self._loop is not None:
            with suppress(RuntimeError):  # it has ended
                self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join(self._timeout_s)

    async def _run(self) -> None:
        try:
            server = await asyncio.start_server(self._connected, "127.0.0.1", self._port, limit=MAX_HEAD)
        except Exception as e:
            self._begun.put(e)
            return
        self._loop = asyncio.get_running_loop()
        self._begun.put(server.sockets[0].getsockname()[1])
        await self._stop.wait()
        server.close()
        for task in [task for task in self._tasks if task is not None]:
            task.cancel()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._tasks.add(task := asyncio.current_task())
        try:
            full = len(self._tasks) > MAX_CONNECTIONS
            reply = failure(503, "Too many connections.") if full else await self._reply(reader, writer)
            lines = [f"HTTP/1.1 {reply.status} {HTTPStatus(reply.status).phrase}", f"Content-Type: {reply.kind}"]
            lines += [f"Content-Length: {len(reply.body)}", "Connection: close"]
            lines += [f"{name}: {value}" for name, value in HEADERS.items()]
            answer = "\r\n".join([*lines, "", ""]).encode() + reply.body
            unread = 0 if reply.status == 200 or full else 2 * MAX_BODY
            await send(reader, writer, answer, unread=unread, timeout_s=self._timeout_s)
        except (OSError, TimeoutError):  # the client left or does not read the answer
            writer.transport.abort()
        finally:
            writer.close()
            self._tasks.discard(task)

    async def _reply(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Reply:
        held: list[int] = []
        try:
            async with asyncio.timeout(self._timeout_s):
                request = await self._receive(reader, writer, held)
        except Refused as e:
            return failure(e.status, str(e))
        except TimeoutError:
            return failure(408, f"The request did not arrive in {self._timeout_s:g} s.")
        except asyncio.LimitOverrunError:
            return failure(431, f"The headers are longer than {MAX_HEAD} bytes.")
        except (asyncio.IncompleteReadError, ValueError, http.client.HTTPException) as e:
            return failure(400, f"Invalid HTTP request: {e}")
        else:
            return await self._answer(request)
        finally:
            self._bytes -= sum(held)

    async def _answer(self, request: Request) -> Reply:
        try:
            return await self._handle(request)
        except Refused as e:
            return failure(e.status, str(e))
        except EdgepressError as e:
            return document({"error": e.to_dict()}, 400)
        except Exception:  # a bug, or a file that is gone: only this request fails
            traceback.print_exc(file=sys.stderr)
            return failure(500, "Internal error; the terminal of edgepress play says more.")

    async def _receive(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, held: list[int]
    ) -> Request:  # fmt: skip
        first, _, rest = (await reader.readuntil(b"\r\n\r\n")).partition(b"\r\n")
        method, target, version = first.decode("ascii").split(" ")
        if not version.startswith("HTTP/1.") or not target.startswith("/"):
            raise ValueError("the first line is not one of HTTP/1.1")
        headers, (path, _, words) = http.client.parse_headers(io.BytesIO(rest)), target.partition("?")
        allow(method, path, headers)
        body = bytearray()
        if method == "POST":
            length = _length(headers)
            if "Expect" in headers:
                writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            while len(body) < length:  # count received bytes: a claimed length must not block others
                if not (piece := await reader.read(min(1 << 16, length - len(body)))):
                    raise Refused(400, f"Incomplete HTTP request: {len(body)} of {length} bytes arrived.")
                body += piece
                held.append(len(piece))
                self._bytes += len(piece)
                if self._bytes > MAX_BODIES:
                    raise Refused(503, "Too many bytes are arriving at once.")
        query = {name: values[-1] for name, values in parse_qs(words, max_num_fields=8).items()}
        return Request(method, path, query, bytes(body))


def allow(method: str, path: str, headers: http.client.HTTPMessage) -> None:
    """Refuse what does not come from the page itself.

    Raises:
        Refused: The method is unknown, the host is not this machine, or another page sent the request.
    """
    if method not in ("GET", "POST"):
        raise Refused(405, "Accepted: GET and POST.")
    if not HOST.fullmatch(headers.get("Host", "")):
        raise Refused(403, "Refused: the request names another host than this machine. Open http://127.0.0.1:PORT/.")
    if why := refusal(method, headers, loopback=True, allowed=()):
        raise Refused(403, why)
    followed = path == "/" and headers.get("Sec-Fetch-Mode") == "navigate"  # a link on another page
    if headers.get("Sec-Fetch-Site", "none") not in ("none", "same-origin") and not followed:
        raise Refused(403, "Refused: another page sent this request.")


def failure(status: int, message: str) -> Reply:
    """The answer to a request that is refused."""
    return document({"error": {"kind": "http", "message": message, "hint": ""}}, status)


def _length(headers: http.client.HTTPMessage) -> int:
    lengths = headers.get_all("Content-Length", [])
    if len(lengths) != 1 or "Transfer-Encoding" in headers or not re.fullmatch(r"[0-9]+", lengths[0]):
        raise Refused(411, "One Content-Length is required.")
    if len(lengths[0]) > 12 or int(lengths[0]) > MAX_BODY:
        raise Refused(413, f"The body has {lengths[0][:20]} bytes; accepted: up to {MAX_BODY}.")
    return int(lengths[0])
