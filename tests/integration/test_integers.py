"""Models of integers, such as tokens: their range is found, and every file takes their type."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgepress.converters.contract.guess import guess_contract
from edgepress.converters.contract.hints import ModelFacts
from edgepress.converters.contract.kinds import accepted_range
from edgepress.converters.errors import ConversionError
from edgepress.converters.proof.compare import seeded_items
from edgepress.converters.sources.open import open_source
from edgepress.runtime import InputError, InputSpec, load
from edgepress.runtime.__main__ import main as board
from edgepress.runtime.selftest import seeded_item, selftest
from edgepress.toolkit.conversion.convert import convert
from edgepress.toolkit.data import open_data
from edgepress.toolkit.errors import DataError

WORDS, LENGTH = 30, 8


def tokens_net(dtype: str | None) -> Any:
    import keras

    keras.utils.set_random_seed(0)
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((LENGTH,), dtype=dtype),
            layers.Embedding(WORDS, 6),
            layers.Conv1D(8, 3, activation="relu"),
            layers.GlobalAveragePooling1D(),
            layers.Dense(3, activation="softmax", kernel_initializer="he_normal"),
        ]
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nets of tokens as Keras and ONNX files, and data for them."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    place = tmp_path_factory.mktemp("tokens")
    tokens_net("int32").save(place / "whole.keras")
    tokens_net(None).save(place / "float.keras")
    rng = np.random.default_rng(0)
    weights = {"table": rng.normal(size=(WORDS, 6)), "out": rng.normal(size=(6, 3))}
    nodes = [
        helper.make_node("Gather", ["table", "x"], ["words"]),
        helper.make_node("ReduceMean", ["words"], ["mean"], axes=[1], keepdims=0),
        helper.make_node("MatMul", ["mean", "out"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["y"], axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.INT64, ["n", LENGTH])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 3])],
        [numpy_helper.from_array(values.astype(np.float32), name) for name, values in weights.items()],
    )
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), place / "tokens.onnx"
    )
    np.savez(place / "data.npz", x=rng.integers(0, WORDS, (60, LENGTH)), y=np.arange(60) % 3)
    return place


@pytest.mark.parametrize(
    ("name", "dtype"), [("whole.keras", "int32"), ("float.keras", "int32"), ("tokens.onnx", "int64")]
)
def test_the_vocabulary_is_found(name: str, dtype: str, folder: Path) -> None:
    source = open_source(folder / name)
    assert source.facts.dtype == dtype
    assert accepted_range(source.answer, (LENGTH,), dtype) == (0, WORDS - 1)


@pytest.mark.parametrize(("largest", "found"), [(0, (0, 0)), (1, (0, 1)), (999, (0, 999)), (1 << 30, None), (-1, None)])
def test_a_range_is_found_by_trying(largest: int, found: Any) -> None:
    calls = []

    def answer(items: Any) -> Any:
        calls.append(items)
        if items.max() > largest:
            raise ConversionError("out of range")
        return np.zeros((1, 2), np.float32)

    assert accepted_range(answer, (3, 2), "int32") == found
    assert len(calls) < 30
    assert calls[0].shape == (1, 3, 2)
    if largest > 1 << 20:
        assert accepted_range(answer, (3,), "int8") == (-128, 127)


def test_items_stay_in_the_range() -> None:
    spec = InputSpec(shape=(200,), dtype="int32", value_range=(5, 11))
    for item in (seeded_items(spec, 1)[0], seeded_item(spec, 3)):
        assert (item.dtype, set(item.tolist())) == (np.dtype(np.int32), {*range(5, 12)})
    small = InputSpec(shape=(200,), dtype="int8")
    assert seeded_item(small, 1).min() >= 0
    assert seeded_item(InputSpec(shape=(200,), dtype="uint8", value_range=(0, 255)), 1).max() > 200


def test_the_contract_is_of_integers() -> None:
    guess = guess_contract(ModelFacts((8,), 3, dtype="int64", value_range=(0, 9), ends_in="Softmax"))
    assert guess.contract.input == InputSpec(shape=(8,), dtype="int64", value_range=(0, 9))
    assert guess.contract.input.is_integer
    assert "int64 from 0 to 9" in guess.notes[0]
    assert not guess.adapter.steps


def test_data_of_whole_numbers_keep_their_type(folder: Path, tmp_path: Path) -> None:
    spec = InputSpec(shape=(LENGTH,), dtype="int32")
    data = open_data(folder / "data.npz", input=spec)
    assert data.test.read([0]).dtype == np.int32
    assert data.sha256 == open_data(folder / "data.npz").sha256, "splits do not depend on the model"
    x = np.random.default_rng(0).integers(0, 200, (60, LENGTH, LENGTH), np.uint8)
    np.savez(tmp_path / "bytes.npz", x=x, y=np.arange(60) % 3)
    found = open_data(tmp_path / "bytes.npz", input=InputSpec(shape=(LENGTH, LENGTH), dtype="uint8"))
    assert found.test.read([0]).shape == (1, LENGTH, LENGTH)
    for bad in (x + 0.5, x.astype(np.int64) + (1 << 25), -1.0 * x):
        np.savez(tmp_path / "bad.npz", x=bad, y=np.arange(60) % 3)
        with pytest.raises(DataError, match="whole"):
            open_data(tmp_path / "bad.npz", input=InputSpec(shape=(LENGTH, LENGTH), dtype="uint8"))


@pytest.mark.parametrize(
    ("name", "scheme", "dtype"),
    [
        pytest.param("float.keras", "tflite-int8", "int32", marks=pytest.mark.slow),
        ("tokens.onnx", "onnx-int8", "int64"),
    ],
)
def test_files_take_the_type_of_their_source(
    name: str, scheme: str, dtype: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (made,) = convert(folder / name, scheme, data=str(folder / "data.npz"), out=tmp_path)
    assert made.path is not None, made.error
    x = np.random.default_rng(5).integers(0, WORDS, (6, LENGTH), np.int32)
    model = load(made.path)
    assert model.contract is not None
    assert model.contract.input == InputSpec(shape=(LENGTH,), dtype=dtype, value_range=(0, WORDS - 1))
    assert model.ready[1] == np.dtype(dtype)
    expected = open_source(folder / name).answer(x.astype(np.float32))
    np.testing.assert_allclose(model.scores(x), expected, atol=0.05)
    np.testing.assert_array_equal(model.scores(x.astype(np.float32)), model.scores(x))
    np.testing.assert_array_equal(model.scores(x.astype(np.int64)), model.scores(x))
    too_large = [x.astype(np.int64) + (1 << 40)] if dtype == "int32" else []
    for bad in (x + 0.5, *too_large):
        with pytest.raises(InputError, match="whole numbers"):
            model.scores(bad)
    assert selftest(made.path).passed
    assert board(["bench", str(made.path), "--threads", "1", "--seconds", "0.01"]) == 0
    capsys.readouterr()


@pytest.mark.slow
@pytest.mark.parametrize(("name", "to"), [("whole.keras", "all"), ("tokens.onnx", "onnx")])
def test_every_scheme(name: str, to: str, folder: Path, tmp_path: Path) -> None:
    made = convert(folder / name, to, data=str(folder / "data.npz"), out=tmp_path)
    assert {v.error for v in made} == {""}
    for variant in made:
        assert variant.path is not None
        assert selftest(variant.path).passed


@pytest.mark.slow
def test_a_tflite_file_of_tokens_is_a_source(folder: Path, tmp_path: Path) -> None:
    (made,) = convert(folder / "whole.keras", "tflite-float32", out=tmp_path)
    assert made.path is not None
    again = convert(made.path, "tflite", data=str(folder / "data.npz"), out=tmp_path / "again")
    assert {v.error for v in again} == {""}
    assert open_source(made.path).facts.dtype == "int32"
