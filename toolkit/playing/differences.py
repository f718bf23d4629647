"""The test items on which the files differ from the reference, most differing first, and some on which none differs.

The answers are those of `benchmark`: kept ones are used again, so that after a benchmark of the same files they are
here at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from edgepress.runtime.board import usable_cores
from edgepress.runtime.decisions import same_answers
from edgepress.toolkit.benchmarking.collect import Answers, collect_answers
from edgepress.toolkit.data.types import DataSet
from edgepress.toolkit.errors import EdgepressError
from edgepress.toolkit.playing.choice import Choice
from edgepress.toolkit.truth import label_text

MAX_LISTED = 240
"""Most test items on which files differ that the page lists."""
MAX_AGREED = 24
"""Most test items on which no file differs that it offers, evenly spread over the split."""
CAP_S = 600.0
"""Seconds that one file may take to answer all test images before it is left out."""


@dataclass(frozen=True)
class Differences:
    """What the page shows of the test images.

    Attributes:
        state: "running" until all have answered; "none" if there is nothing to compare.
        text: What was found, or why there is nothing.
        share: Share of the answers that are there, 0-1.
        items: For each listed item, its row in the test split, name, label, what the reference answers, and what the
            differing files answer, by their number; nothing for the last ones, on which none differs.
        counts: Number of test images on which each file differs, by its number.
        notes: Files that are not compared, and why; what is to be known of the data.
        data: The data set; None while there is none.
    """

    state: Literal["running", "done", "none"]
    text: str
    share: float = 0.0
    items: tuple[dict[str, Any], ...] = ()
    counts: tuple[tuple[int, int], ...] = ()
    notes: tuple[str, ...] = ()
    data: DataSet | None = None

    def to_dict(self) -> dict[str, Any]:
        """As the page gets it."""
        return {
            "state": self.state,
            "text": self.text,
            "share": self.share,
            "items": list(self.items),
            "counts": dict(self.counts),
            "notes": list(self.notes),
        }

    def item(self, row: int) -> npt.NDArray[Any] | None:
        """A listed test image, as the files take it; None for any other row."""
        if self.data is None or row not in {item["row"] for item in self.items}:
            return None
        values: npt.NDArray[Any] = self.data.test.read([row])[0]
        return values


def find_differences(
    choice: Choice, data: DataSet, *, cache: Path | None = None, notes: tuple[str, ...] = (), on_progress: Any = None
) -> Differences:
    """Let all files answer the test images and list those on which they differ.

    Args:
        choice: The files.
        data: The data set, opened as the reference takes it.
        cache: As for `collect_answers`.
        notes: What is to be known of the data.
        on_progress: As for `collect_answers`.

    Raises:
        EdgepressError: An image can't be read.
    """
    jobs = max(1, usable_cores() - 1)  # one is left for who plays
    candidates = [shown.candidate for shown in choice.shown]
    collected = collect_answers(candidates, data, jobs=jobs, cap_s=CAP_S, cache=cache, on_progress=on_progress)
    reference, *others = collected
    failures = [
        f"{shown.name} is not compared on test images: {answers}"
        for shown, answers in zip(choice.shown, collected, strict=True)
        if isinstance(answers, EdgepressError)
    ]
    if isinstance(reference, EdgepressError):
        return Differences("none", f"No test images are compared, as the reference failed: {reference}", notes=notes)
    predicted = {n: other.predicted for n, other in enumerate(others, 1) if isinstance(other, Answers)}
    differs = {n: ~same_answers(answers, reference.predicted) for n, answers in predicted.items()}
    count = np.sum(list(differs.values()), axis=0, dtype=np.int64) if differs else np.zeros(len(data.test), np.int64)
    differing = np.argsort(-count, kind="stable")[: np.count_nonzero(count)]
    (agreed,) = np.nonzero(count == 0)
    offered = agreed[np.linspace(0, len(agreed) - 1, min(MAX_AGREED, len(agreed))).astype(np.int64)]
    items = tuple(
        {
            "row": row,
            "name": data.test.name(row),
            "label": label_text(data.test.y[row], data.labels),
            "reference": label_text(reference.predicted[row], data.labels),
            "others": {n: label_text(predicted[n][row], data.labels) for n, other in differs.items() if other[row]},
        }
        for row in map(int, [*differing[:MAX_LISTED], *offered])
    )
    counts = tuple((n, int(different.sum())) for n, different in differs.items())
    return Differences("done", _text(choice, data, len(differing), len(predicted)), 1.0, items, counts,
                       (*notes, *failures), data)  # fmt: skip


def _text(choice: Choice, data: DataSet, differing: int, others: int) -> str:
    """What was found, in a sentence or two."""
    name = choice.reference.name
    images = "images" if data.input.is_image else "items"
    total = f"{len(data.test):,} test {images} of {data.source}"
    if not others:
        return f"There is no other file to compare with {name}."
    if not differing:
        return f"No file differs from {name} on the {total}."
    shown = f" The {MAX_LISTED} on which most files differ are listed." if differing > MAX_LISTED else ""
    return f"On {differing:,} of the {total}, at least one file answers differently from {name}.{shown}"
