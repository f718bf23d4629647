"""What a model's outputs are, and what becomes of them: ends that are added, contracts that are refused, notes."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import helper
from onnx_rewriting import OnnxNet

from edgepress.converters.contract.guess import guess_contract
from edgepress.converters.contract.hints import Hints, ModelFacts
from edgepress.converters.conversion import float_graph as opening
from edgepress.converters.conversion.conversion import Conversion
from edgepress.converters.conversion.encode import FilesJob
from edgepress.converters.conversion.float_graph import FloatGraphJob, make_float_graph
from edgepress.converters.conversion.make import Began, make_files
from edgepress.converters.proof.compare import seeded_items, varies
from edgepress.converters.proof.selftest import ProofItems
from edgepress.converters.proof.verify import remainder
from edgepress.converters.schemes import SCHEMES, file_paths
from edgepress.converters.sources.open import open_source
from edgepress.converters.to_onnx.graph import MICROSOFT
from edgepress.runtime import InputError, ModelFileError, load
from edgepress.toolkit.conversion.convert import convert, notes_by_text

QUANTIZED = "tflite-float32,tflite-int8,onnx-float32,onnx-int8"


@pytest.fixture(scope="module")
def one_logit(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A net of six numbers that ends in one logit; its folder, data of its shape, and its answers to them."""
    import keras

    keras.utils.set_random_seed(0)
    layers = keras.layers
    model = keras.Sequential([keras.Input((6,)), layers.Dense(16), layers.LeakyReLU(), layers.Dense(1)])
    folder = tmp_path_factory.mktemp("logit")
    model.save(folder / "fall.keras")
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(60, 6)).astype(np.float32), np.arange(60) % 2
    np.savez(folder / "data.npz", x=x, y=y, labels=np.array(["no", "yes"]))
    logits = model.predict(x, verbose=0)
    return folder, x, 1 / (1 + np.exp(-logits[:, 0]))


@pytest.mark.parametrize(("kind", "count"), [("Gelu", 0), ("FastGelu", 0), ("Sampling", 1)])
def test_operations_that_are_faster_in_float_are_not_blamed_on_the_quantizer(
    kind: str, count: int, tmp_path: Path
) -> None:
    """Those of ONNX Runtime's own are listed with its domain."""
    net = OnnxNet((4, 6))
    value = net.quantized(0.1, 128)
    weights = net.add("DequantizeLinear", net.constant(np.ones((6, 6), np.int8)), np.float32(0.1), np.int8(0))
    net.add("MatMul", value, weights)
    net.quantized(0.1, 128)
    net.add("Softsign")
    model = net.model()
    model.graph.node[-1].op_type, model.graph.node[-1].domain = kind, MICROSOFT
    model.opset_import.append(helper.make_opsetid(MICROSOFT, 1))
    path = tmp_path / "model.onnx"
    path.write_bytes(model.SerializeToString())
    assert len(remainder(path, SCHEMES["onnx-int8"])) == count


@pytest.mark.slow
def test_one_logit_gets_a_sigmoid_where_it_is_asked_for(one_logit: Any, tmp_path: Path) -> None:
    folder, x, expected = one_logit
    with pytest.raises(InputError, match="--softmax"):
        convert(folder / "fall.keras", "tflite-float32", out=tmp_path)
    with pytest.raises(InputError, match="not probabilities"):
        convert(folder / "fall.keras", "tflite-float32", out=tmp_path, hints=Hints(task="sigmoid"))
    assert not list(tmp_path.iterdir())
    data, said = str(folder / "data.npz"), Hints(softmax=True)
    made = convert(folder / "fall.keras", QUANTIZED, data=data, out=tmp_path, hints=said)
    assert [v.error for v in made] == [""] * 4
    assert [v.path.name for v in made if v.path][:2] == ["fall-float32.tflite", "fall-int8.tflite"]
    for variant in made:
        np.testing.assert_allclose(load(variant.path).scores(x)[:, 1], expected, atol=0.05)
    assert notes_by_text(made) == {}, "the quantizer leaves LEAKY_RELU in float, and XNNPACK makes a table of it"


@pytest.mark.slow
def test_a_sigmoid_gets_no_second_one(tmp_path: Path) -> None:
    import keras

    keras.Sequential([keras.Input((6,)), keras.layers.Dense(1, activation="sigmoid")]).save(tmp_path / "net.keras")
    with pytest.raises(InputError, match="already probabilities"):
        convert(tmp_path / "net.keras", "tflite-float32", hints=Hints(softmax=True))


@pytest.mark.slow
@pytest.mark.parametrize("format", ["tflite", pytest.param("onnx", marks=pytest.mark.slow)])
def test_a_sigmoid_behind_a_file(format: str, one_logit: Any, tmp_path: Path) -> None:
    folder, x, expected = one_logit
    (bare,) = convert(
        folder / "fall.keras", f"{format}-float32", out=tmp_path, hints=Hints(task="sigmoid"), verify=False
    )
    (made,) = convert(bare.path, f"{format}-float32", out=tmp_path / "again", hints=Hints(softmax=True))
    np.testing.assert_allclose(load(made.path).scores(x)[:, 1], expected, atol=1e-5)
    with pytest.raises(InputError, match="would be overwritten"):
        convert(bare.path, f"{format}-float32", out=tmp_path, hints=Hints(softmax=True))


