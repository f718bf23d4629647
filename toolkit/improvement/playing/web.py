"""A small HTTP server for one page on this machine: an event loop, with limits on everything that a client sends.

The server listens on 127.0.0.1 only, where all users of this machine can connect. Therefore every path begins with a
random token, which the address of the page holds; without it, nothing is answered. The token is part of the path and
not a cookie, because browsers send the cookies of 127.0.0.1 to every port, also to the server of another user.

Pages of other sites in the same browser could send requests, too. Therefore the headers `Host` (against DNS rebinding),
`Origin` and `Sec-Fetch-Site` of each request are checked by the rule in `edgepress.runtime.web`; here, the host must
be this machine. Every answer forbids the browser to load anything from another site, and to show the page inside
another page.

As in `edgepress.runtime.serve`, a request has to arrive in time as a whole, a slow client delays nobody, and there is
one request per connection.
"""

from __future__ import annotations

import asyncio
import errno
import hmac
import re
import secrets
import sys
import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress
from email.message import Message
from http import HTTPStatus
from queue import SimpleQueue
from typing import Any, NamedTuple
from urllib.parse import parse_qs

from edgepress.runtime.text import json_text, traceback_of
from edgepress.runtime.web import MAX_HEAD, Bodies, Refused, read_head, refusal, send
from edgepress.toolkit.errors import EdgepressError, InputError

MAX_BODY = 32 << 20
"""Largest body of a request, bytes."""
MAX_BODIES = 96 << 20
"""Largest sum of the bodies of all requests that are arriving or being answered, bytes."""
MAX_CONNECTIONS = 100
"""Most connections at a time."""
TIMEOUT_S = 10.0
"""Time to receive a request, and to send its answer."""
TOKEN_BYTES = 18
"""Random bytes of a token."""
HOST = re.compile(r"(?:127\.0\.0\.1|localhost)(?::\d{1,5})?", re.ASCII)
"""Any port: an ssh tunnel has another one at its end."""
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' blob: data:; media-src 'self' blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(self), microphone=(self), geolocation=()",
    "Referrer-Policy": "same-origin",  # with "no-referrer", browsers say `Origin: null` in the page's own requests
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cache-Control": "no-store",
}
"""Headers of every answer."""


class Request(NamedTuple):
    """A request that is answered: its method, path after the token, query (the last value of each name) and body."""

    method: str
    path: str
    query: dict[str, str]
    body: bytes


class Reply(NamedTuple):
    """An answer: its HTTP status, the media type of its body, and the body."""

    status: int
    content_type: str
    body: bytes


def json_reply(value: Any, status: int = 200) -> Reply:
    """An answer in JSON. Bytes of file names that can't be decoded become escapes."""
    return Reply(status, "application/json", json_text(value).encode() + b"\n")


