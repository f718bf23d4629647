"""What `--drift` costs a board: instructions for an image of a new scene, and memory.

    python benchmarks/memory/drift_cost.py [--images 40]

A process opens a model whose session answers at once, calls `Model.judge` with images, each of another scene, and ends.
Valgrind counts its instructions (`--tool=callgrind`, on this machine's architecture) for some images and for as many
more, with the test and without: differences of these leave what the test adds to an image. Images of the sizes 28x28
grey, 96x96 and 224x224 colour. Memory is the peak of the same process without Valgrind (`ru_maxrss`) after 10,000
images, with the test and without.

Limits: 1 % of a core of 500 million instructions a second at 10 images a second, that is 500,000 an image; 16 MB.
Exits with 1 if one is exceeded.
"""

from __future__ import annotations

import argparse
import itertools
import os
import re
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from edgepress.runtime import Contract, InputSpec, Model
from edgepress.runtime.acceptance import Acceptance, certainty_of
from edgepress.runtime.drift import DriftReference, edges_of
from edgepress.runtime.sessions import Session

SIZES = ((28, 1), (96, 3), (224, 3))
"""Side, pixels, and channels."""
A_SECOND = 5e8
"""Instructions of a Pi-class core a second, at least."""
IMAGES_A_SECOND = 10
SHARE = 0.01
"""Share of a core that the test may take."""
MEMORY_BYTES = 16e6
MEMORY_IMAGES = 10_000
REFERENCE_ITEMS = 1500
LABELS = 10
LEVELS = (20, 200)
"""Grey levels of images, in turn, so that each is of another scene than the one before."""
ANSWERS = np.random.default_rng(0).dirichlet(np.ones(LABELS), REFERENCE_ITEMS).astype(np.float32)
"""Answers to reference items and images alike, so that there is no alarm, after which nothing is computed."""


class Immediate(Session):
    """A session that answers at once, by turns what it is given."""

    dtype, scale, batch, stateful, keep_state = np.dtype(np.uint8), (1.0, 0), None, False, False

    def __init__(self, contract: Contract) -> None:
        self.contract, self.shape, self.classes, self.output_shape = contract, contract.input.shape, LABELS, (LABELS,)
        self.turns = itertools.cycle(ANSWERS[:, np.newaxis])

    def run(self, batch: Any) -> Any:
        """The next answer, whatever the batch is."""
        return next(self.turns)

    def reset(self) -> None:
        """Nothing is kept."""


def main() -> int:
    """Print instructions and memory, or be the process that is measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=40)
    parser.add_argument("--judge", nargs=4, type=int, metavar=("SIDE", "CHANNELS", "IMAGES", "DRIFT"))
    args = parser.parse_args()
    if args.judge:
        side, channels, images, drift = args.judge
        judge(side, channels, images, drift=bool(drift))
        print(f"PEAK {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}")
        return 0
    limit, kept = SHARE * A_SECOND / IMAGES_A_SECOND, True
    for side, channels in SIZES:
        without, with_test = (added_instructions(side, channels, args.images, drift=drift) for drift in (0, 1))
        cost = with_test - without
        share = 100 * cost * IMAGES_A_SECOND / A_SECOND
        kept &= cost <= limit
        print(
            f"{side}x{side}x{channels}: {cost:,.0f} instructions for an image of a new scene, {share:.2f} % of a core "
            f"at {IMAGES_A_SECOND} images a second; the rest of `judge`, without the net: {without:,.0f}",
            flush=True,
        )
    side, channels = SIZES[-1]
    peaks = [number_in("PEAK", child(side, channels, MEMORY_IMAGES, drift)) for drift in (0, 1)]
    kept &= peaks[1] - peaks[0] <= MEMORY_BYTES
    print(
        f"memory after {MEMORY_IMAGES:,} images: {peaks[1] / 1e6:.1f} MB with the test, {peaks[0] / 1e6:.1f} MB without"
    )
    return int(not kept)


def judge(side: int, channels: int, images: int, *, drift: bool) -> None:
    """Let a model judge images of another scene each."""
    spec = InputSpec.image(side, side, "rgb" if channels == 3 else "grey")
    certainty = certainty_of(ANSWERS)
    reference = DriftReference.of(edges_of(certainty), certainty, "litert")
    accept = Acceptance(
        at_least=0.5,
        promise="error",
        limit=0.05,
        confidence=0.95,
        items=REFERENCE_ITEMS,
        accepted=1000,
        errors=10,
        upper=0.04,
        engine="litert",
    )
    labels = tuple(map(str, range(LABELS)))
    contract = Contract(task="softmax", labels=labels, input=spec, scheme="x", accept=accept, drift=reference)
    model = Model(Path("net.tflite"), "litert", 1, Immediate(contract))
    if drift:
        model.watch_drift()
    shown = [np.full((side, side, channels), level, np.uint8) for level in LEVELS]
    for n in range(images):
        model.judge(shown[n % len(shown)])
    if model.drift is not None and (model.drift.state()["alarm"] or model.drift.state()["scenes"] != images):
        raise SystemExit("Not every image was of a new scene before an alarm.")


def added_instructions(side: int, channels: int, images: int, *, drift: int) -> float:
    """Instructions for each image: those of twice as many less those of so many, whose process is else the same."""
    once, twice = (
        number_in("Collected :", child(side, channels, count, drift, "valgrind", "--tool=callgrind", NO_FILE))
        for count in (images, 2 * images)
    )
    return (twice - once) / images


NO_FILE = "--callgrind-out-file=/dev/null"
"""Only the total is read."""


def child(side: int, channels: int, images: int, drift: int, *before: str) -> str:
    """What the process that is measured, and the command before it, print."""
    command = [*before, sys.executable, __file__, "--judge", *map(str, (side, channels, images, drift))]
    settings = os.environ | {"PYTHONHASHSEED": "0", "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=settings, check=False)
    if done.returncode:
        raise SystemExit(done.stderr[-2000:])
    return done.stdout + done.stderr


def number_in(name: str, text: str) -> int:
    """The number behind a name in what a command printed."""
    match = re.search(rf"{name} (\d+)", text)
    if match is None:
        raise SystemExit(f"There is no {name!r} in: {text[-2000:]}")
    return int(match[1])


if __name__ == "__main__":
    sys.exit(main())
