import json
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from edgepress.toolkit.stats.metrics import calibration_error, classification_metrics

LABELS = ("cat", "dog", "owl")


def test_a_worked_example():
    m = classification_metrics([0, 0, 0, 1, 1, 2], [0, 0, 1, 1, 2, 2], labels=LABELS)
    assert m["confusion_matrix"] == [[2, 1, 0], [0, 1, 1], [0, 0, 1]]
    assert m["count"] == 6
    assert m["accuracy"] == pytest.approx(4 / 6)
    assert m["macro_precision"] == pytest.approx((1 + 0.5 + 0.5) / 3)
    assert m["macro_recall"] == pytest.approx((2 / 3 + 0.5 + 1) / 3)
    assert m["macro_f1"] == pytest.approx((0.8 + 0.5 + 2 / 3) / 3)
    assert [row["label"] for row in m["per_class"]] == list(LABELS)
    assert [row["support"] for row in m["per_class"]] == [3, 2, 1]
    assert m["per_class"][0]["recall"] == pytest.approx(2 / 3)


def test_scores_are_reduced_to_their_highest():
    scores = np.array([[0.2, 0.7, 0.1], [0.5, 0.4, 0.1]], np.float32)
    assert classification_metrics([1, 0], scores, labels=LABELS)["accuracy"] == 1.0


def test_a_class_that_is_absent_and_never_predicted_is_not_averaged():
    """An evaluation of data that lack a class had a macro average of two thirds with all answers right."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        m = classification_metrics([0, 0], [0, 0], labels=LABELS)
    assert m["accuracy"] == 1.0
    assert m["macro_f1"] == 1.0
    assert classification_metrics([0, 0], [0, 1], labels=LABELS)["macro_f1"] == pytest.approx(1 / 3)
    assert m["per_class"][2] == {"label": "owl", "precision": 0.0, "recall": 0.0, "f1": 0.0, "support": 0}


@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=1, max_size=40))
def test_the_figures_agree_with_the_confusion_matrix_and_fit_in_json(pairs):
    true, guess = np.array(pairs).T
    m = classification_metrics(true, guess, labels=LABELS)
    assert m["macro_f1"] == pytest.approx(f1_score(true, guess, average="macro", zero_division=0))
    matrix = np.array(m["confusion_matrix"])
    assert matrix.sum() == m["count"] == len(pairs)
    assert m["accuracy"] == pytest.approx(np.trace(matrix) / len(pairs))
    assert [row["support"] for row in m["per_class"]] == matrix.sum(axis=1).tolist()
    assert json.loads(json.dumps(m)) == m


def test_calibration_error_of_a_worked_example():
    # Two bins: scores 0.95 (two of four right) and 0.55 (one of one right): (4 * 0.45 + 1 * 0.45) / 5.
    score, right = [0.95, 0.95, 0.95, 0.95, 0.55], [True, True, False, False, True]
    assert calibration_error(score, right) == pytest.approx(0.45)
    assert calibration_error([1.0, 1.0, 0.0], [True, True, False]) == 0.0
    assert calibration_error(np.full(4, 1 + 1e-6, np.float32), np.ones(4, bool)) < 1e-5


@given(st.lists(st.tuples(st.integers(0, 255), st.booleans()), min_size=1, max_size=60))
def test_calibration_error_is_the_mean_over_bins(pairs):
    score, right = np.array([s for s, _ in pairs]) / 255, np.array([r for _, r in pairs])
    expected = 0.0
    for k in range(15):
        inside = (score > k / 15) & (score <= (k + 1) / 15) if k else score <= 1 / 15
        if inside.any():
            expected += inside.mean() * abs(right[inside].mean() - score[inside].mean())
    assert calibration_error(score, right) == pytest.approx(expected)
