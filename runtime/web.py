"""How `serve` and `edgepress play` read requests and answer them, and what they give and refuse to browsers.

A request that two programs may understand in two ways, such as one with two lengths, is refused.

Any web page can make its visitor's browser send requests to this server, also where nobody else can reach it. So a
request is refused if its headers say that a page of another site sent it, or if it names this server by a name that
somebody else can point here (DNS rebinding). This holds for every path and method, and for other programs, too, because
a GET of a page looks as theirs.
"""

from __future__ import annotations

import asyncio
import http.client
import io
import ipaddress
import pkgutil
import re
from collections.abc import Collection
from contextlib import suppress
from email.message import Message
from socket import AF_INET, AF_INET6, SOCK_DGRAM, gethostname, socket
from typing import NamedTuple

MAX_HEAD = 16 << 10
"""Bytes of the first line and the headers of a request."""
_FIRST = re.compile(rb"([A-Za-z]+) ([!-~]+) HTTP/1\.([01])")
_FIELD = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t\x20-\x7e\x80-\xff]*")
"""The first line of a request and one of its headers, without their ends (RFC 9112, sections 3 and 5)."""
FILES = {
    "/": ("page.html", "text/html"),
    "/page.css": ("page.css", "text/css"),
    "/page.js": ("page.js", "text/javascript"),
}
"""The files of the page and their types, by path; a path is looked up here and is never part of a file's name."""
HEADERS = (
    "Content-Security-Policy: default-src 'none'; script-src 'self'; style-src 'self'; img-src blob: data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'\r\n"
    "X-Content-Type-Options: nosniff\r\nCross-Origin-Resource-Policy: same-origin\r\n"
    "Referrer-Policy: same-origin\r\nCache-Control: no-store\r\n"
)
"""Of every answer: nothing is loaded from elsewhere, and no other site may embed or frame it."""


LOCAL = (".local", ".internal", ".home.arpa")
"""Ends of names that the public DNS will never have (RFC 6762; ICANN's decision of 2024-07-29; RFC 8375)."""


