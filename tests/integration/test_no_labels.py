"""Models that are no classifiers: named for what they look like, and converted with --task none."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from foreign_models import onnx_with

from edgepress.converters.contract.guess import guess_contract
from edgepress.converters.contract.hints import ModelFacts
from edgepress.converters.contract.metadata import Metadata
from edgepress.converters.contract.outputs import looks_of
from edgepress.converters.sources.open import open_source
from edgepress.runtime import InputError, load, read_contract
from edgepress.runtime.__main__ import main as board
from edgepress.runtime.selftest import selftest
from edgepress.toolkit.cli.app import run as cli
from edgepress.toolkit.conversion.convert import Hints, convert
from edgepress.toolkit.diagnosis.profiling.ceiling import dense_model
from edgepress.toolkit.measurement.evaluation import evaluate
from edgepress.toolkit.measurement.prediction import predict

NONE = Hints(task="none")


def dense(*units: int, **end: Any) -> Any:
    import keras

    layers = [keras.layers.Dense(n, activation="relu") for n in units[1:-1]]
    return keras.Sequential([keras.Input((units[0],)), *layers, keras.layers.Dense(units[-1], **end)])


def segmenter() -> Any:
    import keras

    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            layers.Rescaling(1 / 255),
            layers.Conv2D(4, 3, strides=2, padding="same", activation="relu"),
            layers.UpSampling2D(),
            layers.Conv2D(2, 1),
        ]
    )


def embedder() -> Any:
    import keras

    x = keras.Input((12,))
    return keras.Model(x, keras.layers.UnitNormalization()(dense(12, 24, 10)(x)))


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import keras

    keras.utils.set_random_seed(0)
    folder = tmp_path_factory.mktemp("models")
    made = {"restores": dense(40, 8, 40), "segments": segmenter(), "embeds": embedder()}
    for name, model in made.items():
        model.save(folder / f"{name}.keras")
    rng, y = np.random.default_rng(0), np.arange(60) % 2
    np.savez(folder / "restores.npz", x=rng.normal(size=(60, 40)).astype(np.float32), y=y)
    np.savez(folder / "segments.npz", x=rng.integers(0, 256, (60, 8, 8, 3), np.uint8), y=y)
    return folder


@pytest.mark.parametrize(
    ("name", "kind"), [("restores", "autoencoder"), ("segments", "segmentation"), ("embeds", "embeddings")]
)
def test_a_model_that_is_no_classifier_is_named(name: str, kind: str, models: Path) -> None:
    source = open_source(models / f"{name}.keras")
    facts = replace(source.facts, looks=looks_of(source.answer, source.facts.shape))
    with pytest.raises(InputError, match=rf"(?s)not a classifier.*{kind}.*--task none"):
        guess_contract(facts)


@pytest.mark.slow
def test_what_convert_refuses_is_named_by_its_file(models: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"embeds\.keras.*embeddings"):
        convert(models / "embeds.keras", "tflite-float32", out=tmp_path)


@pytest.mark.parametrize(("task", "said"), [("none", "no labels, 20 outputs"), ("logits", "20 labels")])
def test_annotate_says_what_a_file_returns(
    task: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bare.tflite").write_bytes(dense_model("tflite", 30, 20))
    with pytest.raises(SystemExit) as end:
        cli(["annotate", str(tmp_path / "bare.tflite"), "--out", str(tmp_path / "new.json"), "--task", task])
    assert end.value.code == 0
    shown = capsys.readouterr().out
    assert said in shown
    assert "0 labels" not in shown.replace("20 labels", "")


def test_what_the_user_names_is_a_classifier() -> None:
    facts = ModelFacts((40,), 40, ends_in="FULLY_CONNECTED", looks="any")
    labels = [str(i) for i in range(40)]
    for hints in (Hints(task="logits"), Hints(softmax=True), Hints(labels=labels)):
        assert guess_contract(facts, hints).contract.task == "logits"
    assert guess_contract(replace(facts, metadata=Metadata(labels=tuple(labels)))).contract.labels == tuple(labels)
    with pytest.raises(InputError, match="--task none"):
        guess_contract(ModelFacts((8, 8, 3), 128, output_shape=(8, 8, 2), ends_in="Conv2D"), Hints(task="logits"))
    for hints in (Hints(task="none", labels=labels), Hints(task="none", softmax=True), Hints(task="none", threshold=1)):
        with pytest.raises(InputError, match="no meaning"):
            guess_contract(facts, hints)


@pytest.mark.parametrize(
    ("shape", "outputs", "ends_in", "looks"),
    [
        ((28, 28, 1), 128, "FULLY_CONNECTED", "any"),  # 128 logits, or an embedding that is not normalized
        ((40,), 40, "Softmax", "softmax"),
        ((40,), 40, "Mul", "softmax"),
        ((10,), 10, "BiasAdd", "any"),  # ten features and ten classes
        ((40,), 39, "BiasAdd", "any"),
        ((640,), 640, "", ""),  # nothing is known
    ],
)
def test_what_may_be_a_classifier_is_not_refused(shape: Any, outputs: int, ends_in: str, looks: Any) -> None:
    assert guess_contract(ModelFacts(shape, outputs, ends_in=ends_in, looks=looks)).contract.task in (
        "softmax",
        "logits",
    )


def test_saturated_probabilities_are_no_embeddings() -> None:
    hot = np.eye(8, 10, dtype=np.float32)
    assert looks_of(lambda x: hot[: len(x)], (4,)) == "softmax"
    spread = np.random.default_rng(0).normal(size=(8, 10)).astype(np.float32)
    spread /= np.linalg.norm(spread, axis=1, keepdims=True)
    assert looks_of(lambda x: spread, (4,)) == "length 1"
    assert looks_of(lambda x: spread[:, :4], (4,)) == "any"
    assert looks_of(lambda x: np.abs(spread), (4,)) == "length 1"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["restores", "segments"])
def test_every_scheme_keeps_the_outputs(name: str, models: Path, tmp_path: Path) -> None:
    import keras

    made = convert(models / f"{name}.keras", "all", data=str(models / f"{name}.npz"), out=tmp_path, hints=NONE)
    assert [v.error for v in made] == [""] * 9
    x = np.load(models / f"{name}.npz")["x"][:5]
    true = keras.saving.load_model(models / f"{name}.keras").predict(x.astype(np.float32), verbose=0)
    for variant in made:
        assert variant.path is not None
        assert variant.verification is not None
        assert variant.verification.agreement is None
        assert variant.verification.sqnr_db is None or variant.verification.sqnr_db > 8
        model = load(variant.path)
        assert (model.labels, model.output_shape) == ((), true.shape[1:])
        assert model.outputs(x).shape == true.shape
        assert np.abs(model.outputs(x) - true).max() < 0.15 * np.abs(true).max()
        np.testing.assert_allclose(model.outputs(x[0])[0], model.outputs(x)[0], atol=1e-3)
        report = selftest(variant.path)
        assert report.passed
        assert len(report.checks) == 6


@pytest.fixture(scope="module")
def restored(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    (made,) = convert(models / "restores.keras", "tflite-float32", out=tmp_path_factory.mktemp("out"), hints=NONE)
    assert made.path is not None
    return made.path


def test_the_self_test_notices_another_model(restored: Path, tmp_path: Path) -> None:
    from edgepress.converters.contract.write import tflite_with_contract

    contract = read_contract(restored)
    assert contract is not None
    assert contract.selftest is not None
    copy = tmp_path / "copy.tflite"
    moved = contract.selftest.__class__(**{**vars(contract.selftest), "low": contract.selftest.low - 0.2})
    copy.write_bytes(tflite_with_contract(restored.read_bytes(), contract.replace(selftest=moved)))
    assert not selftest(copy).passed


def test_commands_that_need_labels_say_so(restored: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    item = np.zeros(40, np.float32)
    np.save(tmp_path / "item.npy", item)
    for call in (
        lambda: load(restored).scores(item),
        lambda: load(restored).classify(item),
        lambda: load(restored).decide(item),
        lambda: predict(restored, tmp_path / "item.npy"),
        lambda: evaluate(restored, data="digits"),
    ):
        with pytest.raises(InputError, match="no labels"):
            call()
    for command in (["classify", str(tmp_path / "item.npy")], ["serve", "--port", "0"]):
        assert board([command[0], str(restored), *command[1:], "--json"]) == 1
        (line,) = capsys.readouterr().out.splitlines()
        assert "no labels" in json.loads(line)["error"]["message"]
    assert board(["selftest", str(restored)]) == 0
    assert board(["bench", str(restored), "--threads", "1", "--seconds", "0.01"]) == 0


def test_a_bundle_needs_no_labels(restored: Path, tmp_path: Path) -> None:
    import zipfile

    from edgepress.toolkit.shipping.bundles.build import bundle

    made = bundle(restored, tmp_path / "app.zip", board=["pi64-py311"])
    assert made.selftest["passed"]
    with zipfile.ZipFile(made.path) as archive:
        (readme,) = (name for name in archive.namelist() if name.endswith("README.md"))
        assert "without labels" in archive.read(readme).decode()


def test_a_file_made_elsewhere_is_taken_as_it_is(models: Path, tmp_path: Path) -> None:
    from edgepress.toolkit import annotate

    source = open_source(models / "segments.keras")
    guess = guess_contract(source.facts, Hints(task="none", color="none"))
    (tmp_path / "bare.tflite").write_bytes(source.tflite(guess.adapter))
    bare = load(tmp_path / "bare.tflite")
    assert (bare.labels, bare.output_shape) == ((), (8, 8, 2))
    with pytest.raises(InputError, match="no labels"):
        bare.scores(np.zeros((8, 8, 3), np.float32))
    with pytest.raises(InputError, match=r"(?s)segmentation.*--task none"):
        annotate(tmp_path / "bare.tflite", tmp_path / "named.tflite", hints=Hints(input_range="0,255"))
    annotate(tmp_path / "bare.tflite", tmp_path / "named.tflite", hints=Hints(task="none", input_range="0,255"))
    assert selftest(tmp_path / "named.tflite").passed
    assert load(tmp_path / "named.tflite").outputs(np.zeros((8, 8, 3), np.uint8)).shape == (1, 8, 8, 2)


@pytest.mark.slow
def test_a_converted_file_is_a_source_again(restored: Path, models: Path, tmp_path: Path) -> None:
    (made,) = convert(restored, "tflite-dynamic", out=tmp_path)
    assert made.path is not None
    assert load(made.path).output_shape == (40,)


def test_a_detector_is_named(tmp_path: Path) -> None:
    from edgepress.runtime import ModelFileError

    several = onnx_with(tmp_path / "two.onnx", {"boxes": ["n", 6, 4], "scores": ["n", 6]}, shape=["n", 5])
    with pytest.raises(ModelFileError, match=r"(?s)detector.*boxes and scores.*One output"):
        convert(several, "onnx-float32", out=tmp_path / "out")
    one = onnx_with(tmp_path / "one.onnx", {"found": ["n", 6, 9]}, shape=["n", 5])
    with pytest.raises(InputError, match=r"(?s)6 rows of 9.*--task none"):
        convert(one, "onnx-float32", out=tmp_path / "out")
