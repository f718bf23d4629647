"""How good the recommended file is, if only 200 to 500 test images are known: by the rule, and by the one before it.

    python benchmarks/proof/recommendation.py --real ../shared/real --cache recommendation [--only "lenet noisy"]
    python benchmarks/proof/recommendation.py --simulated
    python benchmarks/proof/recommendation.py --real ../shared/real --cache recommendation --clothing

Twenty pairs of a net and data whose test split is large are trained, converted and answered once (`--cache` keeps the
answers). To these files come damaged ones: the net with noise on its weights, so that its true drop is near the limit,
on both sides of it. They are made to look attractive: the more damaged, the smaller and the faster, all a little better
than the best sound file. Then test images are drawn, 200 to 500 at a time, and each rule sees only those:

    beyond    draws in which the recommended file's true drop, on all items, is beyond the limit of 1 pp
    near      draws in which its product of size and latency is at most 1.1 times that of the best file whose true drop
              is within the limit
    more      `beyond` and `near` of the rule with the agreement on all other test items, without their labels
    power     draws in which the surest file that is near the best one passes the most powerful test of its drop that
              takes files exactly at the limit for good in 10 % of draws: about what a rule that sees so few items and
              keeps the promise can reach

The rule before: the smallest file whose 95 % interval ends within the limit. At the end, files whose drop is exactly at
the limit are counted that are taken for good, for each number of items and share of gained items (`--table`).
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

import numpy as np
import numpy.typing as npt
from recommendation_pairs import CASES, DATA, NETS, Pair, clothing, made, simulated

from edgepress.toolkit.measurement.benchmarking.expected import Odds
from edgepress.toolkit.stats.choice import CONFIDENCE, Costs, Evidence, Rule, probability_within
from edgepress.toolkit.stats.intervals import score_interval

LIMIT = 0.01
ITEMS = (200, 500)
NEAR = 1.1
MORE_EVERY = 5
"""Of so many draws, one is also judged with the agreement on all other items, which takes longer."""

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


def main() -> int:
    """Print a line for each pair, and the totals; 1 if a bound is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--real", type=Path, help="folder of real data, see its README")
    parser.add_argument("--cache", type=Path, help="folder for nets and answers")
    parser.add_argument("--only", default="", help="part of the name of a pair")
    parser.add_argument("--draws", type=int, default=1000)
    parser.add_argument("--make", action="store_true", help="only make what is missing")
    parser.add_argument("--simulated", action="store_true", help="simulated pairs instead of real ones")
    parser.add_argument(
        "--clothing", action="store_true", help="only a net on few clothing photos, with its files timed"
    )
    parser.add_argument("--table", action="store_true", help="only the table of files at the limit")
    args = parser.parse_args()
    if args.clothing:
        found = clothing(args.real, args.cache)
        for r in found.results:
            sure = "" if r.probability is None else f"{100 * r.probability:.1f} % sure"
            print(f"{r.scheme} on {r.engine}: {r.size_bytes} B, {r.p50_us} us, drop {r.drop_pp}, {sure}, {r.status}")
        print(found.advice.why)
        chosen = next((r.scheme for r in found.results if r.file == found.advice.ship), "")
        return int(not chosen.endswith(("int8", "dynamic")))
    if args.table:
        table()
        return 0
    names = [name for name in (f"{net} {data}" for net in NETS for data in DATA) if args.only in name]
    pairs = map(simulated, range(CASES)) if args.simulated else (made(name, args.real, args.cache) for name in names)
    totals = []
    for pair in pairs:
        if not args.make:
            totals.append(drawn(pair, args.draws))
            print(line(pair, totals[-1]), flush=True)
    if args.make:
        return 0
    mean = {key: float(np.mean([t[key] for t in totals])) for key in totals[0]}
    print(f"mean of {len(totals)} pairs: {shares(mean)}")
    worst = max(t["beyond"] for t in totals)
    print(f"beyond, worst pair: {100 * worst:.1f} %")
    return int(mean["beyond"] > 0.1 or mean["near"] < 0.9)


def line(pair: Pair, found: dict[str, float]) -> str:
    """A pair's figures."""
    right = pair.predicted == pair.y
    drops = right[0].mean() - right.mean(axis=1)
    differing = (pair.predicted[0] != pair.predicted).mean(axis=1)
    each = [f"{f} {100 * d:.2f}/{100 * s:.1f}" for f, d, s in zip(pair.files, drops, differing, strict=True)][1:]
    accuracy = f"{100 * right[0].mean():.1f} % of {len(pair.y)}"
    return f"{pair.name} ({accuracy}): {shares(found)}; drop/differing pp: {', '.join(each)}"


def shares(found: dict[str, float]) -> str:
    """Shares of draws in words."""
    return ", ".join(f"{key} {100 * value:.1f} %" for key, value in found.items())