class Refused(Exception):  # noqa: N818 - no error of the program
    """A request that is answered with an error."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Head(NamedTuple):
    """A request without its body."""

    method: str
    path: str
    query: str
    headers: Message


async def read_head(reader: asyncio.StreamReader) -> Head:
    """Read the head of a request.

    Raises:
        Refused: It is longer than the reader's limit, incomplete, or not one of HTTP/1.
    """
    try:
        lines = (await reader.readuntil(b"\r\n\r\n"))[:-4].split(b"\r\n")
        first = _FIRST.fullmatch(lines[0])
        if first is None:
            raise ValueError("the first line is not one of HTTP/1.1")
        if not all(_FIELD.fullmatch(line) for line in lines[1:]):
            raise ValueError("a header is not one of HTTP/1.1")
        headers = http.client.parse_headers(io.BytesIO(b"\r\n".join([*lines[1:], b"", b""])))
        if first[3] == b"1" and "Host" not in headers:
            raise ValueError("the header Host is missing")
    except asyncio.LimitOverrunError:
        raise Refused(431, f"The headers are longer than {MAX_HEAD} bytes.") from None
    except (asyncio.IncompleteReadError, ValueError, http.client.HTTPException) as e:
        raise Refused(400, f"Invalid HTTP request: {e}") from e
    path, _, query = first[2].decode().partition("?")
    return Head(first[1].decode(), path, query, headers)


class Bodies:
    """The bodies of all requests that a server holds at the same time."""

    def __init__(self, most: int, most_each: int) -> None:
        self.held = 0
        self._most = most
        self._most_each = most_each

    async def read(
        self, headers: Message, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, body: bytearray
    ) -> None:
        """Read a body into `body`; whoever is done with it takes its length off `held`, even after an error.

        Raises:
            Refused: Its length is not told once, or too large, or does not arrive; or all are too large together.
        """
        length = _length(headers, self._most_each)
        if "Expect" in headers:
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        while len(body) < length:  # count received bytes: a claimed length must not block others
            if not (piece := await reader.read(min(1 << 16, length - len(body)))):
                raise Refused(400, f"Incomplete HTTP request: {len(body)} of {length} bytes arrived.")
            body += piece
            self.held += len(piece)
            if self.held > self._most:
                raise Refused(503, "Too many bytes are arriving at once.")


def _length(headers: Message, most: int) -> int:
    lengths = headers.get_all("Content-Length", [])
    if len(lengths) != 1 or "Transfer-Encoding" in headers or not re.fullmatch(r"[0-9]+", lengths[0].strip(" \t")):
        raise Refused(411, "One Content-Length is required, and no Transfer-Encoding.")
    if len(lengths[0]) > 12 or int(lengths[0]) > most:
        raise Refused(413, f"The body has {lengths[0][:20]} bytes; accepted: up to {most}.")
    return int(lengths[0])


def page_files() -> dict[str, tuple[str, bytes]]:
    """The type and content of each file of the page, by path; also from inside a `.pyz`."""
    contents = {path: (kind, pkgutil.get_data(__package__, name) or b"") for path, (name, kind) in FILES.items()}
    return {path: (f"{kind}; charset=utf-8", content) for path, (kind, content) in contents.items()}


def refusal(method: str, headers: Message, *, loopback: bool, allowed: Collection[str]) -> str:
    """Why a request is refused; empty if it is not.

    Args:
        method: Of the request; a link on another page may lead to a GET, which changes nothing.
        headers: Of the request.
        loopback: Whether the server listens to this machine alone, which no name of a network leads to.
        allowed: Other names of this server, in lower case, such as that of a proxy.
    """
    if any(len(headers.get_all(name, ())) > 1 for name in ("Host", "Origin", "Sec-Fetch-Site")):
        return "A header that says where the request comes from is there twice."
    host, origin = (headers[name] and headers[name].strip().lower() for name in ("Host", "Origin"))
    if host is not None and not _is_own(name := name_in(host), loopback, allowed):
        name = name or host[:80]
        return f"This server is not known as {name!r}. If that is its name, start serve with --allow-host {name}."
    if origin is not None:
        scheme, _, place = origin.partition("://")
        if scheme not in ("http", "https") or (place != host and name_in(place) not in allowed):
            return f"A page of another site ({origin[:80]!r}) sent this; only this server's own page may."
    is_followed_link = method == "GET" and headers.get("Sec-Fetch-Mode") == "navigate"
    if headers.get("Sec-Fetch-Site", "none") not in ("none", "same-origin") and not is_followed_link:
        return "A page of another site sent this; only this server's own page may."
    return ""


def is_loopback(address: str) -> bool:
    """Whether only this machine can connect to an address."""
    return ipaddress.ip_address(address.partition("%")[0]).is_loopback


def reachable(host: str) -> str:
    """Where others find a server that listens on `host`.

    For 0.0.0.0 and ::, it is the address of the route to other networks, or a local name if there is no route.
    """
    elsewhere = {"0.0.0.0": (AF_INET, "192.0.2.1"), "::": (AF_INET6, "2001:db8::1")}.get(host)
    if elsewhere is None:
        return host
    with suppress(OSError), socket(elsewhere[0], SOCK_DGRAM) as probe:
        probe.connect((elsewhere[1], 9))  # sends nothing
        return str(probe.getsockname()[0])
    return gethostname().partition(".")[0] + ".local"


def name_in(place: str) -> str:
    """The name or address in `name:port`, lower-case; empty if it is none."""
    match = re.fullmatch(r"(?:\[([0-9a-f:.]+)\]|([a-z0-9_.-]+))(?::\d{1,5})?", place, re.ASCII)
    return (match[1] or match[2]) if match else ""


def _is_own(name: str, loopback: bool, allowed: Collection[str]) -> bool:
    """Whether nobody else can make a name lead here: an address, or a name that the public DNS does not have."""
    if name in allowed or name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return not loopback and bool(name) and ("." not in name or name.endswith(LOCAL))
    return True


async def send(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, answer: bytes, *, unread: int, timeout_s: float
) -> None:
    """Send an answer, head and body, in time.

    Args:
        reader: What comes from the client.
        writer: What goes to it; the caller closes it.
        answer: All its bytes.
        unread: Bytes at most that the client may still send, which are read and dropped: closing a connection with
            unread input resets it, and the client loses the answer.
        timeout_s: Time for all of it, seconds.

    Raises:
        OSError: The client left.
        TimeoutError: It does not read, or sends slowly.
    """
    writer.write(answer)
    async with asyncio.timeout(timeout_s):
        await writer.drain()
        if unread:
            writer.write_eof()
            for _ in range(unread >> 14):
                if not await reader.read(1 << 14):
                    break
