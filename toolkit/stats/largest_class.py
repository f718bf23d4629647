"""Whether a model answers hardly better than by always naming the largest class.

One rule for every place that asks: the check of a source model before its conversion, the remarks, and the
recommendation of a benchmark, so that none of them praises what another one warns of.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgepress.toolkit.stats.intervals import score_interval

NEAR = 0.05
"""A model is near the largest class's share if it is not proven to answer this share of the other classes' items
correctly, net of what it loses in the largest class."""
HALF = 0.5
"""It must not seem to answer this share of them either, which would speak of few items instead."""

Counts = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class NearLargest:
    """A model that is near the share of the largest class.

    Attributes:
        largest: The number of that class.
        share: Share of the items that are of it, 0-1.
        accuracy: Share of the items that the model answers correctly, 0-1.
        low, high: 95 % interval of accuracy - share, paired over the items.
    """

    largest: int
    share: float
    accuracy: float
    low: float
    high: float


def near_largest(support: Counts, right: Counts) -> NearLargest | None:
    """Whether accuracy is hardly above the share of the largest class; None if it is well above, or there is one class.

    Against answering always the largest class: items that only the model gets right, and that only this answer does.
    The lower end of the interval of the difference decides.

    Args:
        support: Number of items of each class, shape (C,).
        right: Number of these that the model answers correctly, shape (C,).
    """
    count = int(support.sum())
    largest = int(np.argmax(support))
    both = int(right[largest])
    low, high = (float(end) for end in score_interval(int(right.sum()) - both, int(support[largest]) - both, count))
    accuracy = int(right.sum()) / count
    share = int(support[largest]) / count
    rest = 1 - share
    if rest == 0 or low > NEAR * rest or accuracy - share >= HALF * rest:
        return None
    return NearLargest(largest=largest, share=share, accuracy=accuracy, low=low, high=high)
