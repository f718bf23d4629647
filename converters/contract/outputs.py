"""What a model's outputs are - probabilities or what comes before them - seen in its own answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from edgepress.converters.adapter import Scores
from edgepress.converters.errors import ConversionError
from edgepress.runtime.contract import Task
from edgepress.runtime.errors import InputError

Looks = Literal["", "softmax", "unit", "any"]
"""Rows that sum to 1; numbers from 0 to 1; others. "" is not known."""
PROBES = 8
SIGMOIDS = ("sigmoid", "logistic")
"""Operations that end in probabilities each by itself, in lower case."""
ROUNDING = 1e-2
"""What float16 may leave of a sum of 1."""


def looks(scores: Scores) -> Looks:
    """What answers, shape (N, C), look like, those left out that are not finite."""
    scores = scores[np.isfinite(scores).all(axis=1)]
    if not len(scores):
        return ""
    if np.min(scores) < -ROUNDING or np.max(scores) > 1 + ROUNDING:
        return "any"
    return "softmax" if scores.shape[1] > 1 and np.max(np.abs(scores.sum(axis=1) - 1)) < ROUNDING else "unit"


def looks_of(answer: Callable[[npt.NDArray[Any]], Scores], shape: tuple[int, ...]) -> Looks:
    """What the outputs for random numbers look like, half of them as large as pixels; "" if the model refuses them.

    Args:
        answer: Runs the model on items (N, *shape).
        shape: Shape of one item.
    """
    rng, count = np.random.default_rng(0), (PROBES // 2, *shape)
    items = np.concatenate([np.abs(rng.normal(size=count)), rng.uniform(0, 255, count)]).astype(np.float32)
    try:
        return looks(answer(items))
    except ConversionError:  # such as a model of words, for which 255 is none; its own data will show
        return ""


def refuse_other_outputs(scores: Scores, task: Task, *, softmax: bool, ends_in: str = "") -> None:
    """Refuse a contract that a model's answers contradict: its files would give nonsense for probabilities.

    Args:
        scores: The model's own answers, shape (N, C), finite.
        task: What its outputs are said to be.
        softmax: Whether softmax, or a sigmoid, is to be put behind it.
        ends_in: Its last operation. Sigmoids may be said to be softmax: then the largest is the one label.

    Raises:
        InputError: They are something else.
    """
    found, low, high = looks(scores), float(np.min(scores)), float(np.max(scores))
    sigmoids = ends_in.lower() in SIGMOIDS
    if found == "any" and not (softmax or task == "logits"):
        further = "--softmax puts a sigmoid behind one output" if task == "sigmoid" else "--task logits"
        raise InputError(
            f"The outputs are taken for {task}, but they go from {low:.3g} to {high:.3g}: they are no probabilities.",
            f"If they are logits: {further}. Check --input-range, too.",
        )
    if found == "unit" and task == "softmax" and not sigmoids:
        sums = scores.sum(axis=1)
        raise InputError(
            f"The outputs are taken for softmax, but they sum to {np.min(sums):.3g} to {np.max(sums):.3g}.",
            "If each is a probability by itself: --task multilabel.",
        )
    if softmax and (sigmoids or found == "softmax" or (found == "unit" and task == "sigmoid")):
        raise InputError("The outputs are probabilities already, from 0 to 1.", "Leave --softmax out.")
    if task == "logits" and (sigmoids or found == "softmax"):
        what = "of a sigmoid" if sigmoids else "that sum to 1"
        raise InputError(
            f"The outputs are taken for logits, but they are probabilities {what} already.",
            f"Say --task {'multilabel' if sigmoids else 'softmax'}.",
        )
