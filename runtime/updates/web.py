"""Requests to web servers that a hostile server can neither hang nor lead elsewhere.

http.client has a limit for the time between two bytes, and none for the whole: a server that sends `100 Continue`,
header lines or trailers without an end would keep a board waiting for ever. So a thread watches each request, and shuts
its sockets down when it is late. Redirects go to web servers only, and never from https to http.
"""

from __future__ import annotations

import contextlib
import http.client
import math
import socket
import threading
import time
import urllib.error
import urllib.request
from typing import IO, Any


class Guard:
    """Shuts the sockets of a request down when it is late: a context manager around the request and its answer.

    Attributes:
        late: Whether that has happened.
    """

    def __init__(self, patience_s: float, slowest: float) -> None:
        """Begin.

        Args:
            patience_s: Seconds to wait for the headers, for one piece of the body, or for its end.
            slowest: Bytes a second that the body must reach on average, after `patience_s`.
        """
        self.late = False
        self._patience_s = patience_s
        self._slowest = slowest
        self._began = self._waits_since = time.monotonic()
        self._count = 0
        self._sockets: list[socket.socket] = []
        self._lock = threading.Lock()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Guard:
        """Begin to watch."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End it."""
        self._done.set()
        self._thread.join()
        for each in self._sockets:
            each.close()

    def add(self, connected: socket.socket) -> None:
        """Watch a socket; by a second descriptor, because TLS takes the first one over."""
        with self._lock:
            self._sockets.append(connected.dup())
            if self.late:
                self._shut()

    def wait(self) -> None:
        """A piece of the body is waited for."""
        self._waits_since = time.monotonic()

    def got(self, count: int) -> None:
        """A piece has arrived; until the next `wait`, the server is not waited for."""
        self._count += count
        self._waits_since = math.inf

    def _watch(self) -> None:
        while True:
            average = self._began + max(self._patience_s, self._count / self._slowest)
            left = min(self._waits_since + self._patience_s, average) - time.monotonic()
            if left <= 0 and self._waits_since != math.inf:
                break
            if self._done.wait(max(0.01, min(left, self._patience_s))):
                return
        with self._lock:
            self.late = True
            self._shut()

    def _shut(self) -> None:
        for each in self._sockets:
            with contextlib.suppress(OSError):  # the server has closed it
                each.shutdown(socket.SHUT_RDWR)


def open_url(request: urllib.request.Request, guard: Guard, timeout: float) -> http.client.HTTPResponse:
    """Send a request and read the headers of its answer; otherwise as `urllib.request.urlopen`."""
    opener = urllib.request.OpenerDirector()
    handlers = [
        urllib.request.ProxyHandler(),
        urllib.request.UnknownHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        _Redirects(),
        _Http(guard),
        _Https(guard),
    ]
    for handler in handlers:
        opener.add_handler(handler)
    response: http.client.HTTPResponse = opener.open(request, timeout=timeout)
    return response


def _guarded(kind: type[http.client.HTTPConnection], guard: Guard) -> type[http.client.HTTPConnection]:
    """A class of connections whose sockets are watched from the moment in which they are connected."""

    class Guarded(kind):  # type: ignore[valid-type, misc]
        def __setattr__(self, name: str, value: Any) -> None:
            if name == "sock" and type(value) is socket.socket:  # before TLS
                guard.add(value)
            super().__setattr__(name, value)

    return Guarded


class _Http(urllib.request.HTTPHandler):
    def __init__(self, guard: Guard) -> None:
        super().__init__()
        self._kind = _guarded(http.client.HTTPConnection, guard)

    def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(self._kind, req)


class _Https(urllib.request.HTTPSHandler):
    def __init__(self, guard: Guard) -> None:
        super().__init__()
        self._kind = _guarded(http.client.HTTPSConnection, guard)

    def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(self._kind, req)


class _Redirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        """Follow a redirect; its body is not read, because it may have no end."""
        fp.close()
        scheme = newurl.partition(":")[0].lower()
        if scheme not in ("http", "https") or (req.type == "https" and scheme != "https"):
            raise urllib.error.URLError(f"it leads to {newurl}, which is not an address that updates may come from")
        return super().redirect_request(req, fp, code, msg, headers, newurl)
