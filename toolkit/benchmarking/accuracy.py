"""How good a file's answers are, and what may be said of its drop against the baseline's on the same items.

Every figure comes from two arrays, the class that a file gives to each test item and the score of that class, so it
means the same for softmax, logits, one sigmoid and multilabel files: see `answering.decide`. The drop is paired: both
files answered the same items, and only those count on which one is right and the other wrong. Its interval decides the
words; McNemar's exact probability stands beside it.
"""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from edgepress.toolkit.benchmarking.collect import Answers
from edgepress.toolkit.data.types import DataSet
from edgepress.toolkit.results.records import (
    DROP,
    NO_BASELINE,
    UNPROVEN,
    USABLE,
    ClassChange,
    Disagreement,
    Measurement,
)
from edgepress.toolkit.stats.intervals import Interval, class_drops, mcnemar, paired_drop
from edgepress.toolkit.stats.metrics import calibration_error, classification_metrics

MAX_CONFUSION_CLASSES = 100
MAX_DISAGREEMENTS = 24
THUMBNAIL_SIDE, THUMBNAIL_COLORS = 64, 128
"""Highest thumbnail, pixels, and the colours that it is brought to: 24 of them weigh about 100 kB."""

Ints = npt.NDArray[np.int64]


def with_accuracy(
    row: Measurement, answers: Answers, against: Answers | None, *, data: DataSet, max_drop_pp: float
) -> Measurement:
    """A measurement with all that answers tell of a file's accuracy.

    Args:
        row: Of the file; what is not about accuracy stays as it is.
        answers: The file's, to the test split of `data`.
        against: The baseline's, the same object as `answers` if the file is the baseline; None if there is none.
        data: The items, with their true classes.
        max_drop_pp: Limit of the drop, percentage points; the status is held against it.
    """
    y = data.test.y
    metrics = classification_metrics(y, answers.predicted, labels=data.labels)
    correct = answers.predicted == y
    changes = tuple(ClassChange(**figures) for figures in metrics["per_class"])
    matrix = metrics["confusion_matrix"] if len(data.labels) <= MAX_CONFUSION_CLASSES else []
    row = replace(
        row,
        accuracy=metrics["accuracy"],
        macro_precision=metrics["macro_precision"],
        macro_recall=metrics["macro_recall"],
        macro_f1=metrics["macro_f1"],
        ece=calibration_error(answers.confidence, correct),
        per_class=changes,
        confusion_matrix=tuple(map(tuple, matrix)),
        correct=base64.b64encode(np.packbits(correct).tobytes()).decode(),
        status=NO_BASELINE,
    )
    if against is None:
        return row
    if against is answers:  # no difference by definition, not by measurement
        none = Interval(0.0, 0.0, 0.0)
        drop, drops, p, verdict = none, [none if c.support else None for c in changes], 1.0, "It is the baseline."
    else:
        before = against.predicted == y
        drop, p = paired_drop(before, correct), mcnemar(before, correct)
        drops, verdict = class_drops(before, correct, y, classes=len(data.labels)), in_words(drop)
    assert drop.low is not None
    assert drop.high is not None
    return replace(
        row,
        drop_pp=drop.estimate,
        drop_low_pp=drop.low,
        drop_high_pp=drop.high,
        mcnemar_p=p,
        verdict=verdict,
        agreement=float(np.mean(answers.predicted == against.predicted)),
        per_class=tuple(_changed(c, d) for c, d in zip(changes, drops, strict=True)),
        status=USABLE if drop.high <= max_drop_pp else DROP if drop.estimate > max_drop_pp else UNPROVEN,
    )


def in_words(drop: Interval) -> str:
    """What an interval of a drop, in percentage points, allows to say."""
    assert drop.low is not None
    assert drop.high is not None
    if drop.low > 0:
        return f"Worse: the drop is {drop.estimate:.2g} pp [{drop.low:.2g}, {drop.high:.2g}]."
    if drop.high < 0:
        return f"Better: the gain is {-drop.estimate:.2g} pp [{-drop.high:.2g}, {-drop.low:.2g}]."
    return f"No difference seen; a drop over {_rounded_up(drop.high):.2g} pp can be ruled out."


def disagreements(
    rows: Sequence[Measurement], answers: Sequence[Answers], against: Answers, *, data: DataSet
) -> tuple[Disagreement, ...]:
    """Test items that the baseline and at least one other file put in different classes.

    Args:
        rows: The measurements of files that answered.
        answers: What each answered, in the same order; the baseline's own may be among them.
        against: The baseline's answers.
        data: The items.

    Returns:
        Those on which most files differ first, among equals in the order of the split; 24 at most.
    """
    by_name: dict[str, Ints] = {}
    for row, given in zip(rows, answers, strict=True):
        if given is not against:  # files that differ in threads or batch alone are named once
            by_name.setdefault(f"{row.scheme} on {row.engine}", given.predicted)
    differing = np.zeros(len(data.test), np.int64)
    for predicted in by_name.values():
        differing += predicted != against.predicted
    order = np.argsort(-differing, kind="stable")[:MAX_DISAGREEMENTS]
    found = []
    for i in (int(i) for i in order if differing[i]):
        own = int(against.predicted[i])
        others = {name: data.labels[p[i]] for name, p in by_name.items() if p[i] != own}
        label, png = data.labels[data.test.y[i]], _thumbnail(data, i)
        found.append(
            Disagreement(name=data.test.name(i), label=label, baseline=data.labels[own], others=others, png=png)
        )
    return tuple(found)


def _changed(change: ClassChange, drop: Interval | None) -> ClassChange:
    if drop is None:
        return change
    return replace(change, drop_pp=drop.estimate, drop_low_pp=drop.low, drop_high_pp=drop.high)


def _rounded_up(value: float) -> float:
    """To two digits, never down: "can be ruled out" must stay true."""
    if value <= 0:
        return 0.0
    value = max(value, 1e-9)  # no count of items tells less; the unit of a subnormal number would be 0
    unit = 10.0 ** (math.floor(math.log10(value)) - 1)
    return math.ceil(value / unit) * unit


def _thumbnail(data: DataSet, row: int) -> str:
    if not data.input.is_image:
        return ""
    from PIL import Image

    item = data.test.read(np.array([row]))[0]
    image = Image.fromarray(item[:, :, 0] if item.shape[2] == 1 else item)
    image.thumbnail((4 * THUMBNAIL_SIDE, THUMBNAIL_SIDE))  # never enlarges
    if image.mode == "RGB":
        image = image.quantize(THUMBNAIL_COLORS)
    png = io.BytesIO()
    image.save(png, "PNG", optimize=True)
    return base64.b64encode(png.getvalue()).decode()
