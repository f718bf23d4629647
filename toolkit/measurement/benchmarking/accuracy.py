"""Accuracy of a file's answers, its drop against the baseline, and what a calibrated file accepts.

Every figure comes from two arrays: the class that a file predicts for each test item, and the score of that class. So
it means the same for softmax, logits, sigmoid and multilabel files (`edgepress.runtime.decisions.decide`). Where items
have any number of labels, the whole set of labels takes the place of the class: it is right or wrong. The drop is
paired: both files answered the same items, and only the items on which one is right and the other wrong count. The
verdict follows from the drop's confidence interval; the p-value of the exact McNemar test is reported beside it.

A model without labels has no accuracy: its outputs are compared with the baseline's number by number.

What a calibrated file accepts of the test items: how much, and how much of that is wrong.

The threshold is the file's own. It was measured on the test split of some data with one engine, so these figures show
what the file does here, and `edgepress.runtime.acceptance` what is promised.
"""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from edgepress.converters.proof.compare import compare
from edgepress.runtime.contract import Contract
from edgepress.runtime.decisions import same_answers
from edgepress.toolkit.data.types import DataSet
from edgepress.toolkit.measurement.benchmarking.advice import MIN_SQNR_DB
from edgepress.toolkit.measurement.benchmarking.answers import Answers
from edgepress.toolkit.results.figures import AccuracyFigures, ClassChange, ErrorFigures, LabelFigures, pack
from edgepress.toolkit.results.records import DROP, LARGE_ERROR, NO_BASELINE, UNPROVEN, USABLE, Disagreement
from edgepress.toolkit.stats.acceptance import risk_coverage
from edgepress.toolkit.stats.choice import Evidence, probability_within
from edgepress.toolkit.stats.intervals import Interval, class_drops, mcnemar, paired_drop
from edgepress.toolkit.stats.metrics import calibration_error, metrics_of, resampled_means_of
from edgepress.toolkit.stats.resampled import pack_means
from edgepress.toolkit.stats.samples import share_interval
from edgepress.toolkit.truth import label_hits, label_text, labels_by_item
from edgepress.toolkit.workers.answer import NOT_JUDGED

Ints = npt.NDArray[np.int64]


def are_judged(answers: Answers) -> bool:
    """Whether the file says which of its answers are accepted, and answered an item."""
    return answers.accepted is not None and len(answers.accepted) > 0 and not (answers.accepted == NOT_JUDGED).any()


def accepted_fields(answers: Answers, y: Ints) -> dict[str, Any]:
    """The fields of `AcceptedFigures`; none of a file that is not calibrated.

    Args:
        answers: A file's answers to the test split.
        y: The true classes, int64, shape (N,).
    """
    if not are_judged(answers):
        return {}
    assert answers.accepted is not None
    assert answers.certainty is not None
    accepted = answers.accepted == 1
    wrong = ~same_answers(answers.predicted, y)
    count = int(accepted.sum())
    errors = int((accepted & wrong).sum())
    coverage, risk = risk_coverage(answers.certainty.astype(np.float64), wrong)
    return {
        "accepted": count,
        "accepted_wrong": errors,
        **_with_ends("accepted_share", count, len(y)),
        **_with_ends("accepted_error", errors, count),
        "coverage": tuple(coverage.tolist()),
        "risk": tuple(risk.tolist()),
    }


def _with_ends(name: str, count: int, total: int) -> dict[str, float | None]:
    """A share with its 95 % interval under names of fields; empty if there is nothing to take a share of."""
    if not total:
        return {}
    share = share_interval(count, total)
    return {name: share.estimate, f"{name}_low": share.low, f"{name}_high": share.high}


def without_promise(contract: Contract, engine: str) -> list[str]:
    """The sentence that nothing is promised with this engine, of a file that was calibrated with another one."""
    accept = contract.accept
    return [contract.limits.promise(engine)] if accept is not None and engine != accept.engine else []


