"""The body of a classifier that others trained: where its features are, what it takes, and what has no such place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("tensorflow")

from base_nets import KINDS, classifier, saved

from edgepress.converters.contract.hints import Hints
from edgepress.converters.graph.features import with_classifier
from edgepress.converters.graph.program import Program, litert_answers
from edgepress.toolkit.errors import EdgepressError, InputError
from edgepress.toolkit.training.nets.base_net import BaseNet, open_base

UNIT = Hints(input_range="-1,1")
PIXELS = np.random.default_rng(5).integers(0, 256, (7, 16, 16, 3), dtype=np.uint8)
PIXELS[0] = 0
PIXELS[1] = 255


def expected_features(features: Any, pixels: Any = PIXELS) -> Any:
    items = pixels.astype(np.float32) / 127.5 - 1
    return np.concatenate([np.asarray(features(item[np.newaxis])).reshape(1, -1) for item in items])


def features_of(base: BaseNet, pixels: Any = PIXELS) -> Any:
    return Program(base.graph).answers(pixels)


@pytest.mark.parametrize("kind", KINDS)
def test_features_are_what_the_last_layer_of_the_file_reads(kind: str, tmp_path: Path) -> None:
    number = KINDS.index(kind)
    model, features = classifier(number, classes=5, end=("dense", "places", "map")[number % 3])
    notes: list[str] = []
    base = open_base(saved(model, kind, tmp_path), hints=None if kind == "int8" else UNIT, on_note=notes.append)
    truth = expected_features(features)
    assert np.abs(features_of(base) - truth).max() < (0.1 if kind == "int8" else 1e-4) * np.abs(truth).max()
    assert base.input.shape == (16, 16, 3)
    assert base.input.dtype == "uint8"
    assert [note for note in notes if note.startswith("features: ")]
    assert not [note for note in notes if note.startswith("outputs: ")]


def test_another_preparation_of_pixels_gives_other_features(tmp_path: Path) -> None:
    model, features = classifier(3, classes=4)
    path = saved(model, "tflite", tmp_path)
    truth = expected_features(features)
    for hints in (Hints(input_range="0,1"), Hints(mean="127", std="127.5"), Hints(input_range="-1,1", color="bgr")):
        assert np.abs(features_of(open_base(path, hints=hints)) - truth).max() > 1e-3 * np.abs(truth).max()


def test_a_file_of_edgepress_keeps_its_own_preparation(run: Any, digits: Any) -> None:
    """Float, dynamic and int8 files of one run have the features of its Keras model."""
    items = digits.test.read(slice(0, 16))
    truth = features_of(open_base(run.model), items)
    for scheme, error in (("tflite-float32", 1e-5), ("tflite-dynamic", 0.1), ("tflite-int8", 0.1)):
        base = open_base(run.variants[scheme])
        assert base.input == digits.input
        assert np.abs(features_of(base, items) - truth).max() < error * np.abs(truth).max()


def test_a_new_classifier_answers_in_the_file_as_in_numpy(tmp_path: Path) -> None:
    model, _ = classifier(4, classes=3)
    base = open_base(saved(model, "keras", tmp_path), hints=UNIT)
    features = features_of(base)
    random = np.random.default_rng(6)
    kernel = random.normal(size=(features.shape[1], 6)).astype(np.float32)
    bias = random.normal(size=6).astype(np.float32)
    logits = features @ kernel + bias
    truth = np.exp(logits - logits.max(axis=1, keepdims=True))
    file = with_classifier(base.graph, kernel, bias)
    answers = litert_answers(file, PIXELS.astype(np.float32)).reshape(len(PIXELS), -1)
    assert answers == pytest.approx(truth / truth.sum(axis=1, keepdims=True), abs=1e-5)


def refusal_of(model: Any, folder: Path, **options: Any) -> EdgepressError:
    with pytest.raises(EdgepressError) as caught:
        open_base(saved(model, "keras", folder), hints=UNIT, **options)
    return caught.value


def branches() -> Any:
    import keras

    keras.utils.set_random_seed(0)
    source = keras.Input((16, 16, 3))
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(7, 3, activation="relu", name="shared")(source))
    both = [keras.layers.Dense(4, name=name)(x) for name in ("left", "right")]
    return keras.Model(source, keras.layers.Softmax()(keras.layers.Add()(both)))


def test_two_classifiers_whose_answers_are_added_are_refused_with_candidates(tmp_path: Path) -> None:
    error = refusal_of(branches(), tmp_path)
    assert "2 layers" in error.message
    assert "[1, 7]" in error.message  # the mean, which would do
    assert "--features" in error.hint


def test_the_user_names_the_tensor_of_the_features(tmp_path: Path) -> None:
    model = branches()
    message = refusal_of(model, tmp_path).message
    name = next(part.split()[0] for part in message.split(": ", 2)[2].split(", ") if part.startswith("global_average"))
    base = open_base(tmp_path / "net.keras", hints=UNIT, features=name)
    assert features_of(base).shape == (len(PIXELS), 7)
    error = refusal_of(model, tmp_path, features="nowhere")
    assert "'nowhere'" in error.message
    assert name in error.message


def test_a_net_of_one_layer_has_no_features(tmp_path: Path) -> None:
    import keras

    source = keras.Input((16, 16, 3))
    net = keras.Model(source, keras.layers.Dense(4, activation="softmax")(keras.layers.Flatten()(source)))
    assert "No layer is before FULLY_CONNECTED" in refusal_of(net, tmp_path).message


def test_a_net_without_a_classifier_gives_the_mean_of_its_map(tmp_path: Path) -> None:
    import keras

    _, features = classifier(8, classes=4, end="map")
    body = keras.Model(features.inputs, features.layers[-2].output)
    base = open_base(saved(body, "keras", tmp_path), hints=UNIT)
    assert features_of(base) == pytest.approx(expected_features(features), abs=1e-4)


def test_hints_that_contradict_the_file_are_refused(tmp_path: Path) -> None:
    model, _ = classifier(2, classes=4)
    with pytest.raises(InputError, match="grey"):
        open_base(saved(model, "keras", tmp_path), hints=Hints(color="grey"))


def test_a_classifier_of_very_many_features_is_refused(tmp_path: Path) -> None:
    import keras

    source = keras.Input((16, 16, 3))
    x = keras.layers.UpSampling2D(8)(keras.layers.Conv2D(8, 3, padding="same")(source))
    net = keras.Model(source, keras.layers.Dense(2)(keras.layers.Flatten()(x)))
    error = refusal_of(net, tmp_path)
    assert f"{128 * 128 * 8} features" in error.message
    assert "--features" in error.hint
