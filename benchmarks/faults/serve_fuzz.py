"""`serve` under attack: malformed, oversized, slow, truncated and forged requests; it refuses them and serves others.

    python benchmarks/faults/serve_fuzz.py [--requests 1000] [--seed 0]

Forged ones are those that pages of other sites make browsers send: cross-origin posts, names that lead here by DNS
rebinding, paths that would leave the page's files. Extreme pictures are small as files and claim much
(`extreme_pictures.py`). First, some of these are sent alone: none may take more CPU time than `SLOWER` times that of a
photo of 12 million pixels. Then all kinds come, 40 at a time, of the extreme ones `EXTREME_AT_ONCE`, while a
well-behaved client asks again and again: it must always be answered, in the time that the extreme ones before it may
take. The server's memory may never be more than `PEAK_BYTES` above that at the beginning. Prints one JSON document with
the violations; exit 1 if there are any.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import json
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

sys.path.append(str(Path(__file__).parents[1] / "speed"))

from extreme_pictures import KINDS as EXTREME
from extreme_pictures import extreme
from memory_watch import Watch, cpu_seconds
from runtime_overhead import make_files
from serve_load import picture, post, start

TIMEOUT_S = 2.0
"""Seconds that the server gives a request to arrive."""
AT_ONCE = 40
EXTREME_AT_ONCE = 2
"""Requests at the same time, and extreme pictures among them."""
PEAK_BYTES = 200_000_000
"""Memory of the server above that at the beginning, at most."""
SLOWER = 30
"""CPU time of an extreme picture sent alone, at most, in times of that of a photo of 12 million pixels sent alone."""
WAITS = 10
"""Times by which a request may wait longer than the CPU time of what is before it: others use the machine, too."""
KINDS = (
    "bytes",
    "line",
    "length",
    "truncated",
    "slow",
    "oversized",
    "lying",
    "headers",
    "image",
    "npy",
    "mutated",
    "left",
    "origin",
    "host",
    "site",
    "path",
    "twice",
    "folded",
    "extreme",
    "extreme",
    "extreme",
)
VALID = ("mutated", "lying", "extreme")
"""Requests that may be answered: an image that can still be decoded, a right one with bytes behind it."""
ORIGINS = (
    "http://evil.example",
    "https://localhost.evil.example",
    "null",
    "",
    "http://localhost:1",
    "http://evil@localhost",
    "file://localhost",
    "http://localhost\r\nOrigin: http://evil.example",
)
HOSTS = (
    "evil.example",
    "evil.example:80",
    "localhost.evil.example",
    "127.0.0.1.evil.example",
    "evil.example@localhost",
    "",
    "[::1",
    "localhost\r\nHost: evil.example",
)
SECOND = (
    b"Content-Length: N",
    b"content-length: 0",
    b"Transfer-Encoding: chunked",
    b"Transfer-Encoding: identity",
)
"""What must not stand beside a Content-Length."""
MALFORMED = (
    b"Content-Length : %d\r\n\r\n",
    b"Content-Length:\r\n %d\r\n\r\n",
    b"Content-Length: +%d\r\n\r\n",
    b"X\0: y\r\nContent-Length: %d\r\n\r\n",
    b"X: y\nContent-Length: %d\r\n\r\n",
    b" X: y\r\nContent-Length: %d\r\n\r\n",
    b"X: y\rz\r\nContent-Length: %d\r\n\r\n",
)
"""Headers that some programs read in another way than others."""
PATHS = (
    "/../etc/passwd",
    "/%2e%2e/%2e%2e/etc/passwd",
    "//page.js",
    "/page.js/../web.py",
    "/web.py",
    "/page.html%00.js",
    "http://evil.example/",
    "/..\\..\\page.js",
)


def main() -> None:
    """Start a server, attack it, report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        make_files(Path(folder))
        server, port = start(next(Path(folder).glob("*int8.tflite")), "--timeout", f"{TIMEOUT_S:g}")
        try:
            report = asyncio.run(attack(port, server.pid, args.requests, random.Random(args.seed)))
            alive = server.poll() is None
        finally:
            server.send_signal(signal.SIGTERM)
            code = server.wait(30)
    violations = broken(report) + ["it ended"] * (not alive) + [f"exit code {code} after SIGTERM"] * bool(code)
    if report["peak_bytes"] > PEAK_BYTES:
        violations.append(f"it took {report['peak_bytes'] / 1e6:.0f} MB more than at the beginning")
    print(json.dumps({"seed": args.seed, **report, "violations": violations}, indent=2))
    sys.exit(bool(violations))


