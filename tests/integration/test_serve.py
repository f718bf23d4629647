"""`serve`: right answers, bounded everything, nobody waits for a bad client, a clean end."""

from __future__ import annotations

import asyncio
import gc
import io
import json
import signal
import socket
import struct
import subprocess
import sys
import time
import weakref
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from serving import TIMEOUT_S, Running

from edgepress.runtime import load
from edgepress.runtime import serve as serve_module
from edgepress.runtime.errors import EdgepressError

NO_ITEMS = (
    b"\x93NUMPY\x01\x00v\x00"
    + b"{'descr': '|u1', 'fortran_order': False, 'shape': (0, 28, 28, 1), }".ljust(117)
    + b"\n"
)


@pytest.fixture(scope="module")
def server(run: Any) -> Iterator[Running]:
    running = Running(run.variants["tflite-int8"])
    yield running
    log = running.end()
    assert "Traceback" not in log
    assert "Warning" not in log


@pytest.fixture(scope="module")
def png(digits: Any) -> bytes:
    encoded = io.BytesIO()
    Image.fromarray(digits.test.read([0])[0, ..., 0]).save(encoded, "PNG")
    return encoded.getvalue()


def test_it_answers_what_the_model_answers(server: Running, run: Any, digits: Any, png: bytes) -> None:
    model = load(run.variants["tflite-int8"])
    expected = [{"label": p.label, "score": p.score} for p in model.classify(png, 3)]
    status, answer, headers = server.ask("POST", "/classify?top=3", png)
    assert (status, answer) == (200, {"classes": expected})
    assert headers["Content-Type"] == "application/json"
    array = io.BytesIO()
    np.save(array, digits.test.read([0])[0])
    assert server.ask("POST", "/classify?top=3", array.getvalue())[1] == {"classes": expected}
    for path in ("/ready", "/healthz"):
        status, answer, _ = server.ask("GET", path)
        assert (status, answer["status"], answer["engine"]) == (200, "ok", "litert")


def test_with_a_crop_pictures_of_phones_are_taken_and_prepared_arrays_are_not(run: Any, digits: Any) -> None:
    """`/ready` says so to the page, which then prepares none."""
    server = Running(run.variants["tflite-int8"], "--crop", "25%,0,50%,100%")
    assert server.ask("GET", "/ready")[1]["crop"] == "25%,0,50%,100%"
    photo = io.BytesIO()
    Image.new("RGB", (4000, 3000), "white").save(photo, "JPEG")
    assert server.ask("POST", "/classify", photo.getvalue())[0] == 200
    array = io.BytesIO()
    np.save(array, digits.test.read([0])[0])
    status, answer, _ = server.ask("POST", "/classify", array.getvalue())
    assert (status, answer["error"]["hint"]) == (400, "Send the whole picture.")
    server.end()


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "/classify", b"no image", 400),
        ("POST", "/classify", b"", 400),
        ("POST", "/classify", b"\x93NUMPY\x01\x00", 400),
        ("POST", "/classify", NO_ITEMS, 400),
        ("POST", "/classify?top=0", b"PNG", 400),
        ("POST", "/classify?top=x", b"PNG", 400),
        ("GET", "/classify", None, 405),
        ("PUT", "/classify", b"PNG", 405),
        ("POST", "/", b"PNG", 404),
        ("POST", "/ready", b"PNG", 404),
    ],
)
def test_what_it_refuses(method: str, path: str, body: bytes | None, status: int, server: Running, png: bytes) -> None:
    found, answer, _ = server.ask(method, path, png if body == b"PNG" else body)
    assert found == status
    assert answer["error"]["message"]


def test_a_body_too_large_is_refused_before_it_is_read(server: Running) -> None:
    answer = server.raw(b"POST /classify HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999\r\n\r\n", end=True)
    assert answer.startswith(b"HTTP/1.1 413 ")
    whole = b"POST /classify HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % (9 << 20) + bytes(9 << 20)
    assert server.raw(whole, end=True).startswith(b"HTTP/1.1 413 ")


