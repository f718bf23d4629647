"""Memory and speed of reading many small images from tar shards, beside tf.data reading the same shards bare.

    python benchmarks/memory/shards.py --out ~/.cache/edgepress-shards

Makes 200,000 images of 32x32 in 20 shards of 10,000 in `--out`, unless they are there. Then it prints

- the peak memory (`ru_maxrss`) of a process that opens 50,000, 100,000 and 200,000 of them, and reads every training
  item once as training does; the first time, which indexes the shards, and again;
- items a second of the batches of training (`training_batches`, without augmentation: batches of 64, float32, in an
  order of the whole set) and of two pipelines of tf.data, which read the members, shuffle among 2,048, decode and batch
  to the same, with AUTOTUNE: "tf.data, tarfile" reads the members with Python's tarfile, several shards at once, as its
  documentation shows for formats that it has no reader for; "tf.data, cut" is the fastest that we found: it loads whole
  shards and finds their members by arithmetic on the blocks, so that no Python runs for an item.

Each figure of speed is from a process of its own; the three take turns. The last lines are the ratios of the figures of
a turn: median, smallest and largest.
"""

from __future__ import annotations

import argparse
import io
import multiprocessing
import os
import statistics
import subprocess
import sys
import tarfile
import tempfile
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
PER_SHARD = 10_000
SIDE = 32
BATCH = 64

