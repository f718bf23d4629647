"""What a teacher brings, by its temperature and its share in the loss: several students and seeds.

    python benchmarks/compression/teacher.py                        # digits, 20 epochs, two students, three seeds
    python benchmarks/compression/teacher.py --items 300            # trained on 300 of 1257 items

The teacher is a LeNet trained on the same items. Prints the mean of the students' accuracy on the validation and test
splits with its standard error over students and seeds, without a teacher and for each temperature and share, which are
constants in `toolkit/training/teacher.py`.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import tempfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from edgepress.toolkit import convert, train
from edgepress.toolkit.data import open_data
from edgepress.toolkit.data.types import DataSet, Split
from edgepress.toolkit.training import teacher

STUDENTS = ("dense", "lenet")
TEMPERATURES, SHARES = (1.0, 2.0, 4.0), (0.5, 0.9)


def main() -> None:
    """Train the teacher and all students, and print a line for each choice."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="digits")
    parser.add_argument("--items", type=int, help="Training items; default: all")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    data = open_data(options.data)
    if options.items:
        data = dataclasses.replace(data, train=_first(data, options.items))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run = train(data, "lenet", out=folder / "teacher", epochs=2 * options.epochs, progress=False)
        (variant,) = convert(run.model, "tflite-float32")
        print(f"teacher: validation {run.metrics['val']['accuracy']:.2%}, test {run.metrics['accuracy']:.2%}")
        print(f"{len(data.train)} training items, {options.epochs} epochs, {options.seeds} seeds of {STUDENTS}")
        choices: Iterable[tuple[float, float] | None] = (None, *itertools.product(TEMPERATURES, SHARES))
        for choice in choices:
            if choice is not None:
                teacher.TEMPERATURE, teacher.SHARE = choice
            found = []
            for arch, seed in itertools.product(STUDENTS, range(options.seeds)):
                out = folder / f"{choice}-{arch}-{seed}"
                taught = None if choice is None else variant.path
                student = {"epochs": options.epochs, "seed": seed, "teacher": taught}
                metrics = train(data, arch, out=out, progress=False, **student).metrics
                found.append((metrics["val"]["accuracy"], metrics["accuracy"]))
            means, errors = np.mean(found, axis=0), np.std(found, axis=0, ddof=1) / np.sqrt(len(found))
            about = "no teacher" if choice is None else f"temperature {choice[0]:g}, share {choice[1]:g}"
            parts = (f"{mean:.2%} +- {error:.2%}" for mean, error in zip(means, errors, strict=True))
            print(f"{about:30} validation {' test '.join(parts)}", flush=True)


def _first(data: DataSet, count: int) -> Split:
    return Split(data.train.source, data.train.indices[:count], data.train.y[:count])


if __name__ == "__main__":
    main()
