"""How often are promises of accepted answers broken? By `calibrate`, and by two other rules, on real nets.

    python benchmarks/proof/promises.py --real ../shared/real --cache promises [--draws 300] [--only "lenet"]

Nets are trained on 2,000 items and answer 8,000 test items as files of every scheme (`--cache` keeps nets and scores).
Calibration sets of `--items` items (2,000) are drawn with replacement, so that the true risk, over all items, is known.
For limits of 1, 2, 5 and 10 % with 95 % confidence, each line shows

    given      draws that promise something
    broken     draws in which the error of accepted answers over all items is above the limit; at most 5 % are allowed
    covered    mean share of accepted answers
    plug-in    broken by the usual choice: the laxest threshold whose error among the calibration items is within it
    bonferroni broken and covered by testing all thresholds at once, each with a fortieth of the doubt (as SGR does,
               Geifman and El-Yaniv, NeurIPS 2017)
    oracle     the share that the best threshold for all items would accept
    one test   the mean share that one exact test of all items of a set would accept, at the threshold where that is
               most: it knows the true risk of each threshold, and fails as often as chance lets it. A rule that keeps
               its promise covers far more only where it can test several thresholds

and for each file the calibration error of all items before and after, and the negative log-likelihood: means over the
first five draws, and the worst of these. `chance` is the error that right probabilities would show with so many items.
`--severity` adds what the promise does not hold for: noise, blur, darkness and low contrast, at five severities. Exits
with 1 if a promise is broken in more draws than 5 % and chance (99.9 %) explain.
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
from scipy.ndimage import gaussian_filter
from scipy.stats import binom

from edgepress.converters.numeric.metrics import NONE, fit_temperature, negative_log_likelihood
from edgepress.runtime.acceptance import AnswerLimits, certainty_of
from edgepress.toolkit.measurement.calibrating.fit import expected_error, fit, with_acceptance
from edgepress.toolkit.measurement.calibrating.references import Wish, divide_items
from edgepress.toolkit.stats.acceptance import STEPS, outcome_at
from edgepress.toolkit.stats.metrics import calibration_error

LIMITS = (0.01, 0.02, 0.05, 0.1)
CONFIDENCE = 0.95
ITEMS = 2000
TEMPERATURES = 5
"""Draws that fit the temperature of a contract."""
PAIRS = ("lenet noisy", "dense dim", "dense noisy", "resnet8 mnist", "ds-cnn signs", "others noisy")
"""Net and data, as `recommendation_pairs` makes them; "others" is a net that was made elsewhere, for clean digits."""
OTHERS = "models/ai_edge_quantizer/conv_fc_mnist.tflite"
"""That net, below the folder of real data; it takes pixels of 0-1."""
SEVERITIES = range(1, 6)

Array = npt.NDArray[Any]


def main() -> int:
    """Print a line for each file and limit."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--real", type=Path, required=True, help="folder of real data, see its README")
    parser.add_argument("--cache", type=Path, required=True, help="folder for nets and scores")
    parser.add_argument("--draws", type=int, default=300)
    parser.add_argument("--items", type=int, default=ITEMS, help="items of a calibration set")
    parser.add_argument("--only", default="", help="part of the name of a pair")
    parser.add_argument("--severity", action="store_true", help="also errors of accepted answers to damaged images")
    args = parser.parse_args()
    broken = 0
    for pair in (name for name in PAIRS if args.only in name):
        judged_already: dict[bytes, str] = {}
        for scheme, scores, y, damaged in scored(pair, args.real, args.cache, damage=args.severity):
            first = judged_already.setdefault(scores.tobytes(), scheme)
            if first != scheme:
                print(f"{pair} {scheme}: answers as {first} does")
                continue
            broken += judged(f"{pair} {scheme}", scores, y, args.draws, args.items)
            if args.severity:
                severities(scores, y, damaged)
    return int(broken > 0)