def accepted_counts(answers: Answers, y: Ints, *, classes: int) -> tuple[Ints, Ints] | None:
    """How many items of each true class are accepted, and how many of these are wrong, int64, shape (classes,).

    None of a file that is not calibrated.
    """
    if not are_judged(answers):
        return None
    assert answers.accepted is not None
    accepted = answers.accepted == 1
    wrong = accepted & ~same_answers(answers.predicted, y)
    return np.bincount(y[accepted], minlength=classes), np.bincount(y[wrong], minlength=classes)


MAX_CONFUSION_CLASSES = 100
"""Number of classes up to which results keep a confusion matrix."""
MAX_DISAGREEMENTS = 24
"""Most items on which files differ that results keep with a thumbnail."""
THUMBNAIL_SIDE = 64
"""Maximum height of a thumbnail, pixels."""
THUMBNAIL_COLORS = 128
"""Number of its colours. 24 thumbnails take about 100 kB."""


def accuracy_figures(answers: Answers, baseline: Answers | None, *, data: DataSet) -> AccuracyFigures:
    """Accuracy of a file, and its drop against the baseline.

    Args:
        answers: The file's answers to the test split of `data`.
        baseline: The baseline's answers, the same object as `answers` if the file is the baseline; None if there is
            none, which leaves the drop unknown.
        data: The items, with their true classes.
    """
    y = data.test.y
    scores = answers.scores_by_label
    resampled = resampled_means_of(y, answers.predicted, scores, classes=len(data.labels))
    packed: dict[str, Any] = {f"{name}_resamples": pack_means(means) for name, means in resampled.items()}
    metrics = metrics_of(y, answers.predicted, scores, labels=data.labels, resampled=resampled)
    correct = same_answers(answers.predicted, y)
    changes = tuple(ClassChange(**figures) for figures in metrics["per_class"])
    counts = accepted_counts(answers, y, classes=len(data.labels))
    if counts is not None:
        pairs = zip(changes, *(column.tolist() for column in counts), strict=True)
        changes = tuple(replace(c, accepted=accepted, accepted_wrong=wrong) for c, accepted, wrong in pairs)
    matrix = metrics["confusion_matrix"] if len(data.labels) <= MAX_CONFUSION_CLASSES else []
    figures = AccuracyFigures(
        **{name: metrics[name] for name in ("accuracy", "macro_precision", "macro_recall", "macro_f1")},
        **vars(LabelFigures(**{field.name: metrics.get(field.name) for field in fields(LabelFigures)})),
        ece=calibration_error(answers.confidence, answers.predicted == y),
        per_class=changes,
        confusion_matrix=tuple(map(tuple, matrix)),
        correct=pack(correct),
        **packed,
        **accepted_fields(answers, y),
    )
    if baseline is None:
        return figures
    if baseline is answers:  # no difference by definition, not by measurement
        none = Interval(0.0, 0.0, 0.0)
        drop = none
        drops = [none if c.support else None for c in changes]
        p = 1.0
        verdict = "It is the baseline."
    else:
        before = same_answers(baseline.predicted, y)
        drop = paired_drop(before, correct)
        p = mcnemar(before, correct)
        hits_before, hits = (label_hits(each.predicted, y) for each in (baseline, answers))
        drops = class_drops(hits_before, hits, labels_by_item(y)[1], classes=len(data.labels))
        verdict = in_words(drop)
    return replace(
        figures,
        **_drop(drop),
        mcnemar_p=p,
        verdict=verdict,
        agreement=float(np.mean(same_answers(answers.predicted, baseline.predicted))),
        per_class=tuple(replace(c, **_drop(d)) if d else c for c, d in zip(changes, drops, strict=True)),
    )


def evidence_of(answers: Answers, baseline: Answers, data: DataSet) -> Evidence:
    """On how many test items a file and the baseline differ, and which of them is right."""
    y = data.test.y
    before = same_answers(baseline.predicted, y)
    after = same_answers(answers.predicted, y)
    others = ~same_answers(baseline.predicted, answers.predicted) & ~before & ~after
    return Evidence(len(y), int((before & ~after).sum()), int((~before & after).sum()), int(others.sum()))


