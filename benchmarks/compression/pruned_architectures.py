"""What pruning costs the nets of all architectures: `prune` to 60 and 30 % of the multiply-accumulates.

    python benchmarks/compression/pruned_architectures.py --data digits --out FOLDER [--epochs 10] [--steps 300]
        [--archs lenet,resnet8,...]

Each net is trained as `train` does, in so many epochs, and pruned twice. Architectures for windows get the images of
the data as windows, a row a step. One line for each: validation accuracy before and after, loss in percentage points,
multiply-accumulates left and learning rate. Finished nets in FOLDER are not trained again. Exit status 1 if a pruned
net collapsed, so that `prune` wrote no file.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import numpy as np

from edgepress.toolkit import open_data, prune, train
from edgepress.toolkit.errors import EdgepressError
from edgepress.toolkit.training.nets.architectures import ARCHITECTURES

LEFT_OUT = ("efficientnet-lite1", "efficientnet-lite2")
"""Larger nets of a family, of which the smallest stands for all."""
SHARES = (0.6, 0.3)
"""Shares of the multiply-accumulates."""


def write_windows(data: str, path: Path) -> str:
    """The images of the data as windows (rows, columns), in an `.npz`."""
    opened = open_data(data)
    arrays = {}
    for name in ("train", "val", "test"):
        split = getattr(opened, name)
        images = split.read(np.arange(len(split))).astype(np.float32)
        arrays |= {f"x_{name}": images.mean(axis=-1) / 255, f"y_{name}": split.y}
    np.savez(path, **arrays)
    return str(path)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="digits")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--steps", type=int, default=300, help="steps of each pruning")
    parser.add_argument("--archs", default=",".join(name for name in ARCHITECTURES if name not in LEFT_OUT))
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    collapsed = 0
    for arch in args.archs.split(","):
        images = ARCHITECTURES[arch].sides is not None or ARCHITECTURES[arch].any_shape
        data = args.data if images else write_windows(args.data, args.out / "windows.npz")
        folder = args.out / arch
        options = {"weights": "none", "epochs": args.epochs, "resume": True, "progress": False}
        model = train(data, arch, out=folder, **options).model
        for share in SHARES:
            out = folder / f"pruned-{share:.0%}"
            try:
                result = prune(model, data, macs=share, steps=args.steps, out=out, resume=True)
            except EdgepressError as e:
                collapsed += 1
                print(f"{arch:20} {share:.0%}: {type(e).__name__}: {e}", flush=True)
                continue
            before, after = result.facts["before"], result.facts["after"]
            lost = 100 * (before["accuracy"] - after["accuracy"])
            print(
                f"{arch:20} {share:.0%}: validation {before['accuracy']:.2%} -> {after['accuracy']:.2%}, lost "
                f"{lost:.2f} pp; {after['macs'] / before['macs']:.0%} left; rate {result.facts['learning_rate']:.2g}",
                flush=True,
            )
    sys.exit(collapsed > 0)


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    main()
