"""How often does `--drift` give a false alarm, how soon a right one, and what does the promise not hold for?

    python benchmarks/proof/drift.py --real ../shared/real --cache drift [--streams 1000] [--videos 300]

A small net is trained and converted to `tflite-int8`, and promises an error of 5 % (`calibrate`). Its certainties of
test items, drawn with replacement, are reference and stream, so that they are alike. It prints

    independent  streams of 10,000 items with a false alarm at 1 %: of `--drift`, of a KS test at 1 % of each 100 items
                 in turn, and of the same bets where the reference is taken for the exact distribution
    video        streams of 10,000 frames in scenes of random length (30 on average; frames of a scene differ by noise,
                 brightness and a part of a pixel) with a false alarm: with one frame a scene, and with all frames
                 of these streams; the same with scenes of 300 and of 3,000 frames
    delay        for each corruption and severity, the median number of images, each of another scene, from its
                 beginning, after 1,000 without it, to the alarm; "-" if fewer than half of the streams have one within
                 20,000. Which images count is decided by their thumbnails, as on a board. "dark" and "glare" end, at
                 severity 5, with a covered lens and with a blinded camera, 2 % of the contrast left
    wrong        the share of wrong answers among accepted ones, and the share that is accepted, under that corruption

Exits with 1 if `--drift` gives false alarms in more than 1 % of streams of either kind.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

import numpy as np
import numpy.typing as npt
from recommendation_pairs import NETS, data_file
from scipy.ndimage import gaussian_filter, shift, uniform_filter1d

from edgepress.runtime import Model, load
from edgepress.runtime.acceptance import AnswerLimits
from edgepress.runtime.drift import ALPHA, BENDS, BINS, LEAST_P, POWER, SHARE, SLOPES, STILL, WAKE, edges_of
from edgepress.runtime.scenes import other_scene, thumbnail
from edgepress.toolkit.measurement.calibrating.fit import fit
from edgepress.toolkit.measurement.calibrating.references import Wish

LENGTH = 10_000
"""Items or frames of a stream."""
REFERENCES = (1500, 225)
"""Items of a reference, as many as 2,000 calibration items leave, and 300 scenes on site."""
FITTED = 75
"""Least number of items that set the edges of its bins."""
CALIBRATED = 2000
LONG = (30, 300, 3000)
"""Mean number of frames of a scene; false alarms are promised for the first."""
LOOKS = 8
"""Frames that are made of each scene."""
SCENES = 2500
"""Different scenes."""
BEFORE = 1000
AFTER = 20_000
"""Images before a corruption begins, and after."""
DELAYS = 100
"""Streams of each corruption."""
EVERY = 100
"""Items of a KS test."""
KINDS = ("noise", "blur", "brightness", "contrast", "motion", "dark", "glare")
SEVERITIES = range(1, 6)

Array = npt.NDArray[Any]


def main() -> int:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--real", type=Path, required=True, help="folder of real data, see its README")
    parser.add_argument("--cache", type=Path, required=True, help="folder for the net and its data")
    parser.add_argument("--net", default="lenet", choices=NETS)
    parser.add_argument("--data", default="noisy", choices=("mnist", "noisy", "dim", "signs"))
    parser.add_argument("--streams", type=int, default=1000)
    parser.add_argument("--videos", type=int, default=300)
    args = parser.parse_args()
    model, x, y = trained(args.net, args.data, args.real, args.cache)
    scores = model.scores(x)
    rows = np.random.default_rng(0).permutation(len(y))[:CALIBRATED]
    limits = fit(scores[rows], y[rows], Wish("error", 0.05, 0.95), engine="litert").limits
    if limits.accept is None:
        raise SystemExit("The net is too weak: it can't promise an error of 5 %.")
    certainty = limits.certainty(scores).astype(np.float64)
    print(f"{args.net} on {args.data}: {len(y)} items, accuracy {100 * (scores.argmax(axis=1) == y).mean():.1f} %")
    false = independent(certainty, args.streams), videos(model, limits, x, args.videos)
    corruptions(model, limits, certainty, x, y)
    return int(max(false) > ALPHA)


def trained(net: str, data: str, real: Path, cache: Path) -> tuple[Model, Array, Array]:
    """An int8 file of a net, and the test items with their labels."""
    from edgepress.toolkit.conversion.convert import convert
    from edgepress.toolkit.data import open_data
    from edgepress.toolkit.training.loop import train

    cache.mkdir(parents=True, exist_ok=True)
    source = data_file(data, real, cache)
    run = cache / f"run-{net}-{data}"
    made = train(str(source), net, out=run, epochs=NETS[net], augmentation="none", resume=True, progress=False)
    (variant,) = convert(made.model, "tflite-int8", out=run / "variants", verify=False)
    assert variant.path is not None
    test = open_data(str(source)).test
    return load(variant.path), test.read(slice(None)), test.y


class Bets:
    """The bets of `DriftTest` on many streams at once; `exact` takes the reference for the true distribution.

    Attributes:
        alarm: How many items of each stream had counted at its alarm, int64; -1 without one.
        counted: How many items of each stream have counted.
    """

    def __init__(self, counts: Array, *, exact: bool = False, seed: int = 0) -> None:
        self.seen, self.exact, self.random = counts.astype(np.int64), exact, np.random.default_rng(seed)
        self.waiting, self.counted = np.ones(len(counts)), np.zeros(len(counts), np.int64)
        self.bets = np.zeros((len(counts), gains(np.zeros(1)).shape[1]))
        self.alarm = np.full(len(counts), -1)

    def observe(self, bins: Array, counts: Array | None = None) -> None:
        """Bet on an item of each stream, whose bins are int64, (streams,); only where `counts`, bool, is true."""
        live = np.flatnonzero((self.alarm < 0) & (True if counts is None else counts))
        own = bins[live]
        if not self.exact:
            self.seen[live, own] += 1
        sums = self.seen[live].cumsum(axis=1)
        equal = self.seen[live, own]
        p = (sums[np.arange(len(live)), own] - equal + self.random.random(len(live)) * equal) / sums[:, -1]
        woken = self.waiting[live] * 0.5 / (WAKE + self.counted[live])
        shared = SHARE * self.bets[live].sum(axis=1) + woken
        bets = ((1 - SHARE) * self.bets[live] + shared[:, None] / self.bets.shape[1]) * gains(p)
        self.bets[live] = bets
        self.waiting[live] -= woken
        self.counted[live] += 1
        reached = live[self.waiting[live] + bets.sum(axis=1) >= 1 / ALPHA]
        self.alarm[reached] = self.counted[reached]


def gains(p: Array) -> Array:
    """What each bet makes of 1 at p-values, (streams,): `bets_on` of many, (streams, bets)."""
    p = np.clip(p, LEAST_P, 1 - LEAST_P)[:, np.newaxis]
    u = 2 * p - 1
    powers = [POWER * side ** (POWER - 1) for side in (p, 1 - p)]
    return np.concatenate([1 + np.array(SLOPES) * u, 1 + np.array(BENDS) * (3 * u * u - 1), *powers], axis=1)


class Scenes:
    """The rule of `DriftWatch` on many streams at once: which of their images count."""

    def __init__(self, streams: int, parts: int) -> None:
        self.last, self.still = np.zeros((streams, parts), np.float32), np.full(streams, STILL)

    def count(self, small: Array) -> Array:
        """Which of the next images, one a stream, count: bool, (streams,); `small` are thumbnails, (streams, parts)."""
        self.still += 1
        new: Array = (self.still >= STILL) | other_scene(small, self.last)
        self.last[new], self.still[new] = small[new], 0
        return new


def thumbnails(images: Array) -> Array:
    """Thumbnails, (N, parts), float32."""
    return np.array([thumbnail(image).ravel() for image in images], np.float32)


def references(certainty: Array, streams: int, rng: np.random.Generator, size: int) -> tuple[list[Array], list[Array]]:
    """For each stream the edges of its bins, and the certainties of its reference, (size,), drawn with replacement."""
    edges = [np.array(edges_of(rng.choice(certainty, max(FITTED, size // 3)))) for _ in range(streams)]
    return edges, [rng.choice(certainty, size) for _ in range(streams)]


def counted(edges: list[Array], known: list[Array]) -> Array:
    """The counts of references, int64, (streams, bins); bins that a stream does not have are empty."""
    bins = zip(edges, known, strict=True)
    return np.array([np.bincount(np.searchsorted(own, row, side="right"), minlength=BINS) for own, row in bins])


def binned(edges: list[Array], certainty: Array) -> Array:
    """The bins of certainties, (streams, items)."""
    pairs = zip(edges, certainty, strict=True)
    return np.array([np.searchsorted(own, row, side="right") for own, row in pairs])


def independent(certainty: Array, streams: int) -> float:
    """Print how many streams of independent items have a false alarm; the largest share of `--drift`."""
    worst = 0.0
    for size in REFERENCES:
        rng = np.random.default_rng(1)
        edges, known = references(certainty, streams, rng, size)
        counts, drawn = counted(edges, known), rng.choice(certainty, (streams, LENGTH))
        tests = Bets(counts), Bets(counts, exact=True)
        for step in binned(edges, drawn).T:
            for test in tests:
                test.observe(step)
        shares = [float((test.alarm >= 0).mean()) for test in tests]
        repeated = np.mean([repeated_ks(*pair) for pair in zip(known, drawn, strict=True)])
        print(
            f"independent: {streams} streams of {LENGTH}, reference of {size}: false alarms {100 * shares[0]:.1f} %; "
            f"repeated KS {100 * repeated:.1f} %; bets with the reference taken for exact {100 * shares[1]:.1f} %",
            flush=True,
        )
        worst = max(worst, shares[0])
    return worst


def repeated_ks(known: Array, stream: Array) -> bool:
    """Whether one of the KS tests at 1 %, each of 100 items in turn against the reference, rejects (asymptotic)."""
    before = np.sort(known)
    critical = 1.628 * np.sqrt(1 / EVERY + 1 / len(known))
    for part in stream.reshape(-1, EVERY):
        values = np.sort(part)
        below = np.searchsorted(before, values, side="right") / len(known)
        under = np.searchsorted(before, values, side="left") / len(known)
        upper, lower = (np.searchsorted(values, values, side=side) / EVERY for side in ("right", "left"))
        if max(np.abs(upper - below).max(), np.abs(lower - under).max()) > critical:
            return True
    return False


def looks_of(images: Array, rng: np.random.Generator) -> Array:
    """Frames of one scene each: (scenes, looks, *image), uint8, with noise, another brightness and a small shift."""
    looks = []
    for _ in range(LOOKS):
        moves = rng.uniform(-0.3, 0.3, (len(images), 2))
        moved = np.stack([shift(i, (*by, 0), np.float32, order=1) for i, by in zip(images, moves, strict=True)])
        light = rng.normal(0, 2, (len(images), 1, 1, 1))
        looks.append(np.clip(np.rint(moved + light + rng.normal(0, 3, moved.shape)), 0, 255).astype(np.uint8))
    return np.stack(looks, axis=1)


def videos(model: Model, limits: AnswerLimits, x: Array, streams: int) -> float:
    """Print how many streams of frames in scenes have a false alarm; the share with one frame a scene."""
    rng = np.random.default_rng(2)
    scenes = looks_of(x[rng.permutation(len(x))[:SCENES]], rng)
    flat = scenes.reshape(-1, *x.shape[1:])
    certainty, small = limits.certainty(model.scores(flat)).astype(np.float64), thumbnails(flat)
    edges, known = references(certainty, streams, rng, REFERENCES[0])
    counts = counted(edges, known)
    bins_of = np.array([np.searchsorted(own, certainty, side="right") for own in edges], np.uint8)
    found = []
    for frames in LONG:
        once, every, rule = Bets(counts), Bets(counts), Scenes(streams, small.shape[1])
        scene = np.zeros(streams, np.int64)
        for frame in range(LENGTH):
            changes = rng.random(streams) < (1 / frames if frame else 1)
            scene[changes] = rng.integers(0, SCENES, int(changes.sum()))
            places = scene * LOOKS + rng.integers(0, LOOKS, streams)
            bins = bins_of[np.arange(streams), places].astype(np.int64)
            once.observe(bins, rule.count(small[places]))
            every.observe(bins)
        shares = [float((test.alarm >= 0).mean()) for test in (once, every)]
        found.append(shares[0])
        print(
            f"video: {streams} streams of {LENGTH} frames, {LENGTH / frames:.0f} scenes each, of which "
            f"{np.median(once.counted[once.alarm < 0]):.0f} frames counted: false alarms {100 * shares[0]:.1f} %; "
            f"with all frames {100 * shares[1]:.1f} %",
            flush=True,
        )
    return found[0]


def corruptions(model: Model, limits: AnswerLimits, certainty: Array, x: Array, y: Array) -> None:
    """Print delays of alarms and errors among accepted answers for each corruption and severity."""
    rng = np.random.default_rng(3)
    rows = rng.permutation(len(y))[:SCENES]
    print("corruption: median delay in images, and wrong of accepted answers (share accepted), severity 1 to 5")
    scores, small = model.scores(x[rows]), thumbnails(x[rows])
    before = limits.certainty(scores).astype(np.float64), small
    accepted = limits.accepted(scores)
    assert accepted is not None
    error = (scores.argmax(axis=1) != y[rows])[accepted].mean() if accepted.any() else 0.0
    print(f"  none: -; {100 * error:.1f} % ({100 * accepted.mean():.0f} %)")
    for kind in KINDS:
        delays, errors = [], []
        for severity in SEVERITIES:
            images = corrupted(kind, x[rows], severity)
            scores = model.scores(images)
            accepted = limits.accepted(scores)
            assert accepted is not None
            wrong = (scores.argmax(axis=1) != y[rows])[accepted]
            errors.append(f"{100 * (wrong.mean() if len(wrong) else 0):.1f} % ({100 * accepted.mean():.0f} %)")
            after = limits.certainty(scores).astype(np.float64), thumbnails(images)
            delays.append(delay(certainty, before, after, rng))
        print(f"  {kind}: delay {' / '.join(delays)}; wrong {', '.join(errors)}", flush=True)


def delay(known: Array, before: tuple[Array, Array], after: tuple[Array, Array], rng: np.random.Generator) -> str:
    """The median number of images from the change to the alarm.

    Args:
        known: Certainties that references are drawn from.
        before: The certainties of images without the corruption, (N,), and their thumbnails, (N, parts).
        after: The same with it.
        rng: Draws images.
    """
    edges, drawn = references(known, DELAYS, rng, REFERENCES[0])
    test, rule = Bets(counted(edges, drawn)), Scenes(DELAYS, before[1].shape[1])
    bins = [binned(edges, np.tile(certainty, (DELAYS, 1))) for certainty, _ in (before, after)]
    late = np.full(DELAYS, AFTER + 1)
    for step in range(BEFORE + AFTER):
        changed = step >= BEFORE
        rows = rng.integers(0, len(before[0]), DELAYS)
        test.observe(bins[changed][np.arange(DELAYS), rows], rule.count((after if changed else before)[1][rows]))
        late = np.where((test.alarm >= 0) & (late > AFTER), max(0, step + 1 - BEFORE), late)
        if (test.alarm >= 0).all():
            break
    median = np.median(late)
    return "-" if median > AFTER else f"{median:.0f}"


def corrupted(kind: str, x: Array, severity: int) -> Array:
    """Images, uint8, (N, height, width, channels), with a corruption of severity 1 to 5."""
    pixels = x.astype(np.float32)
    if kind == "noise":
        pixels = pixels + np.random.default_rng(severity).normal(0, 8 * severity, x.shape)
    elif kind == "blur":
        pixels = gaussian_filter(pixels, (0, 0.4 * severity, 0.4 * severity, 0))
    elif kind == "brightness":
        pixels = pixels + 20 * severity
    elif kind == "contrast":
        pixels = 128 + (pixels - 128) * (1 - 0.17 * severity)
    elif kind == "dark":
        pixels = pixels * (1 - 0.196 * severity)
    elif kind == "glare":
        pixels = 255 - (255 - pixels) * (1 - 0.196 * severity)
    else:
        pixels = uniform_filter1d(pixels, 1 + severity, axis=2)
    return np.clip(np.rint(pixels), 0, 255).astype(np.uint8)


if __name__ == "__main__":
    sys.exit(main())
