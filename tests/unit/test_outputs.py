"""What a model's answers look like, and tasks that contradict them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edgepress.converters.contract.outputs import looks, refuse_other_outputs
from edgepress.runtime import InputError


@pytest.mark.parametrize(
    ("rows", "seen"),
    [
        ([[0.2, 0.8], [1, 0]], "softmax"),
        ([[0.2, 0.7], [1, 1]], "unit"),
        ([[2, -1], [0.5, 0.5]], "any"),
        ([[0.3], [1]], "unit"),
        ([[np.nan, 1], [0.5, 0.5]], "softmax"),
        ([[np.nan, 1]], ""),
    ],
)
def test_what_answers_look_like(rows: list[list[float]], seen: str) -> None:
    assert looks(np.array(rows, np.float32)) == seen


@pytest.mark.parametrize(
    ("row", "task", "softmax", "refused"),
    [
        ([0.9], "sigmoid", True, "Leave --softmax out"),
        ([3, -1], "softmax", False, "--task logits"),
        ([0.9, 0.9], "softmax", False, "--task multilabel"),
        ([0.9, 0.1], "logits", False, "--task softmax"),
        ([0.9, 0.1], "logits", True, "Leave --softmax out"),
        ([-7], "sigmoid", False, "--softmax"),
        ([3, -1], "multilabel", False, "--task logits"),
        ([0.9, 0.1], "softmax", False, ""),
        ([0.9, 0.9], "multilabel", False, ""),
        ([3, -1], "logits", True, ""),
        ([-7], "sigmoid", True, ""),
    ],
)
def test_outputs_that_contradict_their_contract(row: list[float], task: Any, softmax: bool, refused: str) -> None:
    scores = np.array([row], np.float32)
    if not refused:
        refuse_other_outputs(scores, task, softmax=softmax)
        return
    with pytest.raises(InputError) as error:
        refuse_other_outputs(scores, task, softmax=softmax)
    assert refused in str(error.value)


def test_sigmoids_may_be_said_to_have_one_label_and_nothing_more() -> None:
    scores = np.array([[0.9, 0.2, 0.1]], np.float32)
    refuse_other_outputs(scores, "softmax", softmax=False, ends_in="Sigmoid")
    with pytest.raises(InputError, match="--task multilabel"):
        refuse_other_outputs(scores, "logits", softmax=False, ends_in="LOGISTIC")
    with pytest.raises(InputError, match="Leave --softmax out"):
        refuse_other_outputs(scores, "logits", softmax=True, ends_in="Sigmoid")