def drawn(pair: Pair, draws: int) -> dict[str, float]:
    """The shares of draws of the module's docstring, of the rule and of the one before."""
    right = pair.predicted == pair.y
    base, lost, gained = right[0], right[0] & ~right, ~right[0] & right
    differing = pair.predicted != pair.predicted[0]
    items = np.arange(len(pair.y))
    drops = base.mean() - right.mean(axis=1)
    products = pair.costs.prod(axis=1)
    best = products[drops <= LIMIT].min()
    counts = dict.fromkeys(("beyond", "near", "before beyond", "before near", "more beyond", "more near"), 0)
    rng, total = np.random.default_rng(0), len(pair.y)
    classes = np.broadcast_to(np.arange(pair.scores.shape[1]), pair.scores.shape)
    for draw in range(draws):
        n = int(rng.integers(ITEMS[0], ITEMS[1] + 1))
        rows = rng.choice(total, n, replace=False)
        numbers = [part[:, rows].sum(axis=1) for part in (lost, gained, differing)]
        rest = differing.sum(axis=1) - numbers[2]
        odds = Odds.fit(pair.scores[rows], classes[rows], pair.y[rows])
        expected = expected_more = None
        if odds is not None:
            probabilities = odds.probabilities(pair.scores, classes)
            both = [np.where(differing, probabilities[items, of], 0) for of in (pair.predicted[0], pair.predicted)]
            expected, expected_more = share(*(part[:, rows] for part in both)), share(*both)
        chosen = {
            "": by_rule(pair, n, numbers, expected),
            "before ": by_former(pair, n, numbers),
        }
        if draw % MORE_EVERY == 0:
            chosen["more "] = by_rule(pair, n, numbers, expected_more, more=total - n, rest=rest)
        for which, number in chosen.items():
            counts[f"{which}beyond"] += drops[number] > LIMIT
            counts[f"{which}near"] += products[number] <= NEAR * best
    near = (products <= NEAR * best) & (drops <= LIMIT)
    counts["power"] = max(draws * power(*rates) for rates in zip(lost[near].mean(1), gained[near].mean(1), strict=True))
    few = -(-draws // MORE_EVERY)
    return {key: count / (few if key.startswith("more") else draws) for key, count in counts.items()}


def power(lost: float, gained: float, draws: int = 20_000) -> float:
    """How often the likelihood ratio test at the level `1 - CONFIDENCE` finds that a drop is below the limit.

    By Neyman and Pearson's lemma no test of that level does more often, not even one that knows the shares: it compares
    them with shares at the limit of which as many items differ.

    Args:
        lost: Share of all items that the file loses, 0-1.
        gained: Share of all items that it gains, 0-1.
        draws: Simulated draws of each of the two.
    """
    differing = max(lost + gained, LIMIT)
    shares = np.array([[lost, gained], [(differing + LIMIT) / 2, (differing - LIMIT) / 2]])
    rng = np.random.default_rng(0)
    items = rng.integers(ITEMS[0], ITEMS[1] + 1, draws)
    rates = np.maximum(np.concatenate([shares, 1 - shares.sum(axis=1, keepdims=True)], axis=1), 1e-6)
    ratios = np.log(rates[0] / rates[1])
    sound, limit = (rng.multinomial(items, each / each.sum()) @ ratios for each in rates)
    return float((sound > np.quantile(limit, CONFIDENCE)).mean())


def share(own: Floats, other: Floats) -> Floats:
    """The expected share of lost items among lost and gained ones, of each file; 0.5 if none differs."""
    lost, gained = own.sum(axis=1), other.sum(axis=1)
    return np.where(lost + gained > 0, lost / np.maximum(lost + gained, 1e-12), 0.5)


def by_rule(
    pair: Pair, n: int, numbers: Sequence[Ints], expected: Floats | None, *, more: int = 0, rest: Ints | None = None
) -> int:
    """The file that the rule recommends, given the numbers of lost, gained and differing items of each file.

    `expected` are the expected shares of lost ones among lost and gained ones, None if they are not known.
    """
    costs = [Costs(*cost, None) for cost in pair.costs.tolist()]
    for number in np.argsort(pair.costs.prod(axis=1), kind="stable").tolist():
        lost, gained, differing = (int(part[number]) for part in numbers)
        further = 0 if rest is None else int(rest[number])
        others = differing - lost - gained if more else 0
        known = None if expected is None else float(expected[number])
        evidence = Evidence(n, lost, gained, others, more, further, expected_lost=known)
        sure = 1.0 if number == 0 else probability_within(evidence, LIMIT)
        if lost - gained > LIMIT * n:  # its measured drop is beyond the limit
            sure = 0.0
        costs[number] = costs[number]._replace(probability=sure)
        if sure >= Rule().confidence:
            break  # all others have larger products
    chosen = Rule().choose(costs)
    assert chosen is not None
    return chosen


def by_former(pair: Pair, n: int, numbers: Sequence[Ints]) -> int:
    """The smallest file whose interval ends within the limit."""
    high = [_upper(int(b), int(c), n) for b, c in zip(numbers[0], numbers[1], strict=True)]
    proven = [0, *(number for number in range(1, len(high)) if high[number] <= LIMIT)]
    return min(proven, key=lambda number: float(pair.costs[number, 0]))


@cache
def _upper(lost: int, gained: int, n: int) -> float:
    return float(score_interval(lost, gained, n)[1])


def table() -> None:
    """Of files whose drop is exactly at the limit, the share that reaches 90 %, and of files that lose nothing."""
    from scipy.stats import binom

    print("gained pp: mean over 200, 225, ..., 500 items (least to most); of files that gain as much as they lose")
    for gained in (0.0, 0.001, 0.0025, 0.005, 0.01, 0.02):
        columns = []
        for lost in (LIMIT + gained, gained):
            taken = []
            for n in range(ITEMS[0], ITEMS[1] + 1, 25):
                gains = np.arange(int(binom.ppf(1 - 1e-7, n, gained)) + 1)
                losses = np.arange(int(binom.ppf(1 - 1e-7, n, lost)) + 1)
                share = 0.0
                for c in gains.tolist():
                    good = [
                        b for b in losses.tolist() if probability_within(Evidence(n, b, c), LIMIT) >= Rule().confidence
                    ]
                    rest = min(1.0, lost / (1 - gained))
                    share += binom.pmf(c, n, gained) * binom.pmf(good, n - c, rest).sum()
                taken.append(share)
            columns.append(f"{100 * np.mean(taken):.1f} % ({100 * min(taken):.1f} to {100 * max(taken):.1f})")
        print(f"{100 * gained:g}: {columns[0]}; {columns[1]}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
