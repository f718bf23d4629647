"""What fits a small board: accuracy and size of int8 files for 1 MB, 310 kB and 100 kB, pre-trained and from nothing.

    python benchmarks/compression/small_boards.py --data trashnet/ --photos photos-96/model.keras

`--photos` is a large net that was fine-tuned on the data, such as EfficientNet-Lite0; it is pruned to 1 MB. MobileNetV1
of width 0.25 begins with ImageNet's weights (`--weights`), and is brought to 100 kB in two ways: pruned to that size
in 8 bits, and pruned less and tuned to 4 bits. Beside them are nets that train from nothing, on the same items.
`--rows` chooses rows. One line for each row: size and test accuracy of the file, CPU seconds. Exit status 1 if a row
that has a `least` is below it or above its limit.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edgepress.toolkit import convert, evaluate, open_data, prune, train, tune

SIZE = 96
"""Side of the images."""


@dataclass(frozen=True)
class Row:
    """A net for a board.

    Attributes:
        limit: Largest size of the file, bytes.
        least: Test accuracy that it must have; 0 for a net beside it.
        arch: What is trained; "" for the net of `--photos`.
        pretrained: Whether it begins with ImageNet's weights.
        width: Its width; None for that of the architecture.
        pruned: Whether it is pruned to the limit.
        macs: Share of the multiply-accumulates that it is pruned to, before it is tuned to 4 bits; None for 8 bits.
    """

    limit: int
    least: float
    arch: str
    pretrained: bool = False
    width: float | None = None
    pruned: bool = False
    macs: float | None = None


ROWS = {
    "1MB": Row(1_000_000, 0.86, "", pruned=True),
    "1MB-nothing": Row(1_000_000, 0, "mobilenet-v2", width=0.5),
    "310kB": Row(310_000, 0.83, "mobilenet-v1", pretrained=True, width=0.25),
    "310kB-nothing": Row(310_000, 0, "mobilenet-v1", width=0.25),
    "100kB": Row(100_000, 0.6, "mobilenet-v1", pretrained=True, width=0.25, pruned=True),
    "100kB-4-bits": Row(100_000, 0.78, "mobilenet-v1", pretrained=True, width=0.25, macs=0.42),
    "100kB-ds-cnn": Row(100_000, 0, "ds-cnn"),
    "100kB-resnet8": Row(100_000, 0, "resnet8"),
}


def cpu_seconds() -> float:
    """CPU seconds of this process and its children."""
    parts = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(part.ru_utime + part.ru_stime for part in parts)


def measure(name: str, row: Row, args: argparse.Namespace) -> dict[str, Any]:
    """Make the net of a row, and measure its int8 file."""
    started = cpu_seconds()
    folder = args.out / name
    model = args.photos
    if row.arch:
        width: dict[str, Any] = {} if row.width is None else {"width": row.width}
        weights = args.weights if row.pretrained else None
        data = open_data(args.data, size=SIZE)
        options: dict[str, Any] = {"epochs": args.epochs, "overwrite": True, "progress": False}
        model = train(data, row.arch, out=folder / "net", weights=weights, **width, **options).model
    limits: dict[str, Any] = {"minutes": args.minutes, "overwrite": True}
    if row.pruned:
        model = prune(model, args.data, max_size=row.limit, out=folder / "pruned", **limits).model
    if row.macs is not None:
        model = prune(model, args.data, macs=row.macs, out=folder / "pruned", **limits).model
        model = tune(model, args.data, bits=4, out=folder / "tuned", **limits).model
    scheme = "tflite-int8" if row.macs is None else "tflite-int4"
    (variant,) = convert(model, scheme, data=args.data, out=folder / "files")
    assert variant.path is not None, variant.error
    accuracy = float(evaluate(variant.path, data=args.data)["accuracy"])
    size = variant.path.stat().st_size
    kept = accuracy >= row.least and size <= row.limit
    return {
        "name": name,
        **asdict(row),
        "size_bytes": size,
        "accuracy": accuracy,
        "kept": kept,
        "cpu_s": cpu_seconds() - started,
    }


def main() -> None:
    """Print one line a row and one JSON document."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="photos in class folders, or an .npz")
    parser.add_argument(
        "--photos", type=Path, help="a net that was fine-tuned on them; without it, its row is left out"
    )
    parser.add_argument("--weights", default="imagenet", help="those that MobileNetV1 begins with")
    parser.add_argument("--epochs", type=int, default=60, help="epochs of each training")
    parser.add_argument("--minutes", type=float, default=10.0, help="time of each pruning")
    parser.add_argument("--rows", default=",".join(ROWS), help="names of rows, separated by commas")
    parser.add_argument("--out", type=Path, default=Path("small-boards"), help="folder for the files")
    args = parser.parse_args()
    measurements = list[dict[str, Any]]()
    for name in args.rows.split(","):
        row = ROWS[name]
        if not row.arch and args.photos is None:
            print(f"{name}: left out, as it needs --photos", file=sys.stderr)
            continue
        one = measure(name, row, args)
        measurements.append(one)
        line = f"{name:14} {one['size_bytes']:>9,} B  test accuracy {one['accuracy']:.2%}  {one['cpu_s']:.0f} CPU s"
        print(line, file=sys.stderr, flush=True)
    print(json.dumps(measurements))
    sys.exit(not all(one["kept"] for one in measurements))


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    main()
