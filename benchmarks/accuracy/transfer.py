"""Accuracy of photos from nothing, from frozen features, and after fine-tuning, by the number of photos of a class.

    python benchmarks/accuracy/transfer.py DATA --out FOLDER [--seeds 3] [--draws 10] [--each 5,10,20,50,all]
        [--ways nothing,frozen,tuned] [--arch efficientnet-lite0] [--size 160]

DATA is a folder of class folders. Training items of a class are drawn at random, the test items are edgepress' own.
Frozen features are computed once, so many draws of few photos cost seconds. Each finished training is kept in FOLDER
and not repeated. Times are CPU seconds of this process. `--files` also converts the last model of each way to int8 and
dynamic files, and prints their size, accuracy and latency.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import resource
from pathlib import Path
from typing import Any

import numpy as np

from edgepress.toolkit import benchmark, convert
from edgepress.toolkit.data import open_data
from edgepress.toolkit.data.types import DataSet
from edgepress.toolkit.training import batches
from edgepress.toolkit.training.features import fit_head, frozen_features, keras_body
from edgepress.toolkit.training.loop import train
from edgepress.toolkit.training.nets.architectures import build

SCHEMES = ("tflite-float32", "tflite-dynamic", "tflite-int8", "onnx-float32", "onnx-dynamic", "onnx-int8")


def cpu_seconds() -> float:
    """CPU time of this process so far."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def draw_rows(y: np.ndarray, each: int, seed: int) -> np.ndarray:
    """Rows of at most so many items of each class, drawn at random."""
    rng = np.random.default_rng(seed)
    parts = [rng.permutation(np.flatnonzero(y == label))[:each] for label in np.unique(y)]
    return np.sort(np.concatenate(parts))


def with_fewer(data: DataSet, each: int | None, seed: int) -> DataSet:
    """The data with so many training items of each class."""
    if each is None:
        return data
    rows = draw_rows(data.train.y, each, seed)
    train = data.train
    return dataclasses.replace(data, train=dataclasses.replace(train, indices=train.indices[rows], y=train.y[rows]))


def frozen_table(data: DataSet, options: argparse.Namespace) -> None:
    """The accuracy of classifiers on frozen features, of many draws."""
    started = cpu_seconds()
    model = build(options.arch, data.input, classes=len(data.labels), weights="imagenet")
    body, _ = keras_body(model)
    flips = batches.resolve("auto", data.input, pretrained=True) in batches.FLIPPING
    train_sides = [
        frozen_features(body, data.train, flipped=flipped) for flipped in ([False, True] if flips else [False])
    ]
    test = frozen_features(body, data.test)
    print(f"features: {cpu_seconds() - started:.0f} CPU seconds", flush=True)
    for each in options.each:
        shares = []
        for draw in range(1 if each is None else options.draws):
            rows = np.arange(len(data.train)) if each is None else draw_rows(data.train.y, each, draw)
            features = np.concatenate([side[rows] for side in train_sides])
            labels = np.tile(data.train.y[rows], len(train_sides))
            kernel, bias = fit_head(features, labels, classes=len(data.labels))
            shares.append(float(((test @ kernel + bias).argmax(axis=1) == data.test.y).mean()))
        print_row("frozen", each, shares, cpu_seconds() - started)


def train_one(data: DataSet, way: str, each: int | None, seed: int, options: argparse.Namespace) -> dict[str, Any]:
    """The figures of one training, from its folder if it is there."""
    folder = options.out / f"{way}-{each or 'all'}-{seed}"
    file = folder / "transfer.json"
    if file.exists():
        return dict(json.loads(file.read_text()))
    started = cpu_seconds()
    how: dict[str, Any] = {"weights": "none"} if way == "nothing" else {"weights": "imagenet", "epochs": options.epochs}
    arch = options.nothing if way == "nothing" else options.arch
    result = train(with_fewer(data, each, seed), arch, out=folder, seed=seed, resume=True, progress=False, **how)
    figures = {"accuracy": result.metrics["accuracy"], "cpu_seconds": cpu_seconds() - started}
    file.write_text(json.dumps(figures))
    return figures


def print_row(way: str, each: int | None, shares: list[float], seconds: float) -> None:
    """One line of the table."""
    spread = f" ({100 * min(shares):.1f} to {100 * max(shares):.1f})" if len(shares) > 1 else ""
    print(f"{way:8} {each or 'all':>4} a class: {100 * np.mean(shares):.1f} %{spread}, {seconds:.0f} CPU s", flush=True)


def print_files(folder: Path) -> None:
    """Sizes, accuracies and latencies of the files of a run."""
    convert(folder / "model.keras", ",".join(SCHEMES))
    for row in benchmark(folder / "variants").to_dict()["results"]:
        print(
            f"  {row['scheme']:16} {row['size_bytes'] / 1000:7.0f} kB {100 * row['accuracy']:.2f} % "
            f"{row['p50_us']:.0f} us"
        )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--draws", type=int, default=10)
    parser.add_argument("--each", default="5,10,20,50,all")
    parser.add_argument("--ways", default="nothing,frozen,tuned")
    parser.add_argument("--arch", default="efficientnet-lite0")
    parser.add_argument("--nothing", default="mobilenet-v2", help="the net that learns from nothing")
    parser.add_argument("--size", type=int, default=160)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--files", action="store_true")
    options = parser.parse_args()
    options.each = [None if each == "all" else int(each) for each in options.each.split(",")]
    data = open_data(options.data, size=options.size, skip_unreadable=True)
    for way in options.ways.split(","):
        if way == "frozen":
            frozen_table(data, options)
            continue
        for each in options.each:
            rows = [train_one(data, way, each, seed, options) for seed in range(options.seeds)]
            seconds = float(np.mean([row["cpu_seconds"] for row in rows]))
            print_row(way, each, [row["accuracy"] for row in rows], seconds)
            if options.files and each is None:
                print_files(options.out / f"{way}-all-0")


if __name__ == "__main__":
    main()
