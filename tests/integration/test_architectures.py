"""The table of architectures: each fits its sizes, refuses others, and is in the documentation as it is."""

import functools
import os
from pathlib import Path

import numpy as np
import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
keras = pytest.importorskip("keras")

from edgepress.runtime.input_spec import InputSpec  # noqa: E402
from edgepress.toolkit.errors import InputError, TrainingError  # noqa: E402
from edgepress.toolkit.training.nets.architectures import ARCHITECTURES, build  # noqa: E402

DOCS = Path(__file__).parents[2] / "docs" / "architectures.md"
GREY = InputSpec.image(28, 28, "grey")
WINDOW = InputSpec(shape=(128, 9), dtype="float32")
OF_IMAGES = [name for name, row in ARCHITECTURES.items() if row.takes((64, 45, 3))]
OF_WINDOWS = [name for name, row in ARCHITECTURES.items() if row.steps]
NARROW = {"alexnet": 0.1, "vgg": 0.1, "mobilenet-v1": 0.1, "mobilenet-v2": 0.1, "mobilenet-v3-small": 0.1}


def last_map(model) -> tuple[int, ...]:
    return [layer.output.shape for layer in model.layers if len(layer.output.shape) == 4][-1][1:3]


@functools.cache
def of_digits(name: str):
    """The net of an architecture for digits or windows, with its defaults; built once for tests that only look."""
    return build(name, GREY if name in OF_IMAGES else WINDOW, classes=10)


@pytest.mark.slow
@pytest.mark.parametrize("name", OF_IMAGES)
def test_every_architecture_takes_images_that_are_no_squares(name):
    spec = InputSpec.image(64, 45, "rgb")
    model = build(name, spec, classes=7, width=NARROW.get(name))
    assert model.input_shape == (None, *spec.shape)
    assert model.inputs[0].dtype == "float32"
    x = np.random.default_rng(0).integers(0, 256, (2, *spec.shape)).astype(np.float32)
    answer = np.asarray(model(x))
    assert answer.shape == (2, 7)
    assert answer.dtype == np.float32
    assert answer.sum(axis=1) == pytest.approx([1, 1], abs=1e-5)
    assert model.layers[-1].name == "predictions"
    if name not in ("dense", "vgg"):
        assert min(last_map(model)) >= 2  # something is left to look at


@pytest.mark.slow
def test_parameter_counts_are_the_published_ones():
    assert of_digits("lenet").count_params() == 61_706
    assert build("resnet8", InputSpec.image(32, 32, "rgb"), classes=10).count_params() == 78_666
    assert build("ds-cnn", InputSpec(shape=(49, 10, 1), dtype="float32"), classes=12).count_params() == 24_908
    assert of_digits("dense").count_params() == 55_050
    vgg16 = build("vgg", InputSpec.image(32, 32, "rgb"), classes=2, depth=16, width=1)
    assert sum(v.count_params() for v in vgg16.layers if v.name.startswith("block")) == 14_714_688


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "application"),
    [("mobilenet-v1", "MobileNet"), ("mobilenet-v2", "MobileNetV2")],
)
def test_at_224_a_mobilenet_answers_as_in_keras_applications(name, application):
    model = build(name, InputSpec.image(224, 224, "rgb"), classes=10, width=0.35 if name.endswith("2") else 0.25)
    reference = getattr(keras.applications, application)(
        input_shape=(224, 224, 3),
        include_top=False,
        weights=None,
        pooling="avg",
        alpha=0.35 if name.endswith("2") else 0.25,
    )
    for layer in reference.layers:
        if layer.weights:
            layer.set_weights(model.get_layer(layer.name).get_weights())
    features = keras.Model(model.input, model.layers[-3].output)  # before dropout and the classifier
    x = np.random.default_rng(0).integers(0, 256, (2, 224, 224, 3)).astype(np.float32)
    assert np.allclose(features(x), reference(x / 127.5 - 1), atol=1e-4)


@pytest.mark.parametrize("name", OF_WINDOWS)
def test_nets_of_windows_take_the_shortest_and_look_along_the_time(name):
    steps = ARCHITECTURES[name].steps[0]
    for length in (steps, 200):
        model = build(name, InputSpec(shape=(length, 3), dtype="float32"), classes=4, mean=[0] * 3, variance=[1] * 3)
        x = np.random.default_rng(0).normal(size=(2, length, 3)).astype(np.float32)
        assert np.asarray(model(x)).sum(axis=1) == pytest.approx([1, 1], abs=1e-5)
        assert last_map(model)[0] >= 2
        kernels = [w.shape for layer in model.layers for w in layer.weights if len(w.shape) == 4]
        assert {kernel[1] for kernel in kernels} == {1}
    with pytest.raises(InputError, match=f"windows, steps x channels, of {steps} to 4096 steps"):
        build(name, InputSpec(shape=(steps - 1, 3), dtype="float32"), classes=4)


