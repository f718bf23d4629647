"""What a calibrated file accepts of the test items: how much, and how much of that is wrong.

The threshold is the file's own. It was measured on the test split of some data with one engine, so these figures show
what the file does here, and `edgepress.runtime.acceptance` what is promised.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from edgepress.runtime.contract import Contract
from edgepress.runtime.decisions import same_answers
from edgepress.toolkit.benchmarking.collect import Answers
from edgepress.toolkit.stats.acceptance import risk_coverage
from edgepress.toolkit.stats.samples import share_interval
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
