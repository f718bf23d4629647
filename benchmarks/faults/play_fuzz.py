"""`edgepress play` under attack: what `serve_fuzz` sends, and requests that other pages and names could send.

    python benchmarks/faults/play_fuzz.py [--requests 500] [--seed 0] [FILES]

Half of the requests are those of `serve_fuzz` (malformed, oversized, slow, truncated, forged), beside one well-behaved
client; the others are well-formed and come from elsewhere: another origin, another host (DNS rebinding), a path that
leaves the page, a method that it does not have, an address without the page's token or with a wrong one. None of the
latter may be answered with 200. Prints one JSON document;
exit 1 if a promise is broken ("violations").
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

sys.path.append(str(Path(__file__).parents[1] / "speed"))

from runtime_overhead import make_files
from serve_fuzz import AT_ONCE, attack, broken
from serve_load import picture, post, resident_bytes

PEAK_BYTES = (1 << 30) + (250 << 20)
"""Memory of all processes together above that at the beginning: decoding a picture may take 1 GiB."""
GROWTH_BYTES = 160 << 20
"""The bodies of all requests together are limited to 96 MiB; what the allocator keeps of them is no leak."""
HARMLESS = ("lying", "mutated", "slow")
"""These may be answered: bytes beyond the announced ones are not read, a changed picture may still be one, and a slow
request may arrive just in time."""
HOSTS = (
    "evil.example",
    "127.0.0.1.evil.example",
    "localhost.evil.example:80",
    "0.0.0.0",
    "[::1]",
    "127.0.0.2",
    "",
    "x",
)
ORIGINS = ("https://evil.example", "null", "http://localhost:1", "http://127.0.0.1", "file://", "HTTP://{host}.evil")
PATHS = (
    *(
        "/../pyproject.toml",
        "/%2e%2e/%2e%2e/etc/passwd",
        "//etc/passwd",
        "/play.js/../panel.py",
        "/page.html",
        "//localhost/",
    ),
    *("/panel.py", "/test/999999.png", "/test/-1.png", "/test/0x1.png", "/test/1.png/..", "/test/99999999999999.png"),
    *("/play.css%00.py", "/classify", "/state/", "/STATE", "/\\..\\..\\etc\\passwd", "/test/٣.png"),
)
METHODS = ("PUT", "DELETE", "OPTIONS", "HEAD", "PATCH", "TRACE", "CONNECT", "get", "PROPFIND")
FIRST_ANSWER_MS = """() => new Promise((done) => {
    const began = performance.now();
    const seen = new MutationObserver(() => { seen.disconnect(); done(performance.now() - began); });
    seen.observe(document.documentElement, { attributeFilter: ["data-answers"] });
    document.getElementById("webcam").click();
})"""
"""Milliseconds from a click on the webcam's button to the first answer on the page."""


class Running(NamedTuple):
    """A server in a process of its own."""

    process: subprocess.Popen[str]
    url: str

    @property
    def port(self) -> int:
        """Where it listens."""
        return urlsplit(self.url).port or 0

    @property
    def base(self) -> str:
        """The path of the page."""
        return urlsplit(self.url).path


