"""Conversion beyond the demo's LeNet: tensors, failures, statistics."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from foreign_models import converted
from rewriting import Net

from edgepress.converters.calibration import tflite_statistics
from edgepress.converters.contract.guess import guess_contract
from edgepress.converters.contract.hints import Hints, ModelFacts
from edgepress.converters.contract.write import write_keras_contract
from edgepress.converters.conversion.conversion import Conversion
from edgepress.converters.errors import ConversionError
from edgepress.converters.freezing.frozen import freeze, trace
from edgepress.converters.numeric.statistics import SMALLEST
from edgepress.converters.options.conversion import MINMAX
from edgepress.converters.schemes import SCHEMES
from edgepress.converters.sources.keras import load_keras
from edgepress.converters.to_onnx.convert import float_onnx
from edgepress.converters.to_tflite.convert import float_tflite
from edgepress.runtime import Contract, InputError, InputSpec, ModelFileError, load, read_contract

TENSOR = InputSpec(shape=(6,), dtype="float32")


def tensors() -> list[Any]:
    rng = np.random.default_rng(2)
    return [rng.normal(0, 3, (20, 6)).astype(np.float32) for _ in range(5)]


CALIBRATION = partial(list, tensors())
"""Picklable, as it travels to a child process."""


@pytest.fixture(scope="module")
def tensor_model(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A classifier of six numbers, and its contract."""
    import keras

    keras.utils.set_random_seed(1)
    model = keras.Sequential(
        [
            keras.Input((6,)),
            keras.layers.Dense(16, activation="relu"),
            keras.layers.Dense(3, activation="softmax"),
        ]
    )
    path = tmp_path_factory.mktemp("tensor") / "model.keras"
    model.save(path)
    contract = Contract(task="softmax", labels=("a", "b", "c"), input=TENSOR, scheme="keras")
    write_keras_contract(path, contract)
    return path, contract, model


@pytest.mark.slow
def test_tensor_models_take_float32_except_int8(tensor_model: Any, tmp_path: Path) -> None:
    path, contract, model = tensor_model
    names = [name for name in SCHEMES if not name.endswith("mixed")]  # 8 bits of output change answers that nearly tie
    variants = converted(path, names, contract=contract, calibration=CALIBRATION, out=tmp_path)
    assert {v.scheme: v.error for v in variants} == dict.fromkeys(names, "")
    x = np.concatenate(tensors())
    expected = model.predict(x, verbose=0)
    for variant in variants:
        opened = load(variant.path)
        assert opened._session.dtype == SCHEMES[variant.scheme].output_dtype
        scores = opened.scores(x)
        assert (scores.argmax(1) == expected.argmax(1)).mean() >= 0.9, variant.scheme
        assert np.abs(scores - expected).max() < (1e-3 if "float" in variant.scheme else 0.12), variant.scheme


@pytest.mark.slow
def test_a_scheme_that_fails_does_not_stop_the_others(tmp_path: Path) -> None:
    """TFLite has no built-in matrix inverse, and neither has ONNX; the float conversion is not tried twice."""
    import keras

    inputs = keras.Input((3, 3))
    outputs = keras.layers.Softmax()(keras.layers.Flatten()(keras.ops.linalg.inv(inputs)))
    path = tmp_path / "inverse.keras"
    keras.Model(inputs, outputs).save(path)
    spec = InputSpec(shape=(3, 3), dtype="float32")
    contract = Contract(task="softmax", labels=tuple("abcdefghi"), input=spec, scheme="keras")
    seen: list[str] = []
    variants = converted(
        path,
        ["tflite-float32", "tflite-float16", "onnx-float32"],
        contract=contract,
        calibration=list,
        out=tmp_path / "out",
        on_done=lambda v: seen.append(v.scheme),
    )
    assert sorted(seen) == sorted(v.scheme for v in variants), "formats are made side by side"
    assert all(v.path is None and v.status == "failed" for v in variants)
    assert "MatrixInverse" in variants[0].error
    assert "MatrixInverse" in variants[2].error
    assert not list((tmp_path / "out").glob("*")), "something half-written was left"


