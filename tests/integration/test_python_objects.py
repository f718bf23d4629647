"""Arrays, opened data sets and Keras models in the place of names and paths."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgepress.toolkit import convert, evaluate, open_data, train
from edgepress.toolkit.data.objects import model_path, opened_or_named, source_of
from edgepress.toolkit.errors import DataError

RNG = np.random.default_rng(7)
X = RNG.integers(0, 256, (60, 8, 8), np.uint8)
Y = RNG.permutation(np.arange(60) % 3)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EDGEPRESS_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "cache" / "arrays"


def test_names_and_paths_stay_what_they_are() -> None:
    assert source_of("digits") == "digits"
    assert source_of(Path("a") / "b") == str(Path("a") / "b")
    assert source_of(None) is None
    assert opened_or_named(None) is None


def test_equal_arrays_are_one_file_and_others_another(own_cache: Path) -> None:
    first = source_of((X, Y))
    assert source_of((X.copy(), list(Y))) == first
    assert len([*own_cache.iterdir()]) == 1
    changed = X.copy()
    changed[RNG.integers(60), RNG.integers(8), RNG.integers(8)] ^= 1
    others = [
        (changed, Y),
        (X, (Y + 1) % 3),
        (X.astype(np.float32), Y),
        (X[..., None], Y),
        {"x": X, "y": Y, "labels": ["a", "b", "c"]},
    ]
    assert len({first, *map(source_of, others)}) == 1 + len(others)


def test_pairs_of_items_and_labels_are_the_data() -> None:
    data = open_data(source_of((X, Y)))
    assert len(data.train) + len(data.val) + len(data.test) == 60
    pairs = (X[:40], Y[:40]), (X[40:50], Y[40:50]), (X[50:], Y[50:])
    for count, splits in ((2, ("train", "test")), (3, ("train", "val", "test"))):
        opened = open_data(source_of(tuple(pairs[:1] + pairs[-count + 1 :])))
        for name, (x, y) in zip(splits, pairs[:1] + pairs[-count + 1 :], strict=True):
            split = getattr(opened, name)
            order = np.lexsort(x.reshape(len(x), -1).T)
            if name != "train" or count == 3:  # otherwise some training items validate
                read = split.read(slice(None))[..., 0]
                again = np.lexsort(read.reshape(len(read), -1).T)
                assert np.array_equal(read[again], x[order])
                assert np.array_equal(split.y[again], y[order])
    assert open_data(source_of({"x": X, "y": Y, "labels": ["a", "b", "c"]})).labels == ("a", "b", "c")


def test_an_opened_data_set_keeps_its_splits_and_labels() -> None:
    opened = open_data("digits", size=12)
    again = open_data(source_of(opened))
    assert opened_or_named(opened) is opened
    assert again.labels == opened.labels
    for name in ("train", "val", "test"):
        assert {x.tobytes() for x in getattr(again, name).read(slice(None))} == {
            x.tobytes() for x in getattr(opened, name).read(slice(None))
        }


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ((X,), "a tuple of 1"),
        ((X, Y, Y), "a tuple of 3"),
        ((X, object()), "y holds object objects"),
        ({"x": X, "y": [[1], [1, 2]]}, "y can't be read as an array"),
    ],
)
def test_what_are_no_arrays_is_refused_and_nothing_is_kept(own_cache: Path, data: Any, says: str) -> None:
    with pytest.raises(DataError, match=says) as caught:
        source_of(data)
    assert "((x_train, y_train), (x_test, y_test))" in caught.value.hint
    assert not own_cache.exists()


def test_a_keras_model_and_arrays_go_through_training_conversion_and_evaluation() -> None:
    import keras

    bright = np.clip(X // 4 + (60 * Y)[:, None, None], 0, 255).astype(np.uint8)
    keras.utils.set_random_seed(0)
    layers = [keras.Input((8, 8, 1)), keras.layers.Rescaling(1 / 255), keras.layers.Flatten()]
    model = keras.Sequential([*layers, keras.layers.Dense(3, activation="softmax")], name="mine")
    model.compile(keras.optimizers.Adam(0.05), "sparse_categorical_crossentropy")
    model.fit(bright[..., None], Y, epochs=60, verbose=0)
    (file,) = convert(model, "tflite-int8", data=(bright, Y))
    assert file.path is not None, file.error
    assert file.path.parent == model_path(model).parent / "variants"
    assert model_path(model) == model_path(keras.models.load_model(model_path(model)))
    assert str(file.path) in repr(file)
    assert evaluate(file.path, data=(bright, Y))["accuracy"] > 0.9
    model.layers[-1].set_weights([2 * value for value in model.layers[-1].get_weights()])
    assert model_path(model) != file.path.parent.parent / "model.keras"
    named = keras.Sequential(model.layers, name="..\\é up; away")
    assert re.fullmatch(r"-up-away-[0-9a-f]{16}", model_path(named).parent.name)
    run = train((bright, Y), "dense", epochs=1, progress=False)
    assert run.metrics["data"]["source"] == source_of((bright, Y))