def judged(name: str, scores: Array, y: Array, draws: int, items: int) -> int:
    """Print the lines of a file; how many promises are broken too often."""
    rng = np.random.default_rng(0)
    rows = [rng.integers(0, len(y), items) for _ in range(draws)]
    wrong = scores.argmax(axis=1) != y
    certainty = certainty_of(scores).astype(np.float64)
    allowed, failures = binom.ppf(0.999, draws, 1 - CONFIDENCE), 0
    for limit in LIMITS:
        counts = dict.fromkeys(("given", "broken", "plug-in", "bonferroni"), 0)
        covered: dict[str, list[float]] = {"calibrate": [], "bonferroni": []}
        for drawn in rows:
            wish = Wish("error", limit, CONFIDENCE)
            limits, _ = with_acceptance(AnswerLimits(), scores[drawn], y[drawn], wish, engine="litert")
            accepted = limits.accepted(scores)
            counts["given"] += accepted is not None
            counts["broken"] += accepted is not None and bool(wrong[accepted].mean() > limit)
            covered["calibrate"].append(0.0 if accepted is None else float(accepted.mean()))
            counts["plug-in"] += exceeds(plug_in(certainty[drawn], wrong[drawn], limit), certainty, wrong, limit)
            threshold = bonferroni(certainty, wrong, drawn, limit)
            counts["bonferroni"] += exceeds(threshold, certainty, wrong, limit)
            covered["bonferroni"].append(0.0 if threshold is None else float((certainty >= threshold).mean()))
        best = plug_in(certainty, wrong, limit)
        oracle = 0.0 if best is None else float((certainty >= best).mean())
        failures += counts["broken"] > allowed
        shares = {key: f"{100 * count / draws:.1f} %" for key, count in counts.items()}
        means = {key: 100 * float(np.mean(values)) for key, values in covered.items()}
        print(
            f"{name}, limit {100 * limit:g} %: given {shares['given']}, broken {shares['broken']}, "
            f"covered {means['calibrate']:.1f} %; "
            f"plug-in broken {shares['plug-in']}; bonferroni broken {shares['bonferroni']}, "
            f"covered {means['bonferroni']:.1f} %; oracle {100 * oracle:.1f} %; "
            f"one test {100 * one_test(certainty, wrong, limit, items):.1f} %",
            flush=True,
        )
    calibrated = [fit_temperature(scores[drawn], y[drawn]).probabilities(scores) for drawn in rows[:TEMPERATURES]]
    given, decided = NONE.probabilities(scores), scores.argmax(axis=1)
    errors = [100 * expected_error(p, y, decided) for p in (given, *calibrated)]
    top = calibrated[0].max(axis=1)
    outcomes = np.random.default_rng(1).random((TEMPERATURES, len(top))) < top
    chance = 100 * float(np.mean([calibration_error(top, right) for right in outcomes]))
    losses = [negative_log_likelihood(p, y) for p in (given, *calibrated)]
    print(
        f"{name}: accuracy {100 * (1 - wrong.mean()):.1f} %, ECE {errors[0]:.1f} -> {np.mean(errors[1:]):.1f} (at most "
        f"{max(errors[1:]):.1f}, chance {chance:.1f}), "
        f"NLL {losses[0]:.3f} -> {np.mean(losses[1:]):.3f} (at most {max(losses[1:]):.3f})",
        flush=True,
    )
    return failures


def plug_in(certainty: Array, wrong: Array, limit: float) -> float | None:
    """The laxest threshold whose error among these items is within the limit."""
    order = np.argsort(-certainty, kind="stable")
    rates = np.cumsum(wrong[order]) / np.arange(1, len(order) + 1)
    last = np.append(certainty[order][:-1] > certainty[order][1:], True)  # thresholds lie between different values
    (within,) = np.nonzero((rates <= limit) & last)
    return float(certainty[order][within[-1]]) if len(within) else None


def one_test(certainty: Array, wrong: Array, limit: float, items: int) -> float:
    """The largest mean share that one test of so many items accepts, if it knows the true risk of each threshold."""
    order = np.argsort(-certainty, kind="stable")
    last = np.append(certainty[order][:-1] > certainty[order][1:], True)  # thresholds lie between different values
    shares = np.arange(1, len(order) + 1) / len(order)
    rates = np.cumsum(wrong[order]) / np.arange(1, len(order) + 1)
    counts = np.rint(shares * items).astype(np.int64)
    probabilities = pass_probabilities(counts, rates, limit, CONFIDENCE)
    return float((shares * probabilities)[last].max())


def pass_probabilities(items: Array, rates: Array, limit: float, confidence: float) -> Array:
    """The probabilities that so many accepted items with these rates of errors rule out an error above the limit.

    Args:
        items: Numbers of accepted items, shape (N,).
        rates: True rates of errors among them, 0-1, shape (N,).
        limit: The promised error, 0-1.
        confidence: Probability that the promise holds, 0-1.
    """
    from scipy.special import betaincinv
    from scipy.stats import binom

    most = binom.ppf(1 - confidence, np.maximum(items, 1), limit).astype(np.int64)
    largest = np.full(len(items), -1)
    for errors in (most - 1, most, most + 1):  # the largest number of errors that passes is near `most`
        possible = (errors >= 0) & (errors < items)
        known = np.where(possible, errors, 0)
        bounds = betaincinv(known + 1, np.where(possible, items - known, 1), confidence)
        largest = np.where(possible & (bounds <= limit), errors, largest)
    return np.where(largest >= 0, binom.cdf(largest, items, rates), 0.0)


