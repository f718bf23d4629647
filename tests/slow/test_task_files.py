"""Converted files of each task answer what their parent does."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from foreign_models import converted

from edgepress.runtime import Contract, InputSpec, load

SPEC = InputSpec(shape=(4,), dtype="float32")


@pytest.mark.parametrize(
    ("task", "units", "activation"),
    [
        ("multilabel", 3, "sigmoid"),
        ("logits", 3, None),
        ("sigmoid", 1, "sigmoid"),
    ],
)
def test_converted_files_answer_what_their_parent_does(task: Any, units: int, activation: Any, tmp_path: Path) -> None:
    import keras

    keras.utils.set_random_seed(0)
    parent = keras.Sequential([keras.Input((4,)), keras.layers.Dense(units, activation, kernel_initializer="normal")])
    parent.layers[-1].set_weights([np.random.default_rng(1).normal(size=(4, units)), np.zeros(units)])
    parent.save(tmp_path / "model.keras")
    labels = ("n", "y") if task == "sigmoid" else ("a", "b", "c")
    contract = Contract(task=task, labels=labels, input=SPEC, scheme="keras")
    items = np.random.default_rng(0).normal(size=(64, 4)).astype(np.float32)
    made = converted(
        tmp_path / "model.keras",
        ["tflite-float32", "tflite-int8", "onnx-float32"],
        contract=contract,
        calibration=partial(list, [items]),
        out=tmp_path / "out",
    )
    raw = parent.predict(items, verbose=0)
    powers = np.exp(raw - raw.max(axis=1, keepdims=True))
    expected = {"logits": powers / powers.sum(axis=1, keepdims=True), "multilabel": raw}.get(
        task, np.hstack([1 - raw, raw])
    )
    for variant in made:
        assert variant.path is not None, variant.error
        step = 0.03 if "int8" in variant.scheme else 1e-5
        np.testing.assert_allclose(load(variant.path).scores(items), expected, atol=step, err_msg=variant.scheme)
