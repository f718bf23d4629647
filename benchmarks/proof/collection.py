"""Does `--keep` keep its promises for a day of a camera, while it is killed again and again?

    python benchmarks/proof/collection.py [--hours 24] [--kills 40] [--quota 200]

A child process gives a day of frames, 10 a second, to the `Keeper` of the runtime, as fast as it can. A scene stays for
30 seconds on average; every third one is one of 50 that come back all day. Frames of a scene differ by noise and
brightness; 90 % of the scenes are of one class of five. In the first half of the day the process is killed at random
moments and started again where it was. Meanwhile the folder is counted, some hundred times a second. It prints

    pictures   the largest number and sum of bytes that were counted, unfinished files included, and the quota
    memory     resident memory of the last process after 10,000 frames and at the end
    scenes     scenes that are kept twice, and pairs of pictures that the rule takes for one scene
    files      pictures that can't be decoded, and files that are none
    balance    pictures of each class, and of each quarter of the day
    speed      microseconds of a frame, those of making it included

Exits with 1 if a quota was exceeded, memory grew by more than 2 MB, a scene was kept twice, or a file is damaged.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgepress.runtime.image import load_image
from edgepress.runtime.input_spec import InputSpec
from edgepress.runtime.keeping import ABOUT, LOCK, MOST_BYTES, NAME, UNFINISHED, Keeper
from edgepress.runtime.scenes import other_scene, thumbnail

FRAMES_A_SECOND = 10
SCENE_S = 30.0
"""Mean duration of a scene."""
COMING_BACK = 50
"""Scenes that come back."""
CLASSES = 5
SIDE = 64
"""Height and width of a frame, pixels."""
SPEC = InputSpec.image(SIDE, SIDE, "rgb")
EVERY = 500
"""Frames after which the child says how far it is."""
WARM = 10_000
MOST_GROWTH_BYTES = 2_000_000

Array = npt.NDArray[Any]


def main() -> int:
    """Replay a day, and count."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hours", type=float, default=24)
    parser.add_argument("--kills", type=int, default=40)
    parser.add_argument("--quota", type=int, default=200)
    parser.add_argument("--child", nargs=2, metavar=("FOLDER", "FRAME"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    frames = int(args.hours * 3600 * FRAMES_A_SECOND)
    if args.child:
        replay(Path(args.child[0]), int(args.child[1]), frames, args.quota)
        return 0
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "kept"
        counted = Counted(folder)
        begin = time.monotonic()
        memory = run(folder, frames, args)
        seconds = time.monotonic() - begin
        counted.end()
        return judged(folder, counted, memory, args.quota, frames, seconds)


def day(frames: int) -> list[tuple[int, int]]:
    """The scenes of a day: first frame and number of each."""
    rng, found, at = np.random.default_rng(0), [], 0
    while at < frames:
        number = int(rng.integers(COMING_BACK)) if len(found) % 3 == 0 else COMING_BACK + len(found)
        found.append((at, number))
        at += max(1, int(rng.exponential(SCENE_S * FRAMES_A_SECOND)))
    return found


def blocks(number: int) -> Array:
    """What a scene shows: grey levels, float64, shape (8, 8, 3)."""
    return np.random.default_rng(number).uniform(30, 225, (8, 8, 1)).repeat(3, axis=2)


def class_of(number: int) -> int:
    """The class of a scene."""
    return 0 if number % 10 else 1 + number // 10 % (CLASSES - 1)


def replay(folder: Path, first: int, frames: int, quota: int) -> None:
    """In the child: give the frames to a keeper, from `first` on, and tell how far it is and its memory."""
    keeper = Keeper(folder, quota, labels=[*"abcde"], model="day", prepare=lambda path: load_image(path, SPEC))
    rng, scenes = np.random.default_rng(first), day(frames)
    noise = rng.normal(0, 6, (64, SIDE, SIDE, 3)).round().astype(np.int16)
    look = np.empty(noise.shape[1:], np.int16)
    for (begin, number), (end, _) in zip(scenes, [*scenes[1:], (frames, 0)], strict=True):
        if end <= first:
            continue
        picture = blocks(number).round().astype(np.int16).repeat(SIDE // 8, axis=0).repeat(SIDE // 8, axis=1)
        answer = np.full(CLASSES, 0.05, np.float32)
        answer[class_of(number)] = 0.8
        noises, brightness = rng.integers(64, size=16), rng.normal(0, 4, 16).round().astype(np.int16)
        for frame in range(max(begin, first), min(end, frames)):
            # In place, so that the resident memory is the keeper's: large arrays that come and go move it by 3 MB.
            np.add(picture, noise[noises[frame % 16]], out=look)
            np.add(look, brightness[frame % 16], out=look)
            np.clip(look, 0, 255, out=look)
            item = look.astype(np.uint8)
            keeper.look(item, item, answer)
            if frame % EVERY == 0:
                print(frame, resident(), flush=True)
    print(frames, resident(), flush=True)


def resident() -> int:
    """Resident memory of this process, bytes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def run(folder: Path, frames: int, args: argparse.Namespace) -> tuple[int, int]:
    """Let children replay the day, and kill them in its first half; memory of the last one, early and at its end."""
    moments = iter(sorted(random.Random(0).randrange(frames // 2) for _ in range(args.kills)))
    command = [sys.executable, __file__, "--hours", str(args.hours), "--quota", str(args.quota), "--child", str(folder)]
    at, early, late = 0, 0, 0
    while at < frames:
        kill, started = next(moments, frames + 1), at
        with subprocess.Popen([*command, str(at)], stdout=subprocess.PIPE, text=True) as child:
            early = 0
            for at, late in told(child):
                early = late if at - started >= WARM and not early else early
                if at >= kill:
                    time.sleep(random.Random(at).uniform(0, 0.02))
                    child.kill()
                    break
        if child.returncode not in (0, -9):
            raise SystemExit(f"The child ended with {child.returncode}.")
    return early, late


def told(child: subprocess.Popen[str]) -> Iterator[tuple[int, int]]:
    """What a child tells."""
    assert child.stdout is not None
    for line in child.stdout:
        frame, memory = line.split()
        yield int(frame), int(memory)


class Counted:
    """Counts the files of a folder all the time."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.most, self.most_bytes, self.looks = folder, 0, 0, 0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()

    def end(self) -> None:
        """Stop counting."""
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._done.wait(0.003):
            # Twice, because a file that is renamed while a folder is listed may be seen under both names.
            found = [self._count() for _ in range(2)]
            self.most = max(self.most, min(count for count, _ in found))
            self.most_bytes = max(self.most_bytes, min(total for _, total in found))
            self.looks += 1

    def _count(self) -> tuple[int, int]:
        sizes = []
        if self.folder.is_dir():
            for entry in os.scandir(self.folder):
                try:
                    if entry.name not in (ABOUT, LOCK):
                        sizes.append(entry.stat().st_size)
                except FileNotFoundError:  # it has left meanwhile
                    continue
        return len(sizes), sum(sizes)


def judged(folder: Path, counted: Counted, memory: tuple[int, int], quota: int, frames: int, seconds: float) -> int:
    """Print the results; the exit code."""
    paths = sorted(path for path in folder.iterdir() if path.name not in (ABOUT, LOCK))
    pictures = [path for path in paths if NAME.fullmatch(path.name)]
    small, damaged = [], 0
    for path in pictures:
        try:
            small.append(thumbnail(load_image(path, SPEC)).ravel())
        except Exception:  # whatever it is, the picture is damaged
            damaged += 1
    found = np.array(small)
    shown = day(frames)
    first = {number: frame for frame, number in reversed(shown)}
    known = np.array([blocks(number)[..., 0].ravel() for number in first])
    numbers = [[*first][int(np.argmin(((known - one) ** 2).sum(axis=1)))] for one in found]
    twice = len(numbers) - len({*numbers})
    alike = sum(int((~other_scene(found[i + 1 :], found[i])).sum()) for i in range(len(found) - 1))
    quarters = Counter(4 * first[number] // frames + 1 for number in numbers if number >= COMING_BACK)
    classes = Counter(class_of(number) for number in numbers)
    grown = memory[1] - memory[0]
    print(f"pictures  at most {counted.most} of {quota}, {counted.most_bytes:,} bytes of {quota * MOST_BYTES:,}, "
          f"in {counted.looks:,} counts")  # fmt: skip
    print(f"memory    {memory[0] / 1e6:.1f} MB, at the end {memory[1] / 1e6:.1f} MB")
    print(f"scenes    {len({*first})} shown, {len(pictures)} kept; {twice} kept twice, {alike} pairs alike")
    print(f"files     {damaged} damaged, {len(paths) - len(pictures)} others")
    print(f"balance   classes {dict(sorted(classes.items()))}, quarters {dict(sorted(quarters.items()))}")
    print(f"speed     {frames:,} frames in {seconds:.0f} s, {1e6 * seconds / frames:.0f} us a frame")
    broken = counted.most > quota or counted.most_bytes > quota * MOST_BYTES
    return int(broken or grown > MOST_GROWTH_BYTES or twice + alike + damaged > 0 or (folder / UNFINISHED).exists())


if __name__ == "__main__":
    sys.exit(main())