def bonferroni(certainty: Array, wrong: Array, drawn: Array, limit: float) -> float | None:
    """The laxest of all thresholds that hold, each with a share of the doubt."""
    fits, measures = (drawn[part] for part in divide_items(len(drawn)))
    confidence = 1 - (1 - CONFIDENCE) / STEPS
    thresholds = np.quantile(certainty[fits], 1 - np.linspace(1 / STEPS, 1, STEPS), method="higher")
    held = [t for t in thresholds if outcome_at(t, certainty[measures], wrong[measures], confidence).upper <= limit]
    return float(min(held)) if held else None


def exceeds(threshold: float | None, certainty: Array, wrong: Array, limit: float) -> bool:
    """Whether the error of what a threshold accepts of all items is above the limit."""
    return threshold is not None and bool(wrong[certainty >= threshold].mean() > limit)


def severities(scores: Array, y: Array, damaged: dict[str, list[Array]]) -> None:
    """Print the error of accepted answers to damaged images, for a promise of 5 %."""
    half = np.random.default_rng(0).permutation(len(y))[:ITEMS]
    limits = fit(scores[half], y[half], Wish("error", 0.05, CONFIDENCE), engine="litert").limits
    for kind, levels in damaged.items():
        errors = []
        for answers in levels:
            accepted = limits.accepted(answers)
            share = 0.0 if accepted is None or not accepted.any() else float((answers.argmax(1) != y)[accepted].mean())
            errors.append(f"{100 * share:.1f} % of {100 * (0.0 if accepted is None else accepted.mean()):.0f} %")
        print(f"  promise of 5 %, {kind}: wrong of accepted, severity 1 to 5: {'; '.join(errors)}")


def worse(kind: str, x: Array, severity: int) -> Array:
    """Images, uint8, damaged."""
    pixels = x.astype(np.float32)
    if kind == "noise":
        pixels = pixels + np.random.default_rng(severity).normal(0, 12 * severity, x.shape)
    elif kind == "blur":
        pixels = gaussian_filter(pixels, (0, 0.5 * severity, 0.5 * severity, 0))
    elif kind == "dark":
        pixels = pixels * (1 - 0.15 * severity)
    else:
        pixels = 128 + (pixels - 128) * (1 - 0.15 * severity)
    return np.clip(np.rint(pixels), 0, 255).astype(np.uint8)


def scored(pair: str, real: Path, cache: Path, *, damage: bool) -> Any:
    """For each scheme: its name, scores of all test items, their labels, and scores of damaged images."""
    from edgepress.converters.schemes import SCHEMES
    from edgepress.runtime import load
    from edgepress.toolkit.conversion.convert import Hints, convert
    from edgepress.toolkit.data import open_data
    from edgepress.toolkit.training.loop import train

    net, data = pair.split()
    options: dict[str, Any] = {}
    cache.mkdir(parents=True, exist_ok=True)
    source = data_file(data, real, cache)
    run = cache / f"run-{net}-{data}"
    if net == "others":
        model, options = real / OTHERS, {"hints": Hints(input_range=(0.0, 1.0)), "data": str(source)}
    else:
        taught = train(str(source), net, out=run, epochs=NETS[net], augmentation="none", resume=True, progress=False)
        model = taught.model
    opened = open_data(str(source))
    x, y = opened.test.read(slice(None)), opened.test.y
    variants = convert(model, list(SCHEMES), out=run / "variants", verify=False, **options)
    for variant in variants:
        if variant.path is None:
            print(f"{pair} {variant.scheme}: {variant.error}")
            continue
        kept = run / f"{variant.scheme}.npy"
        if not kept.exists():
            np.save(kept, load(variant.path).scores(x))
        damaged: dict[str, list[Array]] = {}
        if damage and variant.scheme == "tflite-int8":
            file = load(variant.path)
            damaged = {
                kind: [file.scores(worse(kind, x, severity)) for severity in SEVERITIES]
                for kind in ("noise", "blur", "dark", "contrast")
            }
        yield variant.scheme, np.load(kept), y, damaged


if __name__ == "__main__":
    sys.exit(main())