OURS = """
import resource, sys, time
from edgepress.toolkit.data import open_data
from edgepress.toolkit.training.batches import training_batches

start = time.perf_counter()
data = open_data(sys.argv[1])
opened = time.perf_counter() - start
start, count = time.perf_counter(), 0
for x, y in training_batches(data.train, batch_size=64, augmentation="none", seed=0, epoch=0):
    count += len(y)
rate = count / (time.perf_counter() - start)
print(rate, opened, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


def make_shard(number: int, *, out: Path, suffix: str) -> None:
    """Write a shard of images that differ, with ten classes."""
    path = out / f"train-{number:06d}.tar"
    if path.exists():
        return
    rng = np.random.default_rng(number)
    with tarfile.open(path.with_suffix(".part"), "w", format=tarfile.USTAR_FORMAT) as archive:
        for i in range(PER_SHARD):
            pixels = rng.integers(0, 256, (7, 7, 3), np.uint8)
            image = Image.fromarray(pixels if suffix == "jpg" else pixels[:, :, 0]).resize((SIDE, SIDE))
            file = io.BytesIO()
            image.save(file, {"jpg": "JPEG", "png": "PNG"}[suffix])
            for end, content in ((suffix, file.getvalue()), ("cls", str(i % 10).encode())):
                member = tarfile.TarInfo(f"{number:06d}{i:06d}.{end}")
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    path.with_suffix(".part").rename(path)


def peer(folder: Path, suffix: str, *, cut: bool) -> float:
    """Items a second of a pipeline of tf.data."""
    import time

    import tensorflow as tf

    def decode(image: tf.Tensor, y: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        x = tf.io.decode_jpeg(image, channels=3) if suffix == "jpg" else tf.io.decode_png(image, channels=1)
        return tf.cast(tf.ensure_shape(x, (SIDE, SIDE, 3 if suffix == "jpg" else 1)), tf.float32), y

    def with_tarfile(path: tf.Tensor) -> tf.data.Dataset:
        def items(name: bytes):  # type: ignore[no-untyped-def]
            image = b""
            with tarfile.open(name.decode(), "r:") as archive:
                for member in archive:
                    archive.members = []
                    content = archive.extractfile(member).read()  # type: ignore[union-attr]
                    if member.name.endswith(".cls"):
                        yield image, int(content)
                    image = content

        kinds = (tf.TensorSpec((), tf.string), tf.TensorSpec((), tf.int64))
        return tf.data.Dataset.from_generator(items, args=(path,), output_signature=kinds)

    def by_blocks(path: tf.Tensor) -> tf.data.Dataset:
        raw = tf.io.read_file(path)
        blocks = tf.reshape(tf.io.decode_raw(raw, tf.uint8), (-1, 512))
        headers = tf.where(tf.reduce_all(blocks[:, 257:262] == tf.constant(list(b"ustar"), tf.uint8), axis=1))[:, 0]
        octal = tf.cast(tf.gather(blocks, headers)[:, 124:135], tf.int64) - ord("0")
        length = tf.reduce_sum(octal * tf.constant([8**k for k in range(10, -1, -1)], tf.int64), axis=1)
        start = (headers + 1) * 512
        places = tf.data.Dataset.from_tensor_slices((start[0::2], length[0::2], start[1::2], length[1::2]))
        return places.map(
            lambda a, n, b, m: (
                tf.strings.substr(raw, a, n),
                tf.strings.to_number(tf.strings.substr(raw, b, m), tf.int64),
            )
        )

    files = tf.data.Dataset.list_files(str(folder / "*.tar"), seed=0)
    members = files.interleave(by_blocks if cut else with_tarfile, cycle_length=4, num_parallel_calls=tf.data.AUTOTUNE)
    batches = members.shuffle(2048, seed=0).map(decode, num_parallel_calls=tf.data.AUTOTUNE).batch(BATCH)
    start, count = time.perf_counter(), 0
    for _, y in batches.prefetch(tf.data.AUTOTUNE):
        count += len(y)
    return count / (time.perf_counter() - start)


def run(*arguments: str, cache: str) -> list[float]:
    """The numbers that a child process prints."""
    env = os.environ | {"EDGEPRESS_CACHE": cache, "CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "3"}
    env["PYTHONPATH"] = str(ROOT / ".types")
    done = subprocess.run([sys.executable, *arguments], env=env, stdout=subprocess.PIPE, text=True, check=True)
    return [float(word) for word in done.stdout.split()]


def first_shards(folder: Path, count: int, place: str) -> Path:
    """A folder of links to the first shards, with `count` images."""
    some = Path(place) / str(count)
    some.mkdir()
    for path in sorted(folder.glob("*.tar"))[: count // PER_SHARD]:
        (some / path.name).symlink_to(path)
    return some


def main() -> None:
    """Make the shards, and measure."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="folder for the shards")
    parser.add_argument("--images", type=int, default=200_000)
    parser.add_argument("--speed-images", type=int, default=100_000, help="images that one turn reads")
    parser.add_argument("--suffix", choices=["jpg", "png"], default="jpg")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--peer", choices=["tarfile", "cut"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peer:
        print(peer(options.out, options.suffix, cut=options.peer == "cut"))
        return
    folder = options.out.expanduser().resolve() / options.suffix
    folder.mkdir(parents=True, exist_ok=True)
    with multiprocessing.Pool() as pool:
        pool.map(partial(make_shard, out=folder, suffix=options.suffix), range(options.images // PER_SHARD))
    size = sum(path.stat().st_size for path in folder.glob("*.tar"))
    print(f"{options.images} {options.suffix} images of {SIDE}x{SIDE} in shards, {size / 1e6:.0f} MB")
    with tempfile.TemporaryDirectory() as place:
        for count in (options.images // 4, options.images // 2, options.images):
            some = first_shards(folder, count, place)
            for time in ("first", "again"):
                rate, opened, memory = run("-c", OURS, str(some), cache=f"{place}/cache-{count}")
                print(f"{count} images, {time}: opened in {opened:.1f} s, {rate:.0f}/s, peak memory {memory:.0f} MiB")
        some = Path(place) / str(options.speed_images)
        if not some.exists():
            some = first_shards(folder, options.speed_images, place)
        rates: dict[str, list[float]] = {}
        for turn in range(options.turns + 1):
            for name, arguments in (
                ("edgepress", ("-c", OURS, str(some))),
                *(
                    (f"tf.data, {kind}", (__file__, "--out", str(some), "--suffix", options.suffix, "--peer", kind))
                    for kind in ("tarfile", "cut")
                ),
            ):
                found = run(*arguments, cache=f"{place}/cache-{options.images}")[0]
                if turn:  # the first warms the disk's cache
                    rates.setdefault(name, []).append(found)
                    print(f"turn {turn}: {name} {found:.0f}/s", flush=True)
    for name in [*rates][1:]:
        ratios = [ours / theirs for ours, theirs in zip(rates["edgepress"], rates[name], strict=True)]
        print(
            f"edgepress / {name}: {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}), "
            f"medians {statistics.median(rates['edgepress']):.0f}/s and {statistics.median(rates[name]):.0f}/s"
        )


if __name__ == "__main__":
    main()