def test_an_image_of_too_many_pixels_is_refused(server: Running) -> None:
    bomb = io.BytesIO()
    Image.new("1", (30_000, 1_000)).save(bomb, "PNG")
    status, answer, _ = server.ask("POST", "/classify", bomb.getvalue())
    assert status == 400
    assert "too large" in answer["error"]["message"]


def test_what_strangers_send_puts_no_warnings_into_the_log(server: Running) -> None:
    large = io.BytesIO()
    Image.new("1", (4_000, 4_000)).save(large, "PNG")  # Pillow warns of more than 12.5 million pixels
    assert server.ask("POST", "/classify", large.getvalue())[0] == 200
    array = io.BytesIO()
    np.save(array, np.full((28, 28), 1e300))  # NumPy warns of numbers beyond float32
    assert server.ask("POST", "/classify", array.getvalue())[0] == 400


def test_a_line_of_pixels_is_refused_at_once(server: Running) -> None:
    header = struct.pack(">IIBBBBB", 1, 24_999_999, 8, 0, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(b"")), (b"IEND", b"")]
    line = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
        for name, content in chunks
    )
    status, answer, _ = server.ask("POST", "/classify", line)
    assert status == 400
    assert "1 x 24999999 pixels" in answer["error"]["message"]


@pytest.mark.parametrize(
    "second",
    [b"Content-Length: 5", b"content-length: 0", b"Transfer-Encoding: chunked", b"Transfer-Encoding: identity"],
)
def test_two_lengths_are_refused(second: bytes, server: Running) -> None:
    head = b"POST /classify HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n" + second + b"\r\n\r\n"
    assert server.raw(head + b"12345", end=True).startswith(b"HTTP/1.1 411 ")


@pytest.mark.slow
def test_slow_and_cut_requests_end_in_time_and_nobody_waits(server: Running, png: bytes) -> None:
    head = b"POST /classify HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(png)

    def drip() -> bytes:
        with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
            try:
                for byte in head + png:
                    connection.sendall(bytes([byte]))
                    time.sleep(0.05)
            except OSError:
                pass
            return connection.recv(1 << 16)

    with ThreadPoolExecutor(40) as pool:
        slow = [pool.submit(drip) for _ in range(20)]
        silent = [pool.submit(server.raw, head + png[:20]) for _ in range(10)]
        cut = [pool.submit(server.raw, head + png[:20], end=True) for _ in range(10)]
        time.sleep(0.2)
        assert server.ask("POST", "/classify", png)[0] == 200
        assert not any(f.done() for f in slow)
        assert {server.ask("POST", "/classify", png)[0] for _ in range(20)} == {200}
        assert all(f.result().startswith(b"HTTP/1.1 408 ") for f in (*slow, *silent))
        assert all(f.result().startswith(b"HTTP/1.1 400 ") for f in cut)


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    start=st.sampled_from(
        [
            b"",
            b"GET ",
            b"POST /classify HTTP/1.1\r\nHost: localhost\r\n",
            b"POST /classify HTTP/1.1\r\nHost: localhost\r\nContent-Length: ",
        ]
    ),
    rest=st.binary(max_size=300),
)
def test_no_bytes_bring_it_down(start: bytes, rest: bytes, server: Running) -> None:
    answer = server.raw(start + rest + b"\r\n\r\n", end=True)
    assert answer.startswith(b"HTTP/1.1 4")
    json.loads(answer.partition(b"\r\n\r\n")[2])


def test_a_claim_to_large_bodies_shuts_nobody_out(server: Running, png: bytes) -> None:
    head = b"POST /classify HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % (8 << 20)
    with ThreadPoolExecutor(20) as pool:
        claims = [pool.submit(server.raw, head) for _ in range(20)]
        time.sleep(TIMEOUT_S / 4)
        assert server.ask("POST", "/classify", png)[0] == 200
        assert all(claim.result().startswith(b"HTTP/1.1 408 ") for claim in claims)


