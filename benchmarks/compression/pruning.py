"""Channel pruning against a narrower net: `prune` of ResNet8 on MNIST.

Targets are half of the multiply-accumulates and a latency of two thirds, both of which the result keeps; kernels do not
get faster as evenly as multiply-accumulates fall, so that the latency may ask for more.

    python benchmarks/compression/pruning.py --model resnet8-mnist/model.keras --data mnist.npz --minutes 10

The peer is the same architecture with fewer channels, trained from random weights as `train` does, in as much time as
`prune` took. All three nets become int8 files; their accuracy is that on the test split (10,000 items of MNIST), with
the drop from the original's int8 file and its 95 % interval, and their latency is measured in turns, one thread. Exit
status 1 if pruning lost more than 0.3 percentage points, or made the file less than 1.5 times as fast.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

sys.path.append(str(Path(__file__).parents[1] / "shared"))

from side_by_side import compare

from edgepress.converters.ptq.score import macs, runner
from edgepress.runtime.bench import bench
from edgepress.toolkit import convert, prune, train
from edgepress.toolkit.data import open_data
from edgepress.toolkit.machine.host import describe_host
from edgepress.toolkit.stats.intervals import paired_drop
from edgepress.toolkit.training.nets import layers

SHARE, MOST_PP, LEAST_RATIO, AIMED_RATIO = 0.5, 0.3, 1.5, 1.55
"""Multiply-accumulates that are left at most, percentage points that may be lost, and how many times as fast it is:
what is required, and what is asked of `prune`, with a reserve for what a time varies by."""
ROUNDS, CALLS = 41, 40


def narrower(data: str, share: float, minutes: float, out: Path) -> Path:
    """ResNet8 with so many fewer channels, trained in so much time."""
    whole = layers._convolution

    def fewer(x: Any, filters: int, *arguments: Any, **options: Any) -> Any:
        return whole(x, max(1, round(filters * math.sqrt(share))), *arguments, **options)

    layers._convolution = fewer
    try:
        started = time.monotonic()
        train(data, "resnet8", out=out / "trial", epochs=2, overwrite=True, progress=False)
        epochs = max(2, int(60 * minutes / ((time.monotonic() - started) / 2)))
        return train(data, "resnet8", out=out / "whole", epochs=epochs, overwrite=True, progress=False).model
    finally:
        layers._convolution = whole


def invoked(file: Path) -> Callable[[], object]:
    """One answer of a file by LiteRT with one thread, without copying items in and out."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(file), num_threads=1)
    interpreter.allocate_tensors()
    return interpreter.invoke  # type: ignore[no-any-return]


def int8_file(model: Path, data: str, out: Path) -> Path:
    """Its int8 TFLite file."""
    (made,) = convert(model, "tflite-int8", data=data, out=out, verify=False)
    assert made.path is not None, made.error
    return made.path


def main() -> None:
    """Print one line a net and one JSON document."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, help="ResNet8, trained on the data")
    parser.add_argument("--data", required=True, help="its data")
    parser.add_argument("--minutes", type=float, default=10.0, help="time for each training")
    parser.add_argument("--importance", default="auto", help="what ranks channels")
    parser.add_argument("--out", type=Path, default=Path("pruning"), help="folder for the files")
    parser.add_argument("--no-peer", action="store_true", help="leave out the narrower net")
    args = parser.parse_args()
    options: dict[str, Any] = {"minutes": args.minutes, "importance": args.importance, "overwrite": True}
    original = int8_file(args.model, args.data, args.out / "files" / "original")
    before = min(bench(original, "litert", threads=(1,), seconds=1.0)["results"][0]["p50_us"] for _ in range(3)) / 1e3
    options |= {"macs": SHARE, "max_latency": before / AIMED_RATIO}
    started = time.monotonic()
    result = prune(args.model, args.data, out=args.out / "pruned", **options)
    took = (time.monotonic() - started) / 60
    nets = {"original": args.model, "pruned": result.model}
    if not args.no_peer:
        nets["narrower"] = narrower(args.data, SHARE, took, args.out / "narrower")
    files = {
        name: original if name == "original" else int8_file(net, args.data, args.out / "files" / name)
        for name, net in nets.items()
    }
    test = open_data(args.data).test
    items = test.read(np.arange(len(test)))
    answers = {name: runner(file.read_bytes()) for name, file in files.items()}
    right = {name: np.array([answer(item).argmax() for item in items]) == test.y for name, answer in answers.items()}
    calls = {name: invoked(file) for name, file in files.items()}
    rows: list[dict[str, Any]] = []
    for name, file in files.items():
        drop = paired_drop(right["original"], right[name])
        times = compare(name, calls["original"], calls[name], rounds=ROUNDS, calls=CALLS)
        row = {
            "net": name,
            "accuracy": float(right[name].mean()),
            "drop_pp": [drop.estimate, drop.low, drop.high],
            "macs": macs(file.read_bytes()),
            "size_bytes": file.stat().st_size,
            "times_as_fast": [times.ratio, times.ratio_low, times.ratio_high],
            "us": times.theirs_us,
        }
        rows.append(row)
        print(
            f"{name:10} accuracy {row['accuracy']:.4f}  drop {drop.estimate:5.2f} pp [{drop.low}, {drop.high}]  "
            f"{row['macs']:,} MACs  {row['size_bytes']:,} B  {times.theirs_us:.0f} us, {times.ratio:.2f} times as fast",
            file=sys.stderr,
        )
    kept = rows[1]["drop_pp"][0] <= MOST_PP and rows[1]["times_as_fast"][0] >= LEAST_RATIO
    document = {"host": describe_host(), "minutes": took, "layers": result.facts["layers"], "rows": rows, "kept": kept}
    print(json.dumps(document))
    sys.exit(not kept)


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    main()
