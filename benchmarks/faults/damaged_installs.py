"""Damage single bytes of installed releases, and check that self-tests notice and nothing switches to a damaged one.

    python benchmarks/faults/damaged_installs.py [--count 1000] [--seed 1] [--bundle app.zip] [--environment]
    python benchmarks/faults/damaged_installs.py --every-byte run,edgepress/runtime/installed.py

Each damage changes one byte of one regular file below PREFIX/releases/NAME, drawn half by bytes and half by files. For
every one, `run selftest` must end with another exit code than 0. Once for 40 of them, the release before is damaged,
which `install.sh rollback` must refuse; then a release that the user has left, which `run update --forward` must
install anew; then the release in use, which `run update` must install anew. What is in use afterwards must be whole.

The installer, `run`, the updater and what compares the files are the real ones. By default the runtime is the stub of
`benchmarks/updates/simulated.py`; `--bundle` installs a real bundle with the packages of this Python. `--environment`
installs a virtual environment with pip, whose files count as well. `--every-byte` damages each byte of some files.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "updates"))

from simulated import APPLICATION, Board, Publisher, complete, make_bundle

from edgepress.runtime.installed import find_damage

MEMORY = Path("/dev/shm")
"""A folder in memory: there, to flush files to the disk takes no time."""
SHARE = 40
"""One of so many damages is tried with a rollback and an update."""


@dataclass(frozen=True)
class Damage:
    """One changed byte: the file's name in the release, the position, and the bits that change (1 to 255)."""

    name: str
    position: int
    bits: int

    @contextlib.contextmanager
    def done(self, release: Path) -> Iterator[None]:
        """Change the byte for a while, as a bad card does: the file's times stay."""
        path = release / self.name
        whole = path.read_bytes()
        times = path.stat()
        changed = bytearray(whole)
        changed[self.position] ^= self.bits
        for content in (bytes(changed), whole):
            if path.exists():  # a release that was installed anew may not have it
                path.write_bytes(content)
                os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
            if content != whole:
                yield


def sizes_of(release: Path) -> dict[str, int]:
    """The size of each regular file of a release that has bytes, by name."""
    files = (path for path in sorted(release.rglob("*")) if path.is_file() and not path.is_symlink())
    return {path.relative_to(release).as_posix(): size for path in files if (size := path.stat().st_size)}


def draw(sizes: dict[str, int], count: int, random_numbers: random.Random) -> list[Damage]:
    """Draw damages, half of them by bytes and half by files."""
    names = list(sizes)
    damages = []
    for number in range(count):
        weights = list(sizes.values()) if number % 2 else None
        (name,) = random_numbers.choices(names, weights)
        position = random_numbers.randrange(sizes[name])
        damages.append(Damage(name, position, random_numbers.randint(1, 255)))
    return damages


def selftest_passes(release: Path, *words: str) -> bool:
    """Whether `run selftest` of a release ends with the exit code 0."""
    command = ["sh", str(release / "run"), "selftest", *words]
    return subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL, timeout=600).returncode == 0


def unnoticed(release: Path, damages: Sequence[Damage]) -> list[Damage]:
    """The damages after which the self-test passes.

    Raises:
        AssertionError: The self-test does not pass without damage.
    """
    assert selftest_passes(release), "the self-test does not pass without damage"
    missed = []
    for number, damage in enumerate(damages, 1):
        with damage.done(release):
            if selftest_passes(release, *["--json"] * (number % 3 == 0)):
                missed.append(damage)
        for text in find_damage(release):  # a damaged script may write a file, such as with `2>91`
            (release / text.removesuffix(" does not belong to it")).unlink()
        if number % 100 == 0:
            print(f"{number} of {len(damages)}", file=sys.stderr, flush=True)
    return missed