def with_probability(figures: AccuracyFigures, evidence: Evidence, max_drop_pp: float) -> AccuracyFigures:
    """Figures with the probability that the drop is within the limit; that of the baseline itself is 1."""
    itself = figures.drop_low_pp == figures.drop_high_pp
    return replace(
        figures,
        probability=1.0 if itself else probability_within(evidence, max_drop_pp / 100),
        lost=evidence.lost,
        gained=evidence.gained,
        differing=evidence.lost + evidence.gained + evidence.others,
        more_differing=evidence.more_differing if evidence.more_items else None,
        expected_lost=evidence.expected_lost,
    )


def accuracy_status(figures: AccuracyFigures, max_drop_pp: float) -> str:
    """Whether a file is usable: its drop compared with the limit, percentage points."""
    if figures.drop_pp is None or figures.drop_high_pp is None:
        return NO_BASELINE
    return USABLE if figures.drop_high_pp <= max_drop_pp else DROP if figures.drop_pp > max_drop_pp else UNPROVEN


def error_figures(answers: Answers, baseline: Answers | None) -> ErrorFigures:
    """How far the outputs of a file without labels are from the baseline's; without a baseline, that is unknown."""
    if baseline is None:
        return ErrorFigures()
    assert answers.outputs is not None
    assert baseline.outputs is not None
    comparison = compare(baseline.outputs, answers.outputs, on="")
    return ErrorFigures(max_error=comparison.max_error, mean_error=comparison.mean_error, sqnr_db=comparison.sqnr_db)


def error_status(figures: ErrorFigures) -> str:
    """Whether a file without labels is usable: its SQNR compared with `MIN_SQNR_DB`."""
    if figures.max_error is None:
        return NO_BASELINE
    near = figures.max_error == 0 or (figures.sqnr_db is not None and figures.sqnr_db >= MIN_SQNR_DB)
    return USABLE if near else LARGE_ERROR


def in_words(drop: Interval) -> str:
    """What the confidence interval of a drop, in percentage points, shows."""
    assert drop.low is not None
    assert drop.high is not None
    if drop.low > 0:
        return f"Worse: the drop is {drop.estimate:.2g} pp [{drop.low:.2g}, {drop.high:.2g}]."
    if drop.high < 0:
        return f"Better: the gain is {-drop.estimate:.2g} pp [{-drop.high:.2g}, {-drop.low:.2g}]."
    return f"No difference seen; a drop over {_round_up(drop.high):.2g} pp can be ruled out."


def disagreements(answers: Mapping[str, Answers], baseline: Answers, *, data: DataSet) -> tuple[Disagreement, ...]:
    """Test items that the baseline and at least one other file classify differently.

    Args:
        answers: Answers by the name of the file and engine; the baseline's may be among them.
        baseline: The baseline's answers.
        data: The items.

    Returns:
        At most 24: those on which most files differ first, among equals in the order of the split.
    """
    others = {name: answered.predicted for name, answered in answers.items() if answered is not baseline}
    differs = {name: ~same_answers(predicted, baseline.predicted) for name, predicted in others.items()}
    differing = np.zeros(len(data.test), np.int64)
    for flags in differs.values():
        differing += flags
    order = np.argsort(-differing, kind="stable")[:MAX_DISAGREEMENTS]
    return tuple(
        Disagreement(
            name=data.test.name(i),
            label=label_text(data.test.y[i], data.labels),
            baseline=label_text(baseline.predicted[i], data.labels),
            others={name: label_text(p[i], data.labels) for name, p in others.items() if differs[name][i]},
            png=_thumbnail(data, i),
        )
        for i in map(int, order)
        if differing[i]
    )


def _drop(drop: Interval) -> dict[str, Any]:
    return {"drop_pp": drop.estimate, "drop_low_pp": drop.low, "drop_high_pp": drop.high}


def _round_up(value: float) -> float:
    """Round up to two digits, so that "can be ruled out" stays true."""
    if value <= 0:
        return 0.0
    value = max(value, 1e-9)  # finer than any number of items resolves; the unit of a subnormal number would be 0
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
