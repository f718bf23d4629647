"""Put links, devices, pipes, folders and files without an end into a published folder, in place of each of its files.

    python benchmarks/faults/hostile_published.py

Then every call of the publisher that reads the file must refuse it in seconds, and change nothing; no call may wait,
and none may write through a link or take what it leads to. Prints a line for each file, and exits with 1 if anything
got through. Everything is on this machine.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "updates"))

from folder_attacks import Folder
from publisher_attacks import MEMORY, attack, calls

HUGE = 9 << 30
"""Bytes of a file that takes no room on the disk."""
LIMIT_S = 300
"""Time for all calls with one hostile file."""
SECRET = b"PRIVATE"
"""What is in the file to which links lead."""
KINDS: dict[str, Callable[[Path, Path], Any]] = {
    "a link to a private file": lambda path, other: path.symlink_to(other),
    "a link to the same file elsewhere": lambda path, other: path.symlink_to(other.with_name("same")),
    "a link to a device": lambda path, other: path.symlink_to("/dev/zero"),
    "a link to nothing": lambda path, other: path.symlink_to("nothing"),
    "a pipe": lambda path, other: os.mkfifo(path),
    "a folder": lambda path, other: path.mkdir(),
    "a huge file": lambda path, other: [path.touch(), os.truncate(path, HUGE)],
}
"""What is put in place of a file; the second argument is a private file."""
SIGNING = ("publish", "withdraw", "renew", "renew --all", "init", *(f"rotate {role}" for role in Folder.ROLES))


def names(world: Folder) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Files and folders below the published folder, and the calls that do not read them."""
    newest = int(world.newest("root").name.split(".")[0])
    for version in range(1, newest + 2):
        yield f"metadata/{version}.root.json", ()
    for role in ("timestamp", "snapshot", "targets"):
        yield f"metadata/{world.newest(role).name}", ()
    yield "publish.json", ()
    lists = sorted(world.publisher.site.glob("targets/demo/*.releases.json"), key=lambda path: path.stat().st_mtime_ns)
    yield f"targets/demo/{lists[-1].name}", ()
    bundle = next(world.publisher.site.glob("targets/demo/*.demo-1-*.zip"))
    yield f"targets/demo/{bundle.name}", ("bundle", *SIGNING)
    yield "metadata", ()
    yield "targets", ()
    yield "targets/demo", ()


def put(name: str, kind: str) -> Callable[[Folder], None]:
    """What puts a kind of file in place of one."""

    def step(world: Folder) -> None:
        path = world.publisher.site / name
        private = world.folder / "private"
        private.write_bytes(SECRET)
        same = world.folder / "same"
        if path.is_dir():
            shutil.move(path, same)
        elif path.exists():
            path.rename(same)
        else:
            same.write_bytes(b"{}")
        KINDS[kind](path, private)

    return step


def late(*_: Any) -> None:
    """Raise when a call waits."""
    raise TimeoutError(f"the calls took more than {LIMIT_S} s")


def main() -> None:
    """Try each kind in place of each file."""
    failures = count = refused = 0
    signal.signal(signal.SIGALRM, late)
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as folder:
        template = Folder.begin(Path(folder) / "template", {})
        for name, allowed in names(template):
            through = []
            for kind in KINDS:
                world = template.copy(Path(folder) / "world")
                signal.alarm(LIMIT_S)
                outcome = attack(world, [put(name, kind)], allowed, board=False)
                signal.alarm(0)
                through += [f"{kind}: {text}" for text in outcome.through]
                if (world.folder / "private").read_bytes() != SECRET:
                    through.append(f"{kind}: the private file was changed")
                count += 1
                refused += outcome.refused
                shutil.rmtree(world.folder)
            failures += len(through)
            print(f"{name}: {len(KINDS)} kinds, {len(through)} got through", flush=True)
            for text in through:
                print(f"    {' '.join(text.split())[:300]}")
    print(f"{count} hostile files, {refused} of {count * len(calls(template))} calls refused; got through: {failures}")
    sys.exit(failures > 0)


if __name__ == "__main__":
    main()
