"""How often the interval of an accuracy on items in groups holds (`edgepress.toolkit.stats.samples.group_interval`).

    python benchmarks/proof/group_coverage.py

Each group has an accuracy of its own, drawn from a beta distribution of a mean and a correlation of its items, and a
number of items that differs by group. Wilson's interval, which takes items for independent, stands beside it. The
command fails if the coverage of the interval by item is below 93 % over all settings.
"""

from __future__ import annotations

import sys
from itertools import product

import numpy as np

from edgepress.toolkit.stats.samples import group_interval, share_interval

OUTCOMES = 1000
LEAST_COVERAGE = 0.93
GROUPS = (5, 10, 30)
ITEMS = (4, 20)
MEANS = (0.7, 0.9, 0.97)
CORRELATIONS = (0.05, 0.3)


def outcome(
    rng: np.random.Generator, groups: int, items: int, mean: float, rho: float
) -> tuple[np.ndarray, np.ndarray]:
    """Whether each item is right, and its group."""
    scale = 1 / rho - 1
    sizes = rng.integers(max(1, items // 2), 3 * items // 2 + 1, groups)
    shares = rng.beta(mean * scale, (1 - mean) * scale, groups)
    of = np.repeat(np.arange(groups), sizes)
    return (rng.random(len(of)) < shares[of]).astype(float), of


def main() -> int:
    """Print the coverage of each setting, in percent."""
    rng = np.random.default_rng(0)
    total = []
    print("groups  items  mean  correlation  by item  by group  Wilson")
    for groups, items, mean, rho in product(GROUPS, ITEMS, MEANS, CORRELATIONS):
        held = np.zeros(3)
        for _ in range(OUTCOMES):
            right, of = outcome(rng, groups, items, mean, rho)
            intervals = (
                group_interval(right, of),
                group_interval(right, of, equal=True),
                share_interval(int(right.sum()), len(right)),
            )
            held += [(i.low or 0) <= mean <= (1 if i.high is None else i.high) for i in intervals]
        total.append(held / OUTCOMES)
        figures = "  ".join(f"{100 * share:6.1f}" for share in total[-1])
        print(f"{groups:6}  {items:5}  {mean:.2f}  {rho:11.2f}  {figures}")
    means = np.mean(total, axis=0)
    print("overall " + ", ".join(f"{100 * share:.1f}" for share in means))
    return int(means[0] < LEAST_COVERAGE)


if __name__ == "__main__":
    sys.exit(main())