def test_the_last_step_of_a_window_reaches_the_middle_in_a_tcn():
    model = build("tcn", InputSpec(shape=(70, 2), dtype="float32"), classes=2, mean=[0] * 2, variance=[1] * 2)
    maps = keras.Model(model.input, [layer for layer in model.layers if layer.name.startswith("add")][-1].output)
    x = np.random.default_rng(0).normal(size=(1, 70, 2)).astype(np.float32)
    changed = x.copy()
    changed[0, -1] += 100
    assert np.abs(np.asarray(maps(changed)) - np.asarray(maps(x)))[0, 35].max() > 0


def test_small_images_are_divided_by_less_than_32():
    for side, left in ((28, 4), (96, 3)):
        assert last_map(build("mobilenet-v1", InputSpec.image(side, side, "grey"), classes=2)) == (left, left)


def test_the_seed_decides_the_initial_weights():
    a, b, c = (build("lenet", GREY, classes=3, seed=seed).get_weights() for seed in (1, 1, 2))
    assert all(np.array_equal(v, w) for v, w in zip(a, b, strict=True))
    assert not all(np.array_equal(v, w) for v, w in zip(a, c, strict=True))


def test_a_tensor_is_normalized_by_its_moments():
    model = build("dense", InputSpec(shape=(3,), dtype="float32"), classes=2, mean=[1, 2, 3], variance=[4, 9, 16])
    normalized = keras.Model(model.input, model.get_layer("normalization").output)
    assert np.allclose(normalized(np.array([[3.0, 5.0, 7.0]], np.float32)), 1, atol=1e-3)


@pytest.mark.parametrize("name", [row.name for row in ARCHITECTURES.values() if row.sides])
@pytest.mark.parametrize("over", [False, True])
def test_a_size_outside_names_the_range(name, over):
    low, high = ARCHITECTURES[name].sides
    spec = InputSpec.image(high + 1 if over else low - 1, 64, "grey")
    with pytest.raises(InputError, match=f"from {low}x{low} to {high}x{high}"):
        build(name, spec, classes=10)


@pytest.mark.parametrize(
    ("shape", "says"),
    [
        ((32, 32), r"x\[\.\.\., np\.newaxis\]"),
        ((3, 32, 32), r"x\.transpose\(0, 2, 3, 1\)"),
        ((9,), "Choose such a shape"),
    ],
)
def test_tensors_of_another_shape_are_told_how_to_get_it(shape, says):
    with pytest.raises(InputError, match=f"{says}.*, or choose an --arch that takes this one: dense"):
        build("lenet", InputSpec(shape=shape, dtype="float32"), classes=10)


@pytest.mark.parametrize(
    ("name", "options", "says"),
    [
        ("lenett", {}, "Unknown architecture 'lenett'.*Did you mean 'lenet'"),
        (
            "lenet",
            {"width": 0.5},
            "lenet has no option width; these have: .*alexnet, vgg, conv1d, tcn, stream-cnn",
        ),
        ("resnet8", {"depth": 11}, "resnet8 has no option depth; these have: .*vgg"),
        ("vgg", {"depth": 19}, "vgg has no depth 19; accepted: 11, 16"),
        ("mobilenet-v2", {"width": 0}, "width is 0; accepted"),
        ("lenet", {"dropout": 1.0}, "dropout is 1.0; accepted"),
        ("lenet", {"freeze": True}, "freeze without weights"),
        (
            "lenet",
            {"weights": "imagenet"},
            "There are no ImageNet weights for lenet; there are for: .*vgg, mobilenet-v1",
        ),
        ("mobilenet-v2", {"weights": "imagenet", "width": 0.4}, "no ImageNet weights for mobilenet-v2 of width 0.4"),
        (
            "vgg",
            {"weights": "imagenet", "width": 1.0},
            "of width 1 and depth 11; there are for: width 1 and depth 16",
        ),
    ],
)
def test_an_option_that_does_not_fit_says_what_does(name, options, says):
    with pytest.raises(InputError, match=says) as e:
        build(name, GREY, classes=10, **options)
    assert e.match(says)


def test_weights_of_another_run_begin_the_body_but_not_the_classifier(tmp_path):
    first = build("ds-cnn", GREY, classes=5, seed=1)
    for path in (tmp_path / "a.keras", tmp_path / "a.weights.h5"):
        first.save(path) if path.suffix == ".keras" else first.save_weights(path)
        second = build("ds-cnn", GREY, classes=3, seed=2, weights=path, freeze=True)
        assert second.output_shape == (None, 3)
        for ours, theirs in zip(second.layers[:-1], first.layers[:-1], strict=True):
            assert not ours.trainable
            assert all(np.array_equal(v, w) for v, w in zip(ours.get_weights(), theirs.get_weights(), strict=True))
        assert [v.path for v in second.trainable_variables] == ["predictions/kernel", "predictions/bias"]


