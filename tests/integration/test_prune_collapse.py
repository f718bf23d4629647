"""`prune` of nets that bear small learning rates only, and results that know nothing any more."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from edgepress.converters.errors import CollapseError
from edgepress.toolkit import prune
from edgepress.toolkit.training.graphs import prune as pruning

pytestmark = pytest.mark.slow
CLASSES = 6
INPUTS = 48
WIDTH = 384
LAYERS = 16


@pytest.fixture(scope="module")
def deep(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A net of many layers, whose answers a few steps of 1 % of its largest weights destroy, and its data."""
    import keras

    folder = tmp_path_factory.mktemp("deep")
    random = np.random.default_rng(0)
    y = np.arange(1200) % CLASSES
    centres = random.normal(size=(CLASSES, INPUTS))
    x = (centres[y] + 2 * random.normal(size=(len(y), INPUTS))).astype(np.float32)
    np.savez(
        folder / "items.npz",
        x_train=x[:800],
        y_train=y[:800],
        x_val=x[800:1000],
        y_val=y[800:1000],
        x_test=x[1000:],
        y_test=y[1000:],
    )
    keras.utils.set_random_seed(0)
    layers = [keras.layers.Dense(WIDTH, activation="relu") for _ in range(LAYERS)]
    net = keras.Sequential([keras.Input((INPUTS,)), *layers, keras.layers.Dense(CLASSES, activation="softmax")])
    net.compile(keras.optimizers.Adam(1e-4), "sparse_categorical_crossentropy")
    net.fit(x[:800], y[:800], epochs=5, verbose=0)
    net.save(folder / "deep.keras")
    return folder / "deep.keras", folder / "items.npz"


def test_a_net_that_bears_a_small_rate_only_keeps_its_accuracy(deep, tmp_path):
    model, data = deep
    result = prune(model, str(data), macs=0.7, steps=48, augmentation="none", out=tmp_path)
    before, after = result.facts["before"]["accuracy"], result.facts["after"]["accuracy"]
    assert before > 0.8
    assert after > before - 0.03
    assert result.facts["learning_rate"] < 5e-3
    assert json.loads((tmp_path / pruning.REPORT).read_text())["learning_rate"] == result.facts["learning_rate"]


def test_a_result_that_has_collapsed_is_an_error_and_no_file(deep, tmp_path):
    model, data = deep
    with pytest.raises(
        CollapseError, match=r"right on .*% of the validation items, where the model is on [89].*No file"
    ) as e:
        prune(model, str(data), macs=5e-5, steps=24, augmentation="none", out=tmp_path)
    assert "Keep more of the model" in e.value.hint
    assert [path.name for path in tmp_path.iterdir() if path.name[0] != "."] == []
