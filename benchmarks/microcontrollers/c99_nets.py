"""Integer-only files of the architectures of images, briefly trained on digits, for `c99.py equal` and the like.

    python benchmarks/microcontrollers/c99_nets.py FOLDER

Writes FOLDER/ARCHITECTURE.tflite; files that are there already are not made again. How well they classify does not
matter: `c99.py` compares answers of the same file. Their contracts name the data, of which `c99.py` takes images.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

DATA = "digits"
"""Images of 28 x 28, the smallest that most architectures take."""
SHAPE = (28, 28, 1)
EPOCHS = 2
"""Enough that activations spread over their ranges."""


def make_file(architecture: str, target: Path) -> None:
    """Train a net and convert it."""
    from edgepress.toolkit import convert, train

    with tempfile.TemporaryDirectory() as name:
        model = train(DATA, architecture, out=Path(name, "run"), epochs=EPOCHS, progress=False).model
        (variant,) = convert(model, "tflite-int8", target="integer-only", out=Path(name, "files"), verify=False)
        shutil.copy(variant.path, target)


def main(folder: Path) -> None:
    """Make the files and print their paths."""
    from edgepress.toolkit.training.nets.architectures import ARCHITECTURES

    folder.mkdir(parents=True, exist_ok=True)
    for architecture, row in ARCHITECTURES.items():
        if not row.takes(SHAPE):  # those of windows
            continue
        target = folder / f"{architecture}.tflite"
        if not target.exists():
            make_file(architecture, target)
        print(target, flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
