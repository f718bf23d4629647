"""What do 200 kept pictures bring, beside 200 random ones, and what is forgotten?

    python benchmarks/proof/improvement.py --real ../shared/real --cache improvement [--seeds 3]

A small net is trained on 2,000 digits of MNIST. Then boards see other digits, in two streams: turned and noisy, or dim
and blurred. A stream has 600 scenes; half of them are of one class, and few last very long (a Pareto distribution, 20
frames on average); frames of a scene differ by noise and brightness. Of each stream 200 frames are labelled: those that
`--keep` keeps (no scene twice, balanced by predicted class), or random ones, scenes disregarded. The net is trained on
with either, as `improve` does, old items rehearsed. It prints, for each stream, over the seeds

    scenes     the number of different scenes among the 200, and the share of the most frequent class
    new        accuracy on other digits of the stream: before, with random and with kept pictures; the gain of kept ones
               over the net before and over random ones, in percentage points, with the 95 % paired interval
    old        the same on the old test items, and whether a loss of more than 1 point is ruled out

Each seed has its own part of the test items, so that intervals hold over all of them. Exits with 1 if kept pictures are
not proven better than the net before on new items, or proven more than 1 point worse on old ones.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

import numpy as np
import numpy.typing as npt
from PIL import Image
from recommendation_pairs import NETS, SIDE, TRAIN, data_file, spoilt

from edgepress.runtime.image import load_image
from edgepress.runtime.keeping import NAME, Keeper
from edgepress.toolkit.data import open_data
from edgepress.toolkit.data.collected import join
from edgepress.toolkit.data.types import DataSet
from edgepress.toolkit.improvement.improving.improve import train_on
from edgepress.toolkit.improvement.improving.options import ImproveOptions
from edgepress.toolkit.improvement.improving.proof import prove_better, prove_not_worse
from edgepress.toolkit.stats.intervals import paired_drop
from edgepress.toolkit.training.loop import train

NET = "lenet"
STREAMS = ("noisy", "dim")
SCENES = 600
FRAMES = 20
"""Mean number of frames of a scene."""
QUOTA = 200
TESTED = 6000
"""Digits of a stream that measure, of all seeds together."""
OFTEN = 0.5
"""Share of the scenes that are of one class."""
MOST_LOSS_PP = 1.0
LABELS = tuple("0123456789")

Array = npt.NDArray[Any]


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--real", type=Path, required=True, help="folder of real data, see its README")
    parser.add_argument("--cache", type=Path, required=True, help="folder for the net and its data")
    parser.add_argument("--seeds", type=int, default=3)
    args = parser.parse_args()
    source = data_file("mnist", args.real, args.cache)
    run = args.cache / f"run-{NET}"
    model = train(str(source), NET, out=run, epochs=NETS[NET], augmentation="none", resume=True, progress=False).model
    old = open_data(str(source))
    return max(measured(name, run, model, old, args.real, args.seeds) for name in STREAMS)


def measured(stream: str, run: Path, model: Path, old: DataSet, real: Path, seeds: int) -> int:
    """Print what a stream brings; 1 if it is not as promised."""
    net = opened(model)
    x, y = unused(real)
    tested = spoilt(stream, x[:TESTED], np.random.default_rng(5))[..., np.newaxis], y[:TESTED]
    x, y = x[TESTED:], y[TESTED:]
    facts, right = (
        list[str](),
        {side: {arm: list[Array]() for arm in ("before", "random", "kept")} for side in ("new", "old")},
    )
    for seed in range(seeds):
        with tempfile.TemporaryDirectory() as temporary:
            frames, scenes, labels = shown(stream, x, y, seed)
            arms = {
                "random": np.random.default_rng(seed).choice(len(frames), QUOTA, replace=False),
                "kept": kept(frames, labels, net, Path(temporary), seed),
            }
            nets = {"before": net}
            for arm, rows in arms.items():
                most = Counter(labels[rows].tolist()).most_common(1)[0][1] / len(rows)
                facts.append(f"{arm} {len({*scenes[rows].tolist()})} of {len(rows)} ({100 * most:.0f} %)")
                folder = written(Path(temporary) / arm, frames[rows], labels[rows])
                new = open_data(str(folder), input=old.input, labels=LABELS, purpose="evaluation")
                how = ImproveOptions(seed=seed)
                nets[arm] = opened(train_on(run, join(old, new), Path(temporary) / f"run-{arm}", how, progress=False))
            own = slice(seed, None, seeds)
            items = {"new": (tested[0][own], tested[1][own]), "old": (old.test.read(own), old.test.y[own])}
            for side, (pixels, truth) in items.items():
                for arm, each in nets.items():
                    right[side][arm].append(each(pixels).argmax(axis=1) == truth)
    print(f"{stream}\n  scenes  {', '.join(facts)}")
    flags = {side: {arm: np.concatenate(found) for arm, found in arms.items()} for side, arms in right.items()}
    for side, arms in flags.items():
        accuracies = ", ".join(f"{arm} {100 * found.mean():.1f} %" for arm, found in arms.items())
        gains = ", ".join(f"over {arm} {gain(arms[arm], arms['kept'])}" for arm in ("before", "random"))
        print(f"  {side}     {len(arms['kept'])} items: {accuracies}; gain of kept ones {gains}")
    better = prove_better(flags["new"]["before"], flags["new"]["kept"])
    whole = prove_not_worse(flags["old"]["before"], flags["old"]["kept"], MOST_LOSS_PP)
    print(f"  better on new: {better.verdict}; at most {MOST_LOSS_PP:g} point worse on old: {whole.verdict}"
          f"{f', {whole.needed} items are needed' if whole.needed else ''}", flush=True)  # fmt: skip
    return int(better.verdict != "proven" or whole.verdict == "worse")


def gain(before: Array, after: Array) -> str:
    """The gain in percentage points with its interval."""
    drop = paired_drop(before, after)
    assert drop.low is not None
    assert drop.high is not None
    return f"{-drop.estimate:+.1f} ({-drop.high:+.1f} to {-drop.low:+.1f})"


def unused(real: Path) -> tuple[Array, Array]:
    """Digits of MNIST that the net was not trained on, in a random order."""
    parts = []
    for kind, skipped in (("images-idx3", 16), ("labels-idx1", 8)):
        parts.append(gzip.decompress((real / f"data/mnist/train-{kind}-ubyte.gz").read_bytes())[skipped:])
    y = np.frombuffer(parts[1], np.uint8).astype(np.int64)
    x = np.frombuffer(parts[0], np.uint8).reshape(len(y), SIDE, SIDE)
    rows = np.random.default_rng(11).permutation(len(y))[TRAIN + 400 :]  # as `data_file` takes the first ones
    return x[rows], y[rows]


def shown(stream: str, x: Array, y: Array, seed: int) -> tuple[Array, Array, Array]:
    """The frames of a stream, uint8, shape (N, side, side, 1), with the scene and the class of each."""
    rng = np.random.default_rng(100 + seed)
    often = int(rng.integers(10))
    weights = np.where(y == often, OFTEN / (y == often).sum(), (1 - OFTEN) / (y != often).sum())
    rows = rng.choice(len(y), SCENES, replace=False, p=weights / weights.sum())
    lengths = np.minimum(1 + rng.pareto(1.3, SCENES) * FRAMES * 0.3, 2000).astype(np.int64)
    pictures = spoilt(stream, x[rows], rng).astype(np.float32)
    scenes = np.repeat(np.arange(SCENES), lengths)
    noise = rng.normal(0, 3, (len(scenes), SIDE, SIDE)) + rng.normal(0, 3, (len(scenes), 1, 1))
    return np.clip(pictures[scenes] + noise, 0, 255).astype(np.uint8)[..., np.newaxis], scenes, y[rows][scenes]


def opened(model: Path) -> Any:
    """A function from items to scores."""
    from edgepress.converters.sources.keras import load_keras

    net = load_keras(model)
    return lambda x: np.asarray(net.predict(x.astype(np.float32), batch_size=256, verbose=0))


def kept(frames: Array, labels: Array, net: Any, folder: Path, seed: int) -> Array:
    """The rows of the frames that `--keep` has kept in the end."""
    assert len(labels) == len(frames)
    spec = open_data("digits", size=SIDE).input
    keeper = Keeper(folder / "keep", QUOTA, labels=LABELS, model=NET, seed=seed, prepare=lambda p: load_image(p, spec))
    for frame, scores in zip(frames, net(frames), strict=True):
        keeper.look(frame, frame, scores)
    rows = {hashlib.sha256(frame.tobytes()).digest(): row for row, frame in enumerate(frames)}
    return np.array([rows[hashlib.sha256(pixels).digest()] for pixels in stored(folder / "keep")])


def stored(folder: Path) -> Iterator[bytes]:
    """The pixels of the kept pictures; small ones are stored without loss."""
    for path in sorted(folder.iterdir()):
        if NAME.fullmatch(path.name):
            yield np.asarray(Image.open(path)).tobytes()


def written(folder: Path, frames: Array, labels: Array) -> Path:
    """A folder of class folders."""
    for number, (frame, label) in enumerate(zip(frames[..., 0], labels, strict=True)):
        path = folder / LABELS[label] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(frame).save(path)
    return folder


if __name__ == "__main__":
    sys.exit(main())
