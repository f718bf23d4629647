"""How often the intervals for few items hold: of the accuracy by cross-validation, and of what more items bring.

Classes are normal distributions in 32 dimensions, as features are, at distances that are drawn for each data set, and
so are their number and that of their items (5 to 25, or as many groups). A linear classifier learns from the items. The
accuracy that the interval should hold is that of the classifier of all items on 2,000 other items a class. Beside ours
stands the corrected resampled t interval of Nadeau and Bengio (2003).

Usage: few_items_coverage.py [--draws 400] [--logistic]

Prints for items and for items in groups: the share of the data sets whose accuracy lies in the interval, that below it
(promised too much), and the mean width, pp; then the same of the accuracy with twice the items.
"""

from __future__ import annotations

import argparse
import math

import numpy as np
from scipy.stats import t

from edgepress.toolkit.training import features
from edgepress.toolkit.training.features import Fit, Floats, Ints, judge_few_items

DIMENSIONS = 32
OTHERS = 2000
"""Items of a class that the accuracy is measured on."""
ITEMS_OF_GROUP = 4
SPREAD = 0.7
"""Standard deviation of the groups, that of the items in one being 1."""


def nearest_mean(x: Floats, y: Ints) -> tuple[Floats, Floats]:
    """A linear classifier that takes the class of the nearest mean."""
    means = np.stack([x[y == label].mean(axis=0) for label in range(int(np.max(y)) + 1)])
    return means.T, -0.5 * np.sum(means**2, axis=1)


def logistic(x: Floats, y: Ints) -> tuple[Floats, Floats]:
    """Logistic regression on standardized features."""
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=0.01, max_iter=50).fit(x, y)
    kernel, bias = model.coef_.T, model.intercept_
    two = kernel.shape[1] == 1
    return (np.hstack([-kernel / 2, kernel / 2]), np.append(-bias / 2, bias / 2)) if two else (kernel, bias)


class World:
    """A population of items, which are drawn from a generator."""

    def __init__(self, rng: np.random.Generator, *, grouped: bool) -> None:
        self.rng = rng
        self.grouped = grouped
        self.centres = rng.normal(0, 1, (rng.integers(2, 7), DIMENSIONS)) * rng.uniform(0.15, 0.6)

    def draw(self, each: int) -> tuple[Floats, Ints, Ints]:
        """Features, classes and groups of so many items, or groups, of each class."""
        count = len(self.centres) * each
        y = np.repeat(np.arange(len(self.centres)), each)
        means = self.centres[y]
        groups = np.arange(count)
        if self.grouped:
            means = means + SPREAD * self.rng.normal(0, 1, means.shape)
            y, groups, means = (np.repeat(a, ITEMS_OF_GROUP, axis=0) for a in (y, groups, means))
        return (means + self.rng.normal(0, 1, means.shape)).astype(np.float32), y, groups


def corrected_t(x: Floats, y: Ints, groups: Ints, fit: Fit) -> tuple[float, float]:
    """The interval of Nadeau and Bengio over all folds."""
    rates, ratios = [], []
    for learned, tested in features._rounds(y, groups, seed=0):
        rates.append(accuracy(fit, x[learned], y[learned], x[tested], y[tested]))
        ratios.append(len(tested) / len(learned))
    deviation = math.sqrt((1 / len(rates) + np.mean(ratios)) * np.var(rates, ddof=1))
    half = float(t.ppf(0.975, len(rates) - 1)) * deviation
    return float(np.mean(rates)) - half, float(np.mean(rates)) + half


def accuracy(fit: Fit, x: Floats, y: Ints, others: Floats, classes: Ints) -> float:
    """The accuracy on other items of a classifier of these."""
    labels, compact = np.unique(y, return_inverse=True)
    kernel, bias = fit(x, compact)
    return float(np.mean(labels[np.argmax(others @ kernel + bias, axis=1)] == classes))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=400)
    parser.add_argument("--logistic", action="store_true")
    options = parser.parse_args()
    fit = logistic if options.logistic else nearest_mean
    for grouped in (False, True):
        rows: dict[str, list[tuple[float, float, float]]] = {"ours": [], "corrected t": [], "twice the items": []}
        for seed in range(options.draws):
            world = World(np.random.default_rng(seed), grouped=grouped)
            each = int(world.rng.choice([5, 8, 12, 15, 25]))
            x, y, groups = world.draw(each)
            others, classes, _ = world.draw(OTHERS)
            result = judge_few_items(x, y, fit, groups=groups if grouped else None, seed=seed)
            assert result is not None
            true = accuracy(fit, x, y, others, classes)
            rows["ours"].append((true, result.accuracy.low or 0, result.accuracy.high or 1))
            rows["corrected t"].append((true, *corrected_t(x, y, groups, fit)))
            if result.expected is not None:
                more, more_y, _ = world.draw(each)
                true = accuracy(fit, np.concatenate([x, more]), np.concatenate([y, more_y]), others, classes)
                rows["twice the items"].append((true, result.expected.low or 0, result.expected.high or 1))
        print("groups" if grouped else "items")
        for name, figures in rows.items():
            true, low, high = np.array(figures).T
            held = 100 * np.mean((low <= true) & (true <= high))
            print(
                f"  {name:16} {len(true):5} sets, in the interval {held:.1f} %, "
                f"below {100 * np.mean(true < low):.1f} %, width {100 * np.mean(high - low):.1f} pp"
            )


if __name__ == "__main__":
    main()
