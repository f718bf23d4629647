"""Tell probabilities, logits and embeddings by the values of a model's outputs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np

from edgepress.converters.adapter import Scores
from edgepress.converters.arrays import Array
from edgepress.runtime.contract import Task
from edgepress.runtime.errors import EdgepressError, InputError

Looks = Literal["", "softmax", "unit", "length 1", "any"]
"""Rows that sum to 1; numbers from 0 to 1; vectors of length 1; any others; "" if unknown."""
PROBES = 8
"""Random items that show what the outputs of a model look like."""
SIGMOIDS = ("sigmoid", "logistic")
"""Operations whose outputs are independent probabilities, in lower case."""
ROUNDING = 1e-2
"""Difference from a sum of 1 that float16 may cause."""
LEAST_EMBEDDED = 8
"""Numbers from which on vectors of length 1 are embeddings."""


def looks(scores: Scores) -> Looks:
    """What outputs, shape (N, C), look like, ignoring items whose outputs are not finite."""
    scores = scores[np.isfinite(scores).all(axis=1)]
    if not len(scores):
        return ""
    if np.min(scores) < -ROUNDING or np.max(scores) > 1 + ROUNDING:
        return "any"
    return "softmax" if scores.shape[1] > 1 and np.max(np.abs(scores.sum(axis=1) - 1)) < ROUNDING else "unit"


def looks_of(answer: Callable[[Array], Scores], shape: tuple[int, ...], largest: float | None = None) -> Looks:
    """What the outputs for random numbers look like, half of them as large as pixels; "" if the model refuses them.

    Args:
        answer: Runs the model on items (N, *shape).
        shape: Shape of one item.
        largest: Largest number that the model accepts; None if there is no limit.
    """
    rng = np.random.default_rng(0)
    count = (PROBES // 2, *shape)
    top = 255 if largest is None else largest
    small = np.minimum(np.abs(rng.normal(size=count)), top)
    items = np.concatenate([small, rng.uniform(0, top, count)]).astype(np.float32)
    try:
        scores = answer(items)
        return "length 1" if _are_embeddings(scores) else looks(scores)
    except EdgepressError:  # such as a model of words, where 255 is out of range; its own data will show
        return ""


def _are_embeddings(scores: Scores) -> bool:
    """Whether all rows have length 1, and not because softmax or sigmoids are saturated."""
    rows = scores[np.isfinite(scores).all(axis=1)]
    if not len(rows) or rows.shape[1] < LEAST_EMBEDDED:
        return False
    alike = np.abs(np.linalg.norm(rows, axis=1) - 1) < ROUNDING
    return bool(alike.all() and (np.min(rows) < -ROUNDING or (np.max(rows, axis=1) < 1 - 10 * ROUNDING).all()))


def refuse_other_outputs(scores: Scores, task: Task, *, softmax: bool, images: bool = True, ends_in: str = "") -> None:
    """Refuse a contract that the model's outputs contradict, because the files would then report wrong probabilities.

    Args:
        scores: Outputs of the source model, shape (N, C), finite.
        task: What the contract says that they are.
        softmax: Whether softmax or a sigmoid is added to the model.
        images: Whether it takes images, whose pixels are scaled.
        ends_in: Its last operation. The task of sigmoids may be softmax: then the largest is the answer.

    Raises:
        InputError: The outputs are something else.
    """
    if task == "none":
        return
    seen = looks(scores)
    low = float(np.min(scores))
    high = float(np.max(scores))
    sigmoids = ends_in.lower() in SIGMOIDS
    if seen == "any" and not (softmax or task == "logits"):
        further = "--softmax adds a sigmoid" if task == "sigmoid" else "--task logits"
        further += "; of labels that do not exclude each other: --softmax" if task == "multilabel" else ""
        raise InputError(
            f"The task is {task}, but the outputs range from {low:.3g} to {high:.3g}, so they are not probabilities.",
            f"If they are logits: {further}.{' Also check --input-range.' if images else ''}",
        )
    if seen == "unit" and task == "softmax" and not sigmoids:
        sums = scores.sum(axis=1)
        raise InputError(
            f"The task is softmax, but the outputs sum to {np.min(sums):.3g} to {np.max(sums):.3g}.",
            "If they are independent probabilities: --task multilabel.",
        )
    if softmax and (sigmoids or seen == "softmax" or (seen == "unit" and task in ("sigmoid", "multilabel"))):
        raise InputError("The outputs are already probabilities, from 0 to 1.", "Leave --softmax out.")
    if task == "logits" and (sigmoids or seen == "softmax"):
        kind = "of a sigmoid" if sigmoids else "that sum to 1"
        raise InputError(
            f"The task is logits, but the outputs are already probabilities {kind}.",
            f"Give --task {'multilabel' if sigmoids else 'softmax'}.",
        )