@pytest.mark.slow
def test_probabilities_without_a_softmax_at_the_end_are_seen_to_be_some(tmp_path: Path) -> None:
    """The mean of two heads: softmax once more would make all alike, and agree in every label."""
    import keras

    keras.utils.set_random_seed(0)
    inputs = keras.Input((6,))
    heads = [keras.layers.Dense(4, activation="softmax", kernel_initializer="he_normal")(inputs) for _ in range(2)]
    model = keras.Model(inputs, keras.layers.Average()(heads))
    model.save(tmp_path / "two.keras")
    notes: list[str] = []
    made = convert(tmp_path / "two.keras", "tflite-float32,onnx-float32", on_note=notes.append)
    x = np.random.default_rng(0).normal(size=(9, 6)).astype(np.float32)
    for variant in made:
        np.testing.assert_allclose(load(variant.path).scores(x), model.predict(x, verbose=0), atol=1e-5)
    assert any("its answers sum to 1" in note for note in notes)
    with pytest.raises(InputError, match="sum to 1"):
        convert(tmp_path / "two.keras", "tflite-float32", hints=Hints(task="logits"))


@pytest.mark.slow
def test_a_model_that_saturates_is_proven_where_it_does_not(tmp_path: Path) -> None:
    """It wants 0-1, and gets pixels: on bright ones it gives one label for all of them."""
    import keras

    keras.utils.set_random_seed(1)
    layers = keras.layers
    hot = {"kernel_initializer": keras.initializers.RandomNormal(stddev=1.0)}
    model = keras.Sequential([keras.Input((8, 8, 3)), layers.Flatten(), layers.Dense(3, activation="softmax", **hot)])
    model.save(tmp_path / "hot.keras")
    with Conversion(tmp_path / "hot.keras") as conversion:
        guess = guess_contract(ModelFacts((8, 8, 3), 3, ends_in=conversion.facts.ends_in))
        assert conversion.facts.looks == "softmax"
        bright = seeded_items(guess.contract.input)
        (variant,) = conversion.run(
            ["tflite-dynamic"], guess.contract, adapter=guess.adapter, calibration=list, out=tmp_path
        )
    assert variant.verification is not None
    assert varies(model.predict(bright.astype(np.float32) / 64, verbose=0))
    assert variant.verification.varies


def test_what_fails_unexpectedly_ends_its_scheme_alone(
    one_logit: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    source = open_source(one_logit[0] / "fall.keras")
    monkeypatch.setattr(type(source), "tflite", lambda self, adapter: {}["a key of somebody's"])
    guess = guess_contract(ModelFacts((6,), 1), Hints(task="sigmoid"))
    paths = file_paths(["tflite-float32", "onnx-float32"], tmp_path, "net", "cpu")
    adapter = replace(guess.adapter, end="sigmoid")
    reports: list[Any] = []
    opening._opened[:] = [source]
    try:
        make_float_graph(FloatGraphJob(tmp_path, adapter, partial(list, [])), reports.append)
        float_graph = reports.pop()
        job = FilesJob(paths, guess.contract, adapter, partial(list, []), ProofItems(), float_graph)
        make_files(job, reports.append)
    finally:
        opening._opened.clear()
    refused, made = (r for r in reports if not isinstance(r, Began))
    assert "KeyError" in refused.variant.error
    assert "report it" in refused.variant.hint
    assert "Traceback" in capsys.readouterr().err, "of a bug, the traceback is kept"
    assert made.variant.status == "ok"
    assert [p.name for p in tmp_path.iterdir()] == ["net-float32.onnx"]


def test_a_note_that_can_not_be_made_ends_nothing(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def read(path: Path) -> None:
        raise ModelFileError("no such thing", "")

    scheme, path = SCHEMES["tflite-int8"], run.variants["tflite-int8"]
    assert remainder(path, scheme) == ()
    monkeypatch.setattr("edgepress.converters.proof.verify.read", read)
    assert remainder(path, scheme) == ("float operations could not be listed: no such thing",)


@pytest.mark.slow
def test_names_of_files(run: Any, tmp_path: Path) -> None:
    import shutil

    shutil.copy(run.variants["onnx-float32"], tmp_path / "net-float16-float32.onnx")
    shutil.copy(run.folder / "model.keras", tmp_path / "fall-float16.keras")
    for name, stem in (("net-float16-float32.onnx", "net-float16"), ("fall-float16.keras", "fall-float16")):
        with Conversion(tmp_path / name) as conversion:
            assert conversion.stem == stem


@pytest.mark.slow
def test_numbers_in_the_shape_of_an_image_are_no_image_where_the_data_say_so(tmp_path: Path) -> None:
    import keras

    keras.utils.set_random_seed(0)
    layers = keras.layers
    keras.Sequential([keras.Input((8, 8, 3)), layers.Flatten(), layers.Dense(2, activation="softmax")]).save(
        tmp_path / "radar.keras"
    )
    rng, y = np.random.default_rng(0), np.arange(60) % 2
    x = rng.normal(size=(60, 8, 8, 3))
    np.savez(tmp_path / "numbers.npz", x=x.astype(np.float32), y=y, labels=np.array(["a", "b"]))
    np.savez(
        tmp_path / "pixels.npz", x=np.clip(128 + 50 * x, 0, 255).astype(np.uint8), y=y, labels=np.array(["a", "b"])
    )
    for name, dtype in (("numbers", "float32"), ("pixels", "uint8")):
        (made,) = convert(
            tmp_path / "radar.keras", "tflite-float32", data=str(tmp_path / f"{name}.npz"), out=tmp_path / name
        )
        assert load(made.path).contract.input.dtype == dtype
