"""`serve` under load: 200 clients at once for a minute; no error but 503, flat memory, latency reported.

    python benchmarks/speed/serve_load.py [--clients 200] [--seconds 60]

Each client posts one PNG, waits for the answer, and at once posts the next on a new connection; after a 503 it waits a
tenth of a second. Clients and server share the machine, so latencies are those of a machine that is overloaded.
The model is LeNet int8, trained for a moment on digits. Prints one JSON document; exit 1 if a promise is broken.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import json
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np
from runtime_overhead import make_files

MEMORY_GROWTH = 1.10


def main() -> None:
    """Start a server, load it, report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=60.0)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        make_files(Path(folder))
        server, port = start(next(Path(folder).glob("*int8.tflite")))
        try:
            report = asyncio.run(load(port, server.pid, args.clients, args.seconds))
        finally:
            server.send_signal(signal.SIGTERM)
            report_code = server.wait(30)
    report["exit_code_after_sigterm"] = report_code
    kept = set(report["answers"]) <= {"200", "503"} and report["memory_growth"] <= MEMORY_GROWTH and not report_code
    print(json.dumps(report | {"kept": kept}, indent=2))
    sys.exit(not kept)


def start(model: Path, *options: str) -> tuple[subprocess.Popen[str], int]:
    """A server in a process of its own, and its port."""
    command = [sys.executable, "-m", "edgepress.runtime", "serve", str(model), "--port", "0", "--json", *options]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    return server, int(json.loads(server.stdout.readline())["url"].split(":")[2].split("/")[0])


def resident_bytes(pid: int) -> int:
    """Resident memory of a process."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096


def picture() -> bytes:
    """A digit-sized PNG."""
    from PIL import Image

    encoded = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (28, 28), dtype=np.uint8)).save(encoded, "PNG")
    return encoded.getvalue()


async def post(port: int, body: bytes, base: str = "/") -> str:
    """One request below the path `base`; gives the status, or the error's name."""
    head = f"POST {base}classify HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            writer.write(head.encode() + body)
            answer = await asyncio.wait_for(reader.read(), 30)
        finally:
            writer.close()
        return answer[9:12].decode() if answer.startswith(b"HTTP/1.1 ") else "no answer"
    except OSError as e:
        return type(e).__name__


async def load(port: int, pid: int, clients: int, seconds: float) -> dict[str, object]:
    """Let the clients ask until the time is over."""
    body, counts = picture(), Counter[str]()
    latencies: list[float] = []
    memory: list[int] = []
    end = time.monotonic() + seconds

    async def client() -> None:
        while time.monotonic() < end:
            start = time.perf_counter()
            status = await post(port, body)
            counts[status] += 1
            if status == "200":
                latencies.append((time.perf_counter() - start) * 1e3)
            else:
                await asyncio.sleep(0.1)

    async def watch() -> None:
        while time.monotonic() < end:
            await asyncio.sleep(min(1.0, seconds / 10))
            memory.append(resident_bytes(pid))

    await asyncio.gather(watch(), *(client() for _ in range(clients)))
    early, late = (max(part) for part in (memory[: len(memory) // 5 + 1], memory[-(len(memory) // 5 + 1) :]))
    p50, p90, p99 = (float(q) for q in np.quantile(latencies, (0.5, 0.9, 0.99)))
    return {
        "clients": clients,
        "seconds": seconds,
        "answers": dict(counts),
        "per_second": counts["200"] / seconds,
        "p50_ms": p50,
        "p90_ms": p90,
        "p99_ms": p99,
        "memory_first_fifth_bytes": early,
        "memory_last_fifth_bytes": late,
        "memory_growth": late / early,
    }


if __name__ == "__main__":
    main()