@contextlib.contextmanager
def playing(files: Sequence[Path], *options: str) -> Iterator[Running]:
    """`edgepress play` with these files, until the block ends."""
    command = [sys.executable, "-m", "edgepress.toolkit.cli.main", "play", *map(str, files), "--no-open", "--json"]
    process = subprocess.Popen([*command, *options], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        text = ""
        while not text.rstrip().endswith("\n}"):  # the whole document
            line = process.stdout.readline()
            assert line, text
            text += line
        yield Running(process, json.loads(text)["url"])
    finally:
        process.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(30)
        process.kill()


def foreign(url: str, body: bytes, rng: random.Random) -> tuple[str, bytes]:
    """The kind of a well-formed request that must be refused by the page at `url`, and the request."""
    own, base = urlsplit(url).netloc, urlsplit(url).path
    kind = rng.choice(("host", "origin", "site", "path", "method", "twice", "chunked", "token"))
    host, path, method, lines = own, "/classify?top=3", "POST", [f"Content-Length: {len(body)}"]
    if kind == "host":
        host = rng.choice(HOSTS)
        method, path = rng.choice((("POST", path), ("GET", "/"), ("GET", "/state"), ("GET", "/differences")))
    elif kind == "origin":
        lines.append(f"Origin: {rng.choice(ORIGINS).format(host=own)}")
        method, path = rng.choice((("POST", path), ("GET", "/state"), ("POST", "/test/0")))
    elif kind == "site":
        lines.append(f"Sec-Fetch-Site: {rng.choice(('cross-site', 'same-site', 'nonsense'))}")
        method, path = rng.choice((("POST", path), ("GET", "/state"), ("GET", "/test/0.png"), ("GET", "/play.js")))
    elif kind == "path":
        method, path = rng.choice(("GET", "GET", "POST")), rng.choice(PATHS)
        path = "/play.css" if (method, path) == ("POST", "/classify") else path
    elif kind == "method":
        method, path = rng.choice(METHODS), rng.choice(("/", "/classify", "/state"))
    elif kind == "twice":
        lines.append(rng.choice((f"Host: {own}", "Content-Length: 0")))
    elif kind == "chunked":
        lines = ["Transfer-Encoding: chunked"]
    else:
        method, path = rng.choice((("POST", path), ("GET", "/"), ("GET", "/state"), ("GET", "/play.js")))
        base = rng.choice(("/", "//", base[:-2] + "/", base.swapcase(), f"/?token={base.strip('/')}&at=", base[:-1]))
    head = "\r\n".join([f"{method} {base}{path[1:]} HTTP/1.1", f"Host: {host}", *lines, "", ""])
    return kind, head.encode() + (body if method == "POST" else b"")


async def intrude(url: str, requests: int, rng: random.Random) -> Counter[str]:
    """Send foreign requests; how often each kind got which status."""
    counts: Counter[str] = Counter()
    room, body = asyncio.Semaphore(AT_ONCE), picture()

    async def one() -> None:
        kind, request = foreign(url, body, rng)
        async with room:
            reader, writer = await asyncio.open_connection("127.0.0.1", urlsplit(url).port)
            writer.write(request)
            answer = await asyncio.wait_for(reader.read(), 30)
            writer.close()
        counts[f"{kind} {answer[9:12].decode() if answer.startswith(b'HTTP/1.1 ') else 'closed'}"] += 1

    await asyncio.gather(*(one() for _ in range(requests)))
    return counts


def compared(url: str) -> dict[str, Any]:
    """What the page's server found on the test images, when all have answered."""
    while True:
        with urllib.request.urlopen(f"{url}differences", timeout=30) as answer:
            found: dict[str, Any] = json.load(answer)
        if found["state"] != "running":
            return found
        time.sleep(0.2)


def assault(running: Running, requests: int, seed: int) -> dict[str, Any]:
    """Attack a server; "violations" are the promises that it broke."""
    rng, port = random.Random(seed), running.port
    compared(running.url)  # memory is that of a server at rest
    asyncio.run(post(port, picture(), running.base))  # starts the process that decodes
    before = resident_bytes(running.process.pid)
    report = asyncio.run(attack(port, running.process.pid, requests // 2, rng, running.base))
    intruders = asyncio.run(intrude(running.url, requests - requests // 2, rng))
    time.sleep(0.2)
    alive, after = running.process.poll() is None, resident_bytes(running.process.pid)
    let_in = [kind for kind in report["answered_attacks"] if kind.split()[0] not in HARMLESS]
    let_in += [kind for kind in intruders if kind.endswith(" 200")]
    violations = [line for line in broken(report) if not line.startswith("answered: ")]
    violations += [f"answered: {kind}" for kind in let_in] + [f"failed: {k}" for k in intruders if k.endswith(" 500")]
    violations += ["it ended"] * (not alive)
    if report["peak_bytes"] > PEAK_BYTES or after - before > GROWTH_BYTES:
        took = f"{report['peak_bytes'] / 1e6:.0f} MB more at its peak, {(after - before) / 1e6:.0f} MB at the end"
        violations.append(f"it took {took}")
    return report | {
        "requests": requests,
        "seed": seed,
        "from_elsewhere": dict(sorted(intruders.items())),
        "memory_growth_bytes": after - before,
        "violations": violations,
    }


def main() -> int:
    """Start, attack, report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--requests", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if not options.files:
            make_files(Path(folder))
        with playing(options.files or sorted(Path(folder).glob("*.tflite"))) as running:
            report = assault(running, options.requests, options.seed)
    print(json.dumps(report, indent=2))
    return int(bool(report["violations"]))


if __name__ == "__main__":
    sys.exit(main())