class Server:
    """The server, in a thread of its own.

    Args:
        handle: Answers a request; it may raise `Refused` and `EdgepressError`.
        command: The command that runs it, for messages.
        timeout_s: Time to receive a request, and to send its answer, seconds.
    """

    def __init__(
        self, handle: Callable[[Request], Awaitable[Reply]], *, command: str = "play", timeout_s: float = TIMEOUT_S
    ) -> None:
        self._handle = handle
        self._command = command
        self._timeout_s = timeout_s
        self._token = secrets.token_urlsafe(TOKEN_BYTES)
        self._tasks: set[asyncio.Task[None] | None] = set()
        self._bodies = Bodies(MAX_BODIES, MAX_BODY)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)

    def start(self, port: int) -> str:
        """Listen on 127.0.0.1 and return the address of the page, with its token; port 0 takes a free one.

        Raises:
            OSError: The port is in use, or may not be used.
            OverflowError: It is not a port number.
        """
        self._port = port
        self._start_result = SimpleQueue[int | Exception]()
        self._thread.start()
        result = self._start_result.get()
        if isinstance(result, Exception):
            raise result
        return f"http://127.0.0.1:{result}/{self._token}/"

    def wait(self) -> None:
        """Wait until the server ends; Ctrl-C interrupts it on every system."""
        while self._thread.is_alive():
            self._thread.join(0.5)

    def stop(self) -> None:
        """Stop the server and cancel the requests that are being answered."""
        if self._loop is not None:
            with suppress(RuntimeError):  # the loop is closed
                self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join(self._timeout_s)

    async def _run(self) -> None:
        try:
            server = await asyncio.start_server(self._serve_connection, "127.0.0.1", self._port, limit=MAX_HEAD)
        except Exception as e:
            self._start_result.put(e)
            return
        self._loop = asyncio.get_running_loop()
        self._start_result.put(server.sockets[0].getsockname()[1])
        await self._stop.wait()
        server.close()
        for task in [task for task in self._tasks if task is not None]:
            task.cancel()

    async def _serve_connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._tasks.add(task := asyncio.current_task())
        try:
            full = len(self._tasks) > MAX_CONNECTIONS
            reply = error_reply(503, "Too many connections.") if full else await self._reply(reader, writer)
            lines = [
                f"HTTP/1.1 {reply.status} {HTTPStatus(reply.status).phrase}",
                f"Content-Type: {reply.content_type}",
            ]
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
        body = bytearray()
        try:
            async with asyncio.timeout(self._timeout_s):
                request = await self._receive(reader, writer, body)
        except Refused as e:
            return error_reply(e.status, str(e))
        except TimeoutError:
            return error_reply(408, f"The request did not arrive in {self._timeout_s:g} s.")
        else:
            return await self._answer(request)
        finally:
            self._bodies.held -= len(body)

    async def _answer(self, request: Request) -> Reply:
        try:
            return await self._handle(request)
        except Refused as e:
            return error_reply(e.status, str(e))
        except EdgepressError as e:
            return json_reply({"error": e.to_dict()}, 400)
        except Exception as e:  # a bug, or a file that is gone: only this request fails
            sys.stderr.write(traceback_of(e))
            return error_reply(500, f"Internal error; the terminal of edgepress {self._command} says more.")

    async def _receive(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, body: bytearray
    ) -> Request:  # fmt: skip
        method, path, words, headers = await read_head(reader)
        check_request(method, headers)
        path = self._path_after_token(path)
        if method == "POST":
            await self._bodies.read(headers, reader, writer, body)
        try:
            query = {name: values[-1] for name, values in parse_qs(words, max_num_fields=8).items()}
        except ValueError as e:
            raise Refused(400, f"Invalid HTTP request: {e}") from e
        return Request(method, path, query, bytes(body))

    def _path_after_token(self, path: str) -> str:
        token, slash, rest = path.removeprefix("/").partition("/")
        if not slash or not hmac.compare_digest(token.encode(), self._token.encode()):
            where = f"the address that edgepress {self._command} printed in its terminal"
            raise Refused(403, f"Only who knows the address of this page may use it. Open {where}.")
        return f"/{rest}"


def check_request(method: str, headers: Message) -> None:
    """Check that a request comes from the page itself.

    Raises:
        Refused: The method is unknown, the host is not this machine, or another page sent the request.
    """
    if method not in ("GET", "POST"):
        raise Refused(405, "Accepted: GET and POST.")
    if not HOST.fullmatch(headers.get("Host", "")):
        raise Refused(403, "Refused: the request names another host than this machine. Its name is 127.0.0.1.")
    if why := refusal(method, headers, loopback=True, allowed=()):
        raise Refused(403, why)


def error_reply(status: int, message: str) -> Reply:
    """The answer to a request that failed or is refused: its error in JSON."""
    return json_reply({"error": {"kind": "http", "message": message, "hint": ""}}, status)


def start_server(server: Server, port: int) -> str:
    """Call `Server.start`, and raise an error for the user if the port can't be used.

    Returns:
        The address of the page, with its token.

    Raises:
        InputError: The port can't be used.
    """
    try:
        return server.start(port)
    except OverflowError as e:
        raise InputError(f"{port} is not a port number.", "Accepted: 0 to 65535; 0 takes a free one.") from e
    except OSError as e:
        why = {errno.EADDRINUSE: "is in use", errno.EACCES: "may not be used by you"}
        problem = f"Port {port} {why.get(e.errno or 0, f'can not be used: {e.strerror}')}."
        raise InputError(problem, "Name another with --port, or leave it out to take a free one.") from e