def test_headers_without_end_are_refused(server: Running) -> None:
    answer = server.raw(b"POST /classify HTTP/1.1\r\nHost: localhost\r\n" + b"X: y\r\n" * 5000, end=True)
    assert answer.startswith(b"HTTP/1.1 431 ")


def test_a_client_that_waits_to_be_asked_is_asked(server: Running, png: bytes) -> None:
    head = b"POST /classify HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(
        png
    )
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as connection:
        connection.sendall(head)
        assert connection.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(png)
        assert connection.recv(100).startswith(b"HTTP/1.1 200 ")


SLOW = """
import sys, time
from edgepress.runtime import __main__ as cli, serve
from edgepress.runtime.model import Model
judge = Model.judge_in
Model.judge_in = lambda *a: (time.sleep(0.1), judge(*a))[1]
serve.QUEUE, serve.MAX_BODIES = 5, 3 << 20
sys.exit(cli.main(["serve", sys.argv[1], "--port", "0", "--json"]))
"""


@pytest.fixture
def slow_server(run: Any) -> Iterator[Running]:
    """A server whose model takes a tenth of a second, and whose queue is short."""
    running = object.__new__(Running)
    command = [sys.executable, "-c", SLOW, str(run.variants["tflite-int8"])]
    running.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert running.process.stdout is not None
    running.port = int(json.loads(running.process.stdout.readline())["url"].split(":")[2].split("/")[0])
    yield running
    running.process.kill()
    running.process.wait()


def test_a_full_queue_says_so_and_is_never_longer(slow_server: Running, png: bytes) -> None:
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda _: slow_server.ask("POST", "/classify", png), range(20)))
    assert {status for status, _, _ in answers} == {200, 503}
    assert all(headers["Retry-After"] == "1" for status, _, headers in answers if status == 503)
    assert 5 <= sum(status == 200 for status, _, _ in answers) < 20


def test_all_bodies_together_are_bounded(slow_server: Running) -> None:
    with ThreadPoolExecutor(5) as pool:  # as many as may wait for the engine
        answers = list(pool.map(lambda _: slow_server.ask("POST", "/classify", bytes(1 << 20)), range(5)))
    assert {status for status, _, _ in answers} == {400, 503}
    assert "arriving" in next(answer["error"]["message"] for status, answer, _ in answers if status == 503)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_after_what_has_arrived_is_answered(number: signal.Signals, slow_server: Running, png: bytes) -> None:
    with ThreadPoolExecutor(3) as pool:
        asked = [pool.submit(slow_server.ask, "POST", "/classify", png) for _ in range(3)]
        time.sleep(0.1)
        slow_server.process.send_signal(number)
        assert [f.result()[0] for f in asked] == [200, 200, 200]
    assert slow_server.process.wait(10) == 0


def test_a_port_that_is_taken_is_one_error(server: Running, run: Any) -> None:
    command = [sys.executable, "-m", "edgepress.runtime", "serve", str(run.variants["tflite-int8"])]
    done = subprocess.run([*command, "--port", str(server.port)], capture_output=True, text=True)
    assert done.returncode == 1
    assert "address already in use" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_body_of_a_refused_request_is_freed_at_once(run: Any) -> None:
    """Without waiting for the garbage collector, or bodies would add up beyond their limit."""

    class Body(bytearray):
        pass

    async def refuse() -> bool:
        server = serve_module._Server(load(run.variants["tflite-int8"]), 10.0, set())
        server._late = asyncio.get_running_loop().create_future()
        body = Body(b"no picture")
        alive = weakref.ref(body)
        with pytest.raises(EdgepressError):
            await server._classify(body, 1)
        del body
        for _ in range(100):  # the thread lets go of its arguments a moment later
            if alive() is None:
                break
            await asyncio.sleep(0.01)
        return alive() is not None

    gc.collect()
    gc.disable()
    try:
        assert not asyncio.run(refuse())
    finally:
        gc.enable()
