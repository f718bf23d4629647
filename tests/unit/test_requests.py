"""How `serve` and `edgepress play` read requests: what two programs may understand in two ways is refused."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgepress.runtime.web import MAX_HEAD, Bodies, Head, Refused, read_head

MOST = 1000


class Silent:
    """A writer that drops everything."""

    def write(self, data: bytes) -> None:
        pass


def read(request: bytes) -> tuple[Head, bytes] | int:
    """A request of a body, as both servers read it, or the status of its refusal."""

    async def work() -> tuple[Head, bytes]:
        reader, body = asyncio.StreamReader(limit=MAX_HEAD), bytearray()
        reader.feed_data(request)
        reader.feed_eof()
        head = await read_head(reader)
        writer: Any = Silent()
        await Bodies(MOST, MOST).read(head.headers, reader, writer, body)
        return head, bytes(body)

    try:
        return asyncio.run(work())
    except Refused as e:
        return e.status


def post(
    *lines: bytes, first: bytes = b"POST /classify?top=3 HTTP/1.1", end: bytes = b"\r\n", body: bytes = b"12345"
) -> bytes:
    return end.join([first, *lines, b"", b""]) + body


def test_a_right_request_is_read() -> None:
    found = read(post(b"Host: localhost", b"Content-Length:\t5 ", b"Expect: 100-continue"))
    assert isinstance(found, tuple)
    head, body = found
    assert (head.method, head.path, head.query, body) == ("POST", "/classify", "top=3", b"12345")
    assert isinstance(read(post(b"Content-Length: 5", first=b"POST / HTTP/1.0")), tuple)


@pytest.mark.parametrize(
    "lines",
    [
        [b"Content-Length: 5", b"Content-Length: 5"],
        [b"Content-Length: 5", b"content-length: 0"],
        [b"Content-Length: 5, 5"],
        [b"Content-Length: 5", b"Transfer-Encoding: chunked"],
        [b"Transfer-Encoding: identity", b"Content-Length: 5"],
        [b"Transfer-Encoding: chunked"],
        [],
        *([b"Content-Length: " + length] for length in (b"", b"-1", b"+5", b"5.0", b"0x5", b"1e1", b"5 5", b"5_0")),
        [b"Content-Length: \xd9\xa5"],  # an Arabic five
        [b"Content-Length: \xb2"],  # a superscript two in Latin-1
    ],
)
def test_one_plain_length_is_required(lines: list[bytes]) -> None:
    assert read(post(b"Host: localhost", *lines)) == 411


@pytest.mark.parametrize("length", [b"1001", b"9" * 12, b"9" * 5000])
def test_a_body_that_is_too_large_is_refused_before_it_arrives(length: bytes) -> None:
    assert read(post(b"Host: localhost", b"Content-Length: " + length)) == 413


@pytest.mark.parametrize(
    "line",
    [
        b"Content-Length : 5",
        b" Content-Length: 5",
        b"X: y\r\n Content-Length: 5",
        b"X: y\r\n\tfolded",
        b"X: y\nContent-Length: 5",
        b"X: y\rContent-Length: 5",
        b"X: y\0",
        b"X\0: y",
        b"X",
        b": y",
        b"X y: z",
        b"\xc3\xbc: y",
    ],
)
def test_a_malformed_header_is_refused(line: bytes) -> None:
    assert read(post(b"Host: localhost", b"Content-Length: 5", line)) == 400
    assert read(post(line, b"Host: localhost", b"Content-Length: 5")) == 400


@pytest.mark.parametrize(
    "first",
    [
        b"",
        b"GET /",  # HTTP/0.9
        b"POST  / HTTP/1.1",
        b" POST / HTTP/1.1",
        b"POST / HTTP/1.1 ",
        b"POST / HTTP/2.0",
        b"POST / http/1.1",
        b"POST / HTTP/1.10",
        b"POST /\x7f HTTP/1.1",
        b"POST /\xff HTTP/1.1",
        b"PO ST / HTTP/1.1",
        b"POST / HTTP/1.1\nX: y",
    ],
)
def test_a_malformed_first_line_is_refused(first: bytes) -> None:
    assert read(post(b"Host: localhost", b"Content-Length: 5", first=first)) == 400


def test_other_ends_of_lines_missing_hosts_and_floods_are_refused() -> None:
    assert read(post(b"Host: localhost", b"Content-Length: 5", end=b"\n")) == 400
    assert read(post(b"Content-Length: 5")) == 400
    assert read(post(b"Host: localhost", *[b"X: y"] * 200, b"Content-Length: 5")) == 400
    assert read(post(b"Host: localhost", b"X: " + b"y" * MAX_HEAD)) == 431
    assert read(post(b"Host: localhost", b"Content-Length: 9")) == 400, "it ends early"


@given(st.binary(max_size=200))
def test_no_bytes_do_anything_else(noise: bytes) -> None:
    for request in (noise, post(b"Host: localhost", noise, b"Content-Length: 5")):
        found = read(request)
        assert isinstance(found, tuple) or found in (400, 411, 413, 431)