@pytest.mark.slow
def test_calibration_must_be_there_and_finite(tensor_model: Any, tmp_path: Path) -> None:
    path, contract, _ = tensor_model

    fine = np.ones((1, 6), np.float32)
    broken = partial(list, [fine, np.full((1, 6), np.nan, np.float32), fine])
    for calibration, reason in ((list, "no calibration items"), (broken, "NaN")):
        variants = converted(
            path, ["tflite-int8", "onnx-int8", "onnx-float32"], contract=contract, calibration=calibration, out=tmp_path
        )
        assert [v.status for v in variants] == ["failed", "failed", "ok"]
        assert reason in variants[0].error
        assert reason in variants[1].error


def test_ranges_are_the_extremes_of_every_tensor() -> None:
    import keras

    inputs = keras.Input((2,))
    model = keras.Model(inputs, keras.layers.Softmax()(keras.layers.ReLU(name="relu")(inputs * 2.0)))
    model_bytes = float_tflite(freeze(trace(lambda x: model(x, training=False), (1, 2), "float32")))
    items = np.array([[-1, 0.5], [3, -7], [0, 0]], np.float32)
    ranges = tflite_statistics(model_bytes, lambda: [items[:2], items[2:]], None).ranges()
    assert (-7.0, 3.0) in ranges.values(), "the input"
    assert (0.0, 6.0) in ranges.values(), "after doubling and ReLU"
    fixed = tflite_statistics(model_bytes, lambda: [items], (-10.0, 10.0)).ranges()
    assert (-10.0, 10.0) in fixed.values()
    dead = tflite_statistics(model_bytes, lambda: [np.zeros((1, 2), np.float32)], None).ranges()
    assert all(high - low >= SMALLEST * 0.999 for low, high in dead.values())