def test_weights_that_do_not_fit_are_one_clear_error(tmp_path):
    build("lenet", GREY, classes=5).save(tmp_path / "lenet.keras")
    (tmp_path / "broken.keras").write_bytes(b"PK broken")
    (tmp_path / "readme.txt").touch()
    for path, says in (
        (tmp_path / "lenet.keras", "don't fit ds-cnn"),
        (tmp_path / "broken.keras", "don't fit ds-cnn"),
        (tmp_path / "missing.keras", "no file of weights"),
        (tmp_path / "missing.h5", "no file of weights"),
        (tmp_path / "readme.txt", "accepted: .keras"),
    ):
        with pytest.raises(TrainingError, match=says):
            build("ds-cnn", GREY, classes=5, weights=path)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("mobilenet-v2", lambda: keras.applications.MobileNetV2((96, 96, 3), 0.35, include_top=False, weights=None)),
        ("vgg", lambda: keras.applications.VGG16(include_top=False, weights=None)),
    ],
)
def test_a_file_of_keras_applications_gives_its_features_to_grey_images_too(tmp_path, name, make):
    """What ImageNet weights do, without the download."""
    reference = make()
    path = tmp_path / "no_top.h5"
    reference.save_weights(tmp_path / "no_top.weights.h5")
    import h5py
    from keras.src.legacy.saving.legacy_h5_format import save_weights_to_hdf5_group

    with h5py.File(path, "w") as file:  # the format in which Keras offers them for download
        save_weights_to_hdf5_group(file, reference)
    options = {"depth": 16, "width": 1} if name == "vgg" else {}
    x = np.random.default_rng(0).integers(0, 256, (1, 96, 96, 1)).astype(np.float32)
    shown_three_times = np.repeat(x, 3, axis=3)
    if name == "vgg":
        expected = reference(shown_three_times[..., ::-1] - np.array([103.939, 116.779, 123.68], np.float32))
        last = "block5_pool"
    else:
        expected = reference(shown_three_times / 127.5 - 1)
        last = "out_relu"
    colour = build(name, InputSpec.image(96, 96, "rgb"), classes=2, weights=path, **options)
    features = keras.Model(colour.input, colour.get_layer(last).output)
    assert np.allclose(features(shown_three_times), expected, rtol=1e-3, atol=1e-3)
    grey = build(name, InputSpec.image(96, 96, "grey"), classes=2, weights=path, freeze=True, **options)
    features = np.asarray(keras.Model(grey.input, grey.get_layer(last).output)(x))
    loose = 0.2 if name == "vgg" else 1e-3  # one mean for three colours: near, not equal
    assert np.abs(features - expected).max() <= loose * np.abs(expected).max()


def test_imagenet_weights_that_cannot_be_downloaded_are_one_clear_error(monkeypatch, capsys):
    def offline(*args, **kwargs):
        print("Downloading data from https://example.org/weights.h5")
        raise Exception("URL fetch failure on https://example.org/weights.h5: None -- no network")

    monkeypatch.setattr("keras.src.utils.file_utils.get_file", offline)
    with pytest.raises(TrainingError, match="URL fetch failure") as e:
        build("mobilenet-v2", InputSpec.image(96, 96, "rgb"), classes=2, weights="imagenet")
    assert "give its path as weights" in e.value.hint
    assert capsys.readouterr().out == "", "stdout is for results"


@pytest.mark.slow
def test_the_documentation_has_every_architecture_as_it_is():
    text = DOCS.read_text(encoding="utf-8")
    for row in documented_rows():
        assert row in text, f"docs/architectures.md lacks this line:\n{row}"


def documented_rows() -> list[str]:
    """The lines of the table in docs/architectures.md."""
    rows = []
    for name, row in ARCHITECTURES.items():
        sides = "any shape" if row.any_shape else f"{row.sides[0]}-{row.sides[1]}" if row.sides else ""
        sides += "; " * bool(row.sides and row.steps) + (f"{row.steps[0]}-{row.steps[1]} steps" if row.steps else "")
        options = [f"width {row.width:g}"] if row.width else []
        options += [f"depth {' or '.join(map(str, row.depths))}"] if row.depths else []
        options += [f"dropout {row.dropout:g}"]
        parameters = of_digits(name).count_params()
        imagenet = ", ".join(f"{w:g}" + (f" (depth {d})" if d else "") for w, d in row.imagenet) or "-"
        training = f"{row.epochs} / {row.batch_size} / {row.learning_rate:g}"
        rows.append(
            f"| `{name}` | {row.paper} | {sides} | {', '.join(options)} | {parameters:,} | {imagenet} | {training} |"
        )
    return rows
