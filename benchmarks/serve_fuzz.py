"""`serve` under attack: malformed, oversized, slow, truncated and forged requests; it refuses them and serves others.

    python benchmarks/serve_fuzz.py [--requests 1000] [--seed 0]

Forged ones are those that pages of other sites make browsers send: cross-origin posts, names that lead here by DNS
rebinding, paths that would leave the page's files. While all of them run, 40 at a time, one well-behaved client asks
again and again: it must always be answered, and within a second. Prints one JSON document; exit 1 if a promise is
broken.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np
from runtime_overhead import make_files
from serve_load import picture, post, resident_bytes, start

TIMEOUT_S, SLOWEST_S, AT_ONCE = 2.0, 1.0, 40
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
)
VALID = ("mutated", "lying")
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
    waited = report["good_slowest_ms"] <= SLOWEST_S * 1e3
    refused = not report["answered_attacks"]
    kept = (
        alive
        and refused
        and not code
        and set(report["good_answers"]) == {"200"}
        and waited
        and "500" not in report["answers"]
    )
    print(json.dumps(report | {"alive": alive, "exit_code_after_sigterm": code, "kept": kept}, indent=2))
    sys.exit(not kept)


async def attack(port: int, pid: int, requests: int, rng: random.Random) -> dict[str, object]:
    """Send all requests, some at once, beside a good client."""
    counts: Counter[str] = Counter()
    good: Counter[str] = Counter()
    waits: list[float] = []
    room, done = asyncio.Semaphore(AT_ONCE), asyncio.Event()
    body = picture()
    before = resident_bytes(pid)

    async def bad(kind: str) -> None:
        async with room:
            counts[f"{kind} {await send(port, kind, body, rng)}"] += 1

    async def behave() -> None:
        while not done.is_set():
            begin = time.perf_counter()
            good[await post(port, body)] += 1
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
        "memory_before_bytes": before,
        "memory_after_bytes": resident_bytes(pid),
    }


async def send(port: int, kind: str, image: bytes, rng: random.Random) -> str:
    """One bad request; gives the answer's status, "closed", or the error's name."""
    head = b"POST /classify HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n"
    noise = rng.randbytes(rng.randrange(1, 4000))
    request = {
        "bytes": noise + b"\r\n\r\n",
        "line": rng.choice(
            [b"\r\n\r\n", b"GET\r\n\r\n", b"POST  /classify\r\n\r\n", b"G\xff / HTTP/1.1\r\n\r\n", b"\0\0\r\n\r\n"]
        ),
        "length": b"POST /classify HTTP/1.1\r\nContent-Length: "
        + rng.choice([b"-1", b"1e9", b"", b"9" * 300, b"0x10", b"1, 2", "٣".encode()])
        + b"\r\n\r\n"
        + image,
        "truncated": head % len(image) + image[: rng.randrange(len(image))],
        "slow": head % len(image) + image,
        "oversized": head % (9 << 20) + bytes(9 << 20),
        "lying": head % len(image) + image + noise * 10,
        "headers": b"POST /classify HTTP/1.1\r\n" + b"X: %s\r\n" % (b"y" * 100) * rng.randrange(90, 400) + b"\r\n",
        "image": head % len(noise) + noise,
        "npy": head % 128
        + b"\x93NUMPY\x01\x00v\x00{'descr': '|u1', 'fortran_order': False, 'shape': (99999999999,), }".ljust(128),
        "mutated": head % len(image) + _mutated(image, rng),
        "left": head % len(image),
        "origin": _forged(image, "Origin: " + rng.choice(ORIGINS)),
        "host": _forged(image, "Host: " + rng.choice(HOSTS)),
        "site": _forged(image, "Sec-Fetch-Site: " + rng.choice(["cross-site", "same-site", "", "none, none"])),
        "path": b"GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n" % rng.choice(PATHS).encode(),
    }[kind]
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