def test_large_weights_stand_aside_while_tensorflow_optimizes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that are used as they are, and one of which something is computed first."""
    import keras
    import onnxruntime
    import tensorflow as tf

    keras.utils.set_random_seed(3)
    kernel = tf.Variable(np.random.default_rng(0).normal(size=(4, 16)).astype(np.float32))
    body = keras.Sequential([keras.Input((6,)), keras.layers.Dense(16, activation="relu")])
    function = trace(lambda x: tf.matmul(body(x, training=False), tf.transpose(kernel) * 2.0), (None, 6), "float32")
    items, answers, kinds = tensors()[0], [], []
    for least in (1 << 20, 16):
        monkeypatch.setattr("edgepress.converters.to_onnx.convert.ASIDE_BYTES", least)
        model = float_onnx(freeze(function))
        assert [value.name for value in model.graph.input] == ["input"]
        answers += onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"input": items})
        kinds.append({node.op_type for node in model.graph.node})
    np.testing.assert_allclose(answers[0], function(tf.constant(items)).numpy(), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(answers[1], answers[0], rtol=1e-6, atol=1e-6)
    assert "Transpose" not in kinds[0] | kinds[1], "what is computed of weights alone is not computed on a board"


def test_a_model_larger_than_any_file(monkeypatch: pytest.MonkeyPatch) -> None:
    import tensorflow as tf

    kernel = tf.Variable(np.ones((6, 50), np.float32))
    monkeypatch.setattr("edgepress.converters.freezing.frozen.LARGEST_BYTES", 1000)
    with pytest.raises(ConversionError, match=r"weights take 0\.0 GB"):
        freeze(trace(lambda x: tf.matmul(x, kernel), (1, 6), "float32"))


@pytest.mark.slow
def test_options_that_can_not_be(tensor_model: Any, tmp_path: Path) -> None:
    path, contract, _ = tensor_model
    with pytest.raises(InputError, match="'tflite-int8'"):
        converted(path, ["tflite-int"], contract=contract, calibration=CALIBRATION, out=tmp_path)
    wrong = contract.replace(labels=("a", "b"))
    with pytest.raises(ModelFileError, match="3 outputs; its contract says"):
        converted(path, ["tflite-float32"], contract=wrong, calibration=CALIBRATION, out=tmp_path)
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(InputError, match="can't be written"):
        converted(path, ["tflite-float32"], contract=contract, calibration=CALIBRATION, out=blocked / "out")


def test_files_that_are_not_keras_models(tensor_model: Any, tmp_path: Path) -> None:
    path, _, _ = tensor_model
    whole = path.read_bytes()
    for name, content, reason in (
        ("cut.keras", whole[: len(whole) // 2], "damaged"),
        ("text.keras", b"hello", r"a text file.*\.keras"),
        ("model.txt", b"hello", r"a text file.*\.keras"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ModelFileError, match=reason):
            load_keras(tmp_path / name)
    with pytest.raises(ModelFileError, match="No such file"):
        load_keras(tmp_path / "missing.keras")
    with pytest.raises(ModelFileError, match="folder"):
        load_keras(tmp_path)


def test_code_in_a_keras_file_is_not_run(tmp_path: Path) -> None:
    import keras

    model = keras.Sequential([keras.Input((2,)), keras.layers.Lambda(lambda x: x * 2), keras.layers.Softmax()])
    model.save(tmp_path / "code.keras")
    with pytest.raises(ModelFileError, match="Lambda"):
        load_keras(tmp_path / "code.keras")


def test_a_keras_contract_is_replaced_not_doubled(tensor_model: Any, tmp_path: Path) -> None:
    import zipfile

    path, contract, model = tensor_model
    copy = tmp_path / "copy.keras"
    copy.write_bytes(path.read_bytes())
    write_keras_contract(copy, contract.replace(arch="second"))
    assert read_contract(copy).arch == "second"
    assert zipfile.ZipFile(copy).namelist().count("edgepress.json") == 1
    x = tensors()[0]
    np.testing.assert_array_equal(load_keras(copy).predict(x, verbose=0), model.predict(x, verbose=0))


@pytest.mark.slow
def test_the_same_model_gives_the_same_bytes(tensor_model: Any, tmp_path: Path) -> None:
    path, contract, _ = tensor_model
    for scheme in ("tflite-int8", "onnx-int8", "onnx-float16"):
        first, second = (
            converted(path, [scheme], contract=contract, calibration=CALIBRATION, out=tmp_path / turn)[0].path
            for turn in ("a", "b")
        )
        assert first.read_bytes() == second.read_bytes(), scheme


@pytest.mark.slow
def test_where_memory_is_short_formats_are_made_one_after_the_other(
    run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgepress.converters.conversion.processes.COPIES", 1e12)
    guess = guess_contract(ModelFacts((28, 28, 1), 10), Hints(task="softmax"))
    order: list[str] = []
    with Conversion(run.model) as conversion:
        assert conversion.facts.outputs == 10
        variants = conversion.run(
            ["onnx-float32", "tflite-float32"],
            guess.contract,
            adapter=guess.adapter,
            calibration=None,
            out=tmp_path,
            on_start=lambda name: order.append(f"begin {name}"),
            on_done=lambda variant: order.append(f"end {variant.scheme}"),
        )
        assert list(conversion._processes._workers) == ["onnx"], "the other format's process still holds its memory"
    assert [v.status for v in variants] == ["ok", "ok"], [v.error for v in variants]
    assert order == ["begin tflite-float32", "end tflite-float32", "begin onnx-float32", "end onnx-float32"]


def test_labels_of_the_proof_say_what_a_source_model_s_certainty_is_worth(tmp_path: Path) -> None:
    """It is sure of every answer, and right by chance alone: labels that a file changes cost hardly anything.

    The file changes some, because it was calibrated on items whose values are too small.
    """
    net = Net((1, 1), 6, seed=5)
    for size in (16, 3):
        weights = net.random.normal(0, 3, (size, net.shape[-1])).astype(np.float32)
        net.add("FULLY_CONNECTED", [net.now, weights, np.zeros(size, np.float32)], (1, size))
    net.add("SOFTMAX", [net.now], (1, 3), beta=1.0)
    path = tmp_path / "sure.tflite"
    path.write_bytes(net.model())
    spec = InputSpec(shape=(1, 1, 6), dtype="float32")
    contract = Contract(task="softmax", labels=("a", "b", "c"), input=spec, scheme="keras")
    proof = np.concatenate(tensors()).reshape(-1, *spec.shape)
    small = partial(list, [proof / 4])
    chance = np.random.default_rng(0).integers(0, 3, len(proof))
    lost = []
    with Conversion(path) as conversion:
        for labels in (None, chance):
            (variant,) = conversion.run(
                ["tflite-int8"],
                contract,
                calibration=small,
                out=tmp_path,
                proof=proof,
                proof_labels=labels,
                proof_name="numbers",
                how=replace(MINMAX, verify=False, repairs=False),
            )
            assert variant.verification is not None, variant.error
            lost.append(variant.verification.lost)
    assert lost[0] > 0.01
    assert lost[1] < lost[0] / 4