def broken(report: dict[str, Any]) -> list[str]:
    """The promises that an attack broke, but for memory."""
    violations = [f"answered: {kind}" for kind in report["answered_attacks"]]
    violations += [f"the good client got {status}" for status in report["good_answers"] if status != "200"]
    violations += [f"failed: {kind}" for kind in report["by_kind"] if kind.endswith((" 500", " closed"))]
    limit = SLOWER * report["photo_alone_cpu_ms"]
    slow = {kind: ms for kind, ms in report["extreme_alone_cpu_ms"].items() if ms > limit}
    violations += [f"{kind} alone took {ms:.0f} ms of CPU time; accepted: {limit:.0f}" for kind, ms in slow.items()]
    if report["good_slowest_ms"] > WAITS * (EXTREME_AT_ONCE + 1) * limit:
        violations.append(f"the good client waited {report['good_slowest_ms']:.0f} ms")
    return violations


async def attack(port: int, pid: int, requests: int, rng: random.Random, base: str = "/") -> dict[str, Any]:
    """Send extreme pictures alone, then all requests, some at once, beside a good client; paths begin with `base`."""
    watch = Watch(pid)
    alone, answers = await _alone(port, pid, max(len(EXTREME), requests // 8), rng, base)
    counts, good = Counter[str](answers), Counter[str]()
    waits: list[float] = []
    room, extremes, done = asyncio.Semaphore(AT_ONCE), asyncio.Semaphore(EXTREME_AT_ONCE), asyncio.Event()
    body = picture()

    async def bad(kind: str) -> None:
        if kind == "extreme":
            async with extremes:
                name = rng.choice(list(EXTREME))
                content = await asyncio.to_thread(extreme, name, random.Random(rng.random()))
                counts[f"extreme-{name} {await ask(port, content, base)}"] += 1
            return
        async with room:
            counts[f"{kind} {await send(port, kind, body, rng, base)}"] += 1

    async def behave() -> None:
        while not done.is_set():
            begin = time.perf_counter()
            good[await post(port, body, base)] += 1
            waits.append(time.perf_counter() - begin)
            await asyncio.sleep(0.02)

    beside = asyncio.create_task(behave())
    await asyncio.gather(*(bad(KINDS[i % len(KINDS)]) for i in range(requests)))
    done.set()
    await beside
    answered = {kind: n for kind, n in counts.items() if kind.endswith(" 200") and not kind.startswith(VALID)}
    return {
        "requests": requests,
        "answered_attacks": answered,
        "answers": dict(sorted(Counter[str](status.split()[1] for status in counts.elements()).items())),
        "by_kind": dict(sorted(counts.items())),
        "good_answers": dict(good),
        "good_p99_ms": float(np.quantile(waits, 0.99)) * 1e3,
        "good_slowest_ms": max(waits) * 1e3,
        "photo_alone_cpu_ms": alone.pop("photo"),
        "extreme_alone_cpu_ms": alone,
        "peak_bytes": watch.stop(),
    }


async def _alone(
    port: int, pid: int, count: int, rng: random.Random, base: str
) -> tuple[dict[str, float], Counter[str]]:
    """CPU milliseconds of a photo (the median) and of each kind of extreme picture (the slowest), sent alone."""
    times: dict[str, list[float]] = {"photo": []}
    answers: Counter[str] = Counter()
    shot, kinds = _photo(), list(EXTREME)
    for i in range(count):
        kind = kinds[i % len(kinds)]
        for name, content in ((kind, extreme(kind, rng)), ("photo", shot)):
            begin = cpu_seconds(pid)
            status = await ask(port, content, base)
            times.setdefault(name, []).append((cpu_seconds(pid) - begin) * 1e3)
            if name != "photo":
                answers[f"extreme-{name} {status}"] += 1
    photo = float(np.median(times.pop("photo")))
    return {"photo": photo} | {kind: max(taken) for kind, taken in times.items()}, answers


def _photo() -> bytes:
    """A JPEG of 12 million pixels, as a phone makes it."""
    from PIL import Image

    encoded = io.BytesIO()
    small = np.random.default_rng(0).integers(0, 256, (375, 500, 3), np.uint8)
    Image.fromarray(small).resize((4000, 3000)).save(encoded, "JPEG", quality=85)
    return encoded.getvalue()


async def ask(port: int, content: bytes, base: str) -> str:
    """Send a well-formed request with any content; gives the answer's status, or the error's name."""
    head = f"POST {base}classify HTTP/1.1\r\nHost: localhost:{port}\r\nContent-Length: {len(content)}\r\n\r\n"
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            writer.write(head.encode() + content)
            answer = await asyncio.wait_for(reader.read(), 120)
        finally:
            writer.close()
    except OSError as e:
        return type(e).__name__
    return answer[9:12].decode() if answer.startswith(b"HTTP/1.1 ") else "closed"


async def send(port: int, kind: str, image: bytes, rng: random.Random, base: str) -> str:
    """One bad request; gives the answer's status, "closed", or the error's name."""
    head = b"POST /classify HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n"
    noise = rng.randbytes(rng.randrange(1, 4000))
    request = {
        "bytes": noise + b"\r\n\r\n",
        "line": rng.choice(
            [b"\r\n\r\n", b"GET\r\n\r\n", b"POST  /classify\r\n\r\n", b"G\xff / HTTP/1.1\r\n\r\n", b"\0\0\r\n\r\n"]
        ),
        "length": b"POST /classify HTTP/1.1\r\nHost: localhost\r\nContent-Length: "
        + rng.choice([b"-1", b"1e9", b"", b"9" * 300, b"0x10", b"1, 2", "٣".encode()])
        + b"\r\n\r\n"
        + image,
        "truncated": head % len(image) + image[: rng.randrange(len(image))],
        "slow": head % len(image) + image,
        "oversized": head % (9 << 20) + bytes(9 << 20),
        "lying": head % len(image) + image + noise * 10,
        "headers": b"POST /classify HTTP/1.1\r\nHost: localhost\r\n"
        + b"X: %s\r\n" % (b"y" * 100) * rng.randrange(90, 400)
        + b"\r\n",
        "image": head % len(noise) + noise,
        "npy": head % 128
        + b"\x93NUMPY\x01\x00v\x00{'descr': '|u1', 'fortran_order': False, 'shape': (99999999999,), }".ljust(128),
        "mutated": head % len(image) + _mutated(image, rng),
        "left": head % len(image),
        "origin": _forged(image, "Origin: " + rng.choice(ORIGINS)),
        "host": _forged(image, "Host: " + rng.choice(HOSTS)),
        "site": _forged(image, "Sec-Fetch-Site: " + rng.choice(["cross-site", "same-site", "", "none, none"])),
        "twice": b"POST /classify HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n%b\r\n\r\n"
        % (len(image), rng.choice(SECOND).replace(b"N", b"%d" % len(image)))
        + image,
        "folded": b"POST /classify HTTP/1.1\r\nHost: localhost\r\n%b" % (rng.choice(MALFORMED) % len(image)) + image,
        "path": b"GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n" % rng.choice(PATHS).encode(),
    }[kind].replace(b" /", f" {base}".encode(), 1)
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            if kind == "slow":
                for i in range(0, len(request), 20):
                    if reader.at_eof():  # it lost patience, as it should
                        break
                    writer.write(request[i : i + 20])
                    await asyncio.sleep(0.2)
            else:
                writer.write(request)
            if kind == "left":
                writer.transport.abort()
                return "left"
            if kind == "truncated" and rng.random() < 0.5:
                writer.write_eof()
            answer = await asyncio.wait_for(reader.read(), 30)
        finally:
            writer.close()
    except OSError as e:
        return type(e).__name__
    return answer[9:12].decode() if answer.startswith(b"HTTP/1.1 ") else "closed"


def _forged(image: bytes, line: str) -> bytes:
    """A right request but for one header, of which a second one does not help."""
    host = "" if line.startswith("Host") else "Host: localhost\r\n"
    return f"POST /classify HTTP/1.1\r\n{host}{line}\r\nContent-Length: {len(image)}\r\n\r\n".encode() + image


def _mutated(image: bytes, rng: random.Random) -> bytes:
    changed = bytearray(image)
    for _ in range(rng.randrange(1, 9)):
        changed[rng.randrange(len(changed))] = rng.randrange(256)
    return bytes(changed)


if __name__ == "__main__":
    main()
