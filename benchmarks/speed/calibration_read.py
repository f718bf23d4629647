"""How long `convert` takes to get its calibration items from a folder of many small images, and how much it reads.

    python benchmarks/speed/calibration_read.py --before ../edgepress-before

Makes 60,000 JPEGs of 64x64 in ten class folders, in a temporary folder, and runs the part of `convert` that handles
data: it opens the folder, chooses 200 calibration items and the items to verify on, and reads them. A stub replaces the
model and its conversion. Megabytes are those that the process asked the system for (`rchar` in /proc/self/io), from the
disk or from memory; here they come from memory, because the files were just written. `--before` names a checkout to
compare with. Linux only.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
CLASSES = 10
SIDE = 64
WORK = """
import sys, time
from pathlib import Path
from edgepress.converters.contract.hints import Facts
from edgepress.converters.variant import Variant
from edgepress.toolkit import conversion

class Stub:
    facts = Facts((64, 64, 3), 10, format="keras", ends_in="Softmax")

    def __init__(self, path, **options): ...
    def __enter__(self): return self
    def __exit__(self, *error): ...

    def run(self, schemes, contract, *, calibration, proof=(), **options):
        print(sum(map(len, calibration())), "calibration items and", len(proof), "to verify on", end=": ")
        return [Variant(scheme, None, None, 0.0) for scheme in schemes]

def read():
    return int(Path("/proc/self/io").read_text().split()[1])

conversion.Conversion = Stub
start, before = time.perf_counter(), read()
conversion.convert("model.h5", "tflite-int8", data=sys.argv[1], hints=conversion.Hints(color="rgb"))
print(f"{time.perf_counter() - start:.2f} s, {(read() - before) / 1e6:.1f} MB read")
"""


def make_images(root: Path, count: int) -> float:
    """Write JPEGs of noise with a little structure; returns their size in megabytes."""
    rng, total = np.random.default_rng(0), 0
    small = rng.integers(0, 256, (count, 6, 6, 3), dtype=np.uint8)
    for i, pixels in enumerate(small):
        path = root / f"class{i % CLASSES}" / f"{i:06d}.jpg"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(pixels).resize((SIDE, SIDE)).save(path, quality=90)
        total += path.stat().st_size
    return total / 1e6


def main() -> None:
    """Make the images and measure each checkout twice."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--images", type=int, default=60_000)
    parser.add_argument("--before", type=Path, help="another checkout to measure")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        print(
            f"{options.images} JPEGs of {SIDE}x{SIDE} in {CLASSES} classes, {make_images(root, options.images):.0f} MB"
        )
        checkouts = {"before": options.before, "now": ROOT} if options.before else {"now": ROOT}
        for name, checkout in [*checkouts.items()] * 2:
            path = {"PYTHONPATH": str(checkout.resolve() / ".types")}
            done = subprocess.run(
                [sys.executable, "-c", WORK, folder], env=os.environ | path, capture_output=True, text=True, check=True
            )
            print(f"{name}: {done.stdout.strip()}")


if __name__ == "__main__":
    main()
