"""Let many simulated boards take updates from one server on loopback, and count requests and bytes.

    python benchmarks/updates/fleet.py [--boards 50,100,200] [--share 30%]

Each board is a folder with an id of its own; server, updater and install.sh are the real ones, the model is a stub.
For each number of boards: all check (nothing new); a release is published for a share of the boards, and all check;
then it is published for all, and all check. Each board must run the release that the hash of its id and the share say.
Printed are requests and bytes a board and day, for a check every hour without a new release, and for one update; and
how both grow with the number of boards. Exits with 1 if a board runs another release, or a figure grows otherwise.
"""

from __future__ import annotations

import argparse
import contextlib
import http.server
import json
import shutil
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "updates"))

from simulated import Board, Publisher

from edgepress.runtime.updates.releases import position
from edgepress.toolkit.shipping.publishing.publish import publish

CHECKS_A_DAY = 24
"""Checks of a board in a day, as the timer does them."""
MEMORY = Path("/dev/shm")
"""A folder in memory: there, to flush files to the disk takes no time."""
TOLERANCE = 0.01
"""How far the requests and bytes a board may differ between the numbers of boards."""


@dataclass
class Load:
    """What a server was asked for: requests, and bytes of bodies that it sent."""

    requests: int = 0
    sent_bytes: int = 0


class _Handler(http.server.SimpleHTTPRequestHandler):
    def translate_path(self, path: str) -> str:
        server: Any = self.server
        return str(server.folder / path.lstrip("/"))

    def do_GET(self) -> None:
        server: Any = self.server
        server.load.requests += 1
        super().do_GET()

    def copyfile(self, source: Any, outputfile: Any) -> None:
        server: Any = self.server
        body = source.read()
        server.load.sent_bytes += len(body)
        outputfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@contextlib.contextmanager
def serve(folder: Path) -> Iterator[tuple[str, Load]]:
    """Serve a folder on loopback; its address, and what it was asked for."""
    server: Any = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.folder, server.load = folder, Load()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", server.load
    finally:
        server.shutdown()
        server.server_close()


@dataclass(frozen=True)
class Figures:
    """Figures of one number of boards; requests and bytes are those of one board.

    Attributes:
        boards: Number of boards.
        in_share: Boards that the share took.
        requests_a_day: Requests in a day without a new release.
        bytes_a_day: Bytes in such a day.
        update_requests: Requests for one update.
        update_bytes: Bytes of one update.
        wrong: What was not as it must be.
    """

    boards: int
    in_share: int
    requests_a_day: float
    bytes_a_day: float
    update_requests: float
    update_bytes: float
    wrong: tuple[str, ...]


def measure(count: int, share: str, folder: Path) -> Figures:
    """Let boards follow a publisher."""
    publisher = Publisher(folder / "publisher")
    publisher.publish(1)
    first = Board(folder / "first")
    done = first.install(publisher.bundle(1))
    if done.returncode:
        raise RuntimeError(done.stderr)
    boards = []
    for number in range(count):
        board = Board(folder / f"{number}", board_id=f"board-{number}")
        shutil.rmtree(board.prefix)
        shutil.copytree(first.prefix, board.prefix, symlinks=True)
        (board.prefix / "updates" / "board-id").write_text(f"board-{number}")
        boards.append(board)
    wrong: list[str] = []
    with serve(publisher.site) as (address, load):

        def check(expected: Sequence[int]) -> Load:
            """Let all boards check, compare what they run, and return the load."""
            before = Load(**asdict(load))
            for number, (board, release) in enumerate(zip(boards, expected, strict=True)):
                said = board.attempt(address)
                if board.running() != release:
                    wrong.append(f"board {number} runs {board.running()}, not {release}: {said}")
            return Load(load.requests - before.requests, load.sent_bytes - before.sent_bytes)

        check([1] * count)
        idle = check([1] * count)
        second = publisher.bundle(2)
        published = publish(second, publisher.site, keys=publisher.keys, share=share).changed[0][1]
        inside = [position(published.id, f"board-{number}") < published.share for number in range(count)]
        check([2 if taken else 1 for taken in inside])
        publish(second, publisher.site, keys=publisher.keys, share="100%")
        check([2] * count)
        publisher.publish(3)
        all_at_once = check([3] * count)
    return Figures(
        boards=count,
        in_share=sum(inside),
        requests_a_day=CHECKS_A_DAY * idle.requests / count,
        bytes_a_day=CHECKS_A_DAY * idle.sent_bytes / count,
        update_requests=all_at_once.requests / count,
        update_bytes=all_at_once.sent_bytes / count,
        wrong=tuple(wrong),
    )


def grows_otherwise(figures: Sequence[Figures]) -> list[str]:
    """Names of the figures of one board that depend on the number of boards, so that the load is not linear."""
    names = ("requests_a_day", "bytes_a_day", "update_requests", "update_bytes")
    found = []
    for name in names:
        values = [getattr(each, name) for each in figures]
        if max(values) > (1 + TOLERANCE) * min(values):
            found.append(f"{name}: {', '.join(f'{value:.0f}' for value in values)}")
    return found


def main() -> None:
    """Measure all numbers of boards that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--boards", default="50,100,200", help="numbers of boards, separated by commas")
    parser.add_argument("--share", default="30%", help="share of the boards that takes the release first")
    arguments = parser.parse_args()
    figures = []
    for count in map(int, arguments.boards.split(",")):
        with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as folder:
            found = measure(count, arguments.share, Path(folder))
        figures.append(found)
        print(
            f"{found.boards:4} boards, {found.in_share} in {arguments.share}: "
            f"{found.requests_a_day:.0f} requests and {found.bytes_a_day / 1e3:.1f} kB a board and day, "
            f"{found.update_requests:.1f} requests and {found.update_bytes / 1e3:.1f} kB an update; "
            f"{len(found.wrong)} at another release",
            flush=True,
        )
        print(*found.wrong[:5], sep="\n", end="\n" if found.wrong else "")
    uneven = grows_otherwise(figures)
    print("Requests and bytes grow with the number of boards alone." if not uneven else f"Not linear: {uneven}")
    print(json.dumps({"figures": [asdict(each) for each in figures], "not_linear": uneven}))
    sys.exit(bool(uneven or any(each.wrong for each in figures)))


if __name__ == "__main__":
    main()