def wrong_switches(folder: Path, count: int, random_numbers: random.Random) -> list[str]:
    """What rollbacks and updates do wrong on a board on which release 2 runs and release 1 or 2 is damaged."""
    publisher = Publisher(folder / "publisher")
    board = Board(folder / "board")
    for release in (1, 2, 3):
        publisher.publish(release)
    for release in (2, 3):
        assert board.install(publisher.bundle(release)).returncode == 0
    wrong = []
    for _ in range(count):
        current, former = ((board.prefix / link).resolve() for link in ("current", "current/former"))
        (damage,) = draw(sizes_of(former), 1, random_numbers)
        script = str(current / "install.sh")
        with damage.done(former):
            done = subprocess.run(["sh", script, "rollback"], capture_output=True, stdin=subprocess.DEVNULL)
            if done.returncode == 0 or (board.prefix / "current").resolve() != current:
                wrong.append(f"rollback to {damage}")
        subprocess.run(["sh", script, "rollback"], check=True, capture_output=True, stdin=subprocess.DEVNULL)
        (damage,) = draw(sizes_of(current), 1, random_numbers)
        with damage.done(current):  # the user has left it; it is taken again
            said = board.attempt(publisher.site, forward=True)
            taken = (board.prefix / "current").resolve()
            if not said.startswith("installed") or board.running() != 3 or not selftest_passes(taken):
                wrong.append(f"update to {damage}: {said}")
        in_use = (board.prefix / "current").resolve()
        (damage,) = draw(sizes_of(in_use), 1, random_numbers)
        with damage.done(in_use):
            said = board.attempt(publisher.site)
            taken = (board.prefix / "current").resolve()
            if said != "installed 3" or taken == in_use or not complete(taken) or not selftest_passes(taken):
                wrong.append(f"update of {damage} in use: {said}")
    return wrong


def install(folder: Path, bundle: Path, python: str, *, environment: bool) -> Path:
    """Unpack and install a bundle; the folder of the release."""
    with zipfile.ZipFile(bundle) as archive:
        archive.extractall(folder / "unpacked")
    (script,) = (folder / "unpacked").glob("*/install.sh")
    words = ["--prefix", str(folder / "prefix"), "--python", python, *["--system"] * (not environment)]
    subprocess.run(["sh", str(script), *words], check=True, stdin=subprocess.DEVNULL, stdout=sys.stderr)
    return (folder / "prefix" / "current").resolve()


def all_of(release: Path, names: Sequence[str], random_numbers: random.Random) -> list[Damage]:
    """A damage of each byte of some files."""
    sizes = sizes_of(release)
    return [Damage(name, at, random_numbers.randint(1, 255)) for name in names for at in range(sizes[name])]


def main() -> None:
    """Damage as often as was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=1000, help="number of damages")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--bundle", type=Path, help="a bundle to install instead of one with a stub")
    parser.add_argument("--environment", action="store_true", help="install a virtual environment")
    parser.add_argument("--every-byte", default="", metavar="NAMES", help="files, separated by commas")
    arguments = parser.parse_args()
    random_numbers = random.Random(arguments.seed)
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as temporary:
        folder = Path(temporary)
        bundle = arguments.bundle or make_bundle(folder / f"{APPLICATION}.zip", 1, site=None)
        python = sys.executable if arguments.bundle or arguments.environment else Board(folder / "python").python
        release = install(folder, bundle, python, environment=arguments.environment)
        sizes = sizes_of(release)
        if arguments.every_byte:
            damages = all_of(release, arguments.every_byte.split(","), random_numbers)
        else:
            damages = draw(sizes, arguments.count, random_numbers)
        missed = unnoticed(release, damages)
        switches = 0 if arguments.every_byte or arguments.bundle else arguments.count // SHARE
        wrong = wrong_switches(folder / "switches", switches, random_numbers) if switches else []
    for line in (*missed, *wrong):
        print(line)
    places = len({damage.name for damage in damages})
    print(
        f"{len(damages) - len(missed)} of {len(damages)} damages of {places} of {len(sizes)} files "
        f"({sum(sizes.values()) / 1e6:.1f} MB) noticed by run selftest; "
        f"{3 * switches} rollbacks and updates with damaged releases, {len(wrong)} wrong"
    )
    print(json.dumps({"damages": len(damages), "noticed": len(damages) - len(missed), "wrong": len(wrong)}))
    sys.exit(bool(missed or wrong))


if __name__ == "__main__":
    main()
