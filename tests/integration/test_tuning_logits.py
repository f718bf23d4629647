"""What the last layer adds to all logits alike is taken out where it costs answers of 8 bits, and nowhere else."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from rewriting import Net

from edgepress.converters.ptq.logit_means import with_mean_free_logits
from edgepress.converters.ptq.repair import repair
from edgepress.converters.ptq.score import Scorer, answers_before_end
from edgepress.converters.to_tflite.graph import Graph
from edgepress.runtime.decisions import softmax

LABELS = 7
FEATURES = 12


def draw_items(seed: int = 0, count: int = 200) -> np.ndarray[Any, Any]:
    """Features, shape (count, 1, 1, FEATURES)."""
    return np.random.default_rng(seed).uniform(0, 1, (count, 1, 1, FEATURES)).astype(np.float32)


def classifier(
    kind: str = "dense", *, end: str = "SOFTMAX", shared: float = 8.0, seed: int = 0, activation: int = 0
) -> bytes:
    """A layer of logits to whose weights and biases something is added for all labels alike."""
    net = Net((1, 1), FEATURES, seed=seed)
    rng = np.random.default_rng(seed)
    weights = (shared + rng.normal(0, 0.5, (LABELS, FEATURES))).astype(np.float32)
    bias = (2 * shared + rng.normal(0, 0.1, LABELS)).astype(np.float32)
    if kind == "dense":
        net.add("RESHAPE", [net.now, np.array([1, FEATURES], np.int32)], (1, FEATURES))
        net.add("FULLY_CONNECTED", [net.now, weights, bias], (1, LABELS), fusedActivationFunction=activation)
    else:
        shape = (1, 1, 1, LABELS)
        net.add("CONV_2D", [net.now, weights.reshape(LABELS, 1, 1, FEATURES), bias], shape, strideH=1, strideW=1)
        net.add("RESHAPE", [net.now, np.array([1, LABELS], np.int32)], (1, LABELS))
    if end:
        net.add(end, [net.now], (1, LABELS), **({"beta": 1.0} if end == "SOFTMAX" else {}))
    return net.model()


@pytest.mark.parametrize("end", ["SOFTMAX", ""])
@pytest.mark.parametrize("kind", ["dense", "conv"])
@pytest.mark.parametrize("seed", range(3))
def test_the_mean_is_taken_out_and_probabilities_stay(kind: str, end: str, seed: int) -> None:
    items = draw_items(seed)
    model = classifier(kind, end=end, seed=seed)
    after = with_mean_free_logits(model, items)
    assert after != model
    before, mean_free = (answers_before_end(each, items) for each in (model, after))
    np.testing.assert_allclose(mean_free.mean(axis=1), 0, atol=1e-4)
    np.testing.assert_allclose(softmax(mean_free), softmax(before), atol=1e-5)
    assert np.ptp(mean_free) < np.ptp(before) / 3


def test_other_layers_stay() -> None:
    items = draw_items()
    for model in (
        classifier(end="LOGISTIC"),
        classifier(activation=1),
        classifier(shared=0.0),  # the range would hardly be narrower
    ):
        assert with_mean_free_logits(model, items) is model
    read_twice = Graph(classifier())
    logits = int(read_twice.operators[-1].inputs[0])
    gate = read_twice.operator("LOGISTIC", [logits], read_twice.add_tensor((1, LABELS), "gate"))
    read_twice.insert_before(read_twice.operators[-1], gate)
    assert with_mean_free_logits(model := read_twice.to_bytes(), items) is model


@pytest.mark.parametrize("seed", range(3))
def test_it_is_kept_where_it_brings_answers_back(seed: int) -> None:
    items = draw_items(seed)
    model = classifier(seed=seed)
    scorer = Scorer(model, draw_items(seed + 10))
    repaired = repair(model, lambda: [items], scorer, wanted=["int8"])
    stage = repaired.stages[0]
    assert stage.name == "logit-means"
    assert stage.kept
    assert stage.after.snr_db >= stage.before.snr_db + 10
    assert (stage.after.agreement or 0) >= 0.98
    assert any("mean 0" in note for note in repaired.notes)
    assert "int8" in repaired.models


def test_scores_of_labels_that_do_not_exclude_each_other_stay() -> None:
    items = draw_items(1)
    model = classifier(end="", seed=1)
    scorer = Scorer(model, draw_items(2), labelled=False)
    repaired = repair(model, lambda: [items], scorer, wanted=["int8"])
    assert "logit-means" not in [stage.name for stage in repaired.stages]
