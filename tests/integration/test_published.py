"""Files that others made are taken as they are: described by metadata and flags, annotated, measured."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from published import PIXELS, Array, bare, onnx_of, tflite_of

from edgepress.converters import annotation
from edgepress.converters.contract.hints import Hints
from edgepress.converters.contract.metadata import tflite_metadata
from edgepress.converters.to_tflite import flatbuffer as flat
from edgepress.runtime import Contract, InputError, ModelFileError, load, read_contract
from edgepress.runtime.adapter import Adapter
from edgepress.runtime.selftest import selftest


def described(path: Path, **hints: Any) -> Contract:
    found: list[Any] = []
    annotation.describe(annotation.DescribeJob(path, Hints(**hints)), found.append)
    return Contract.from_json(found[0].contract.to_json())  # as it comes back from a file


def annotated(path: Path, out: Path, **hints: Any) -> Contract:
    found: list[Any] = []
    annotation.annotate(annotation.AnnotateJob(path, described(path, **hints), out), found.append)
    return found[0]


def softmax(x: Array) -> Array:
    powers = np.exp(x - x.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def grey(x: Array) -> Array:
    return x[..., :1]


def scaled_each(x: Array, scale: Callable[[Array], Array]) -> Array:
    return np.stack([scale(item.astype(np.float64)) for item in x]).astype(np.float32)


F = np.float32


def standardized(x: Array) -> Array:
    y = x.reshape(len(x), -1).astype(np.float64)
    y = (y - y.mean(1, keepdims=True)) / np.maximum(y.std(1, keepdims=True), y.shape[1] ** -0.5)
    return y.reshape(x.shape).astype(F)


CASES: dict[str, tuple[Callable[[Path], Path], dict[str, Any], Callable[[Array], Array]]] = {
    "range": (tflite_of, {"input_range": "-1,1"}, lambda x: (x.astype(F) - F(127.5)) / F(127.5)),
    "mean and std": (
        tflite_of,
        {"mean": "10,20,30", "std": "4,5,6"},
        lambda x: (x.astype(F) - np.array([10, 20, 30], F)) / np.array([4, 5, 6], F),
    ),
    "blue first": (tflite_of, {"input_range": "0,1", "color": "bgr"}, lambda x: x[..., ::-1].astype(F) / F(255)),
    "own mean": (tflite_of, {"input": "standardize"}, standardized),
    "raw pixels": (tflite_of, {"input_range": "0,255"}, lambda x: x.astype(F)),
    "int8, as stored": (
        lambda p: tflite_of(p, stored=("int8", 1 / 60, -4)),
        {},
        lambda x: (x.astype(np.int16) - 128).astype(np.int8),
    ),
    "int8, range": (
        lambda p: tflite_of(p, stored=("int8", 1 / 60, -4)),
        {"input_range": "0,1"},
        lambda x: np.rint(x / 255 * 60 - 4).astype(np.int8),
    ),
    "uint8, as stored": (lambda p: tflite_of(p, stored=("uint8", 1 / 127, 128)), {}, lambda x: x),
    "uint8, per channel": (
        lambda p: tflite_of(p, stored=("uint8", 1 / 60, 128)),
        {"mean": "100,110,120", "std": "60,61,62"},
        lambda x: np.clip(np.rint((x - np.array([100, 110, 120])) / [60, 61, 62] * 60 + 128), 0, 255).astype(np.uint8),
    ),
    "two axes": (
        lambda p: tflite_of(p, (6, 6)),
        {"input_range": "0,1"},
        lambda x: grey(x)[..., 0].astype(F) / F(255),
    ),
    "standardized": (
        tflite_of,
        {"input": "standardize", "color": "bgr"},
        lambda x: scaled_each(x[..., ::-1], lambda i: (i - i.mean()) / i.std()),
    ),
    "int8, to 0-1": (
        lambda p: tflite_of(p, stored=("int8", 1 / 61.3, -4)),
        {"input": "minmax"},
        lambda x: np.rint(scaled_each(x, lambda i: (i - i.min()) / np.ptp(i)) * 61.3 - 4).astype(np.int8),
    ),
    "flat": (
        lambda p: tflite_of(p, (36,)),
        {"color": "grey", "input_range": "0,1"},
        lambda x: grey(x).reshape(len(x), 36).astype(F) / F(255),
    ),
    "channels first": (
        lambda p: onnx_of(p.with_suffix(".onnx")),
        {"input_range": "0,1"},
        lambda x: np.ascontiguousarray(x.transpose(0, 3, 1, 2).astype(F) / F(255)),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_pixels_are_prepared_as_a_bare_loop_would(case: str, tmp_path: Path) -> None:
    make, hints, prepare = CASES[case]
    path = make(tmp_path / "m.tflite")
    model = load(path, contract=described(path, **hints))
    items = PIXELS if model.shape[-1] == 3 else grey(PIXELS)
    expected = bare(path, prepare(PIXELS))
    expected = softmax(expected) if path.suffix == ".onnx" else expected
    np.testing.assert_allclose(model.scores(items), expected, rtol=0, atol=1e-6)
    assert np.ptp(expected, axis=0).max() > 0.01, "else the test proves nothing"
    one_by_one = np.concatenate([model.scores(item) for item in items])
    np.testing.assert_allclose(one_by_one, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("case", CASES)
def test_a_copy_has_the_contract_and_the_answers_of_the_file(case: str, tmp_path: Path) -> None:
    make, hints, prepare = CASES[case]
    path = make(tmp_path / "m.tflite")
    copy = tmp_path / "new" / f"copy{path.suffix}"
    contract = annotated(path, copy, **hints)
    model = load(copy)
    assert model.contract == contract
    items = PIXELS if model.shape[-1] == 3 else grey(PIXELS)
    assert np.array_equal(model.scores(items), load(path, contract=contract).scores(items))
    assert np.array_equal(bare(copy, prepare(PIXELS)), bare(path, prepare(PIXELS)))
    assert selftest(copy).passed
    assert annotated(copy, tmp_path / f"again{path.suffix}").replace(selftest=None) == contract.replace(selftest=None)


def test_weights_are_untouched_and_labels_and_scaling_are_in_the_standard_metadata(tmp_path: Path) -> None:
    path, copy = tflite_of(tmp_path / "m.tflite"), tmp_path / "copy.tflite"
    annotated(path, copy, input_range="-1,1", labels=list("wxyz"))
    (before, graph), (after, same) = flat.read(path.read_bytes()), flat.read(copy.read_bytes())
    assert [t.buffer for t in graph.tensors] == [t.buffer for t in same.tensors]
    for old, new in zip(before.buffers, after.buffers, strict=False):
        assert np.array_equal(old.data if old.data is not None else [], new.data if new.data is not None else [])
    found = tflite_metadata(copy.read_bytes())
    assert (found.labels, found.color, found.mean, found.std) == (tuple("wxyz"), "rgb", (127.5,), (127.5,))
    contract = read_contract(copy)
    assert contract is not None
    assert contract.labels == tuple("wxyz")


@pytest.mark.parametrize("hints", [{"color": "bgr", "input_range": "0,1"}, {"input": "standardize"}])
def test_what_the_standard_metadata_can_t_say_is_described_as_numbers(hints: dict[str, Any], tmp_path: Path) -> None:
    annotated(tflite_of(tmp_path / "m.tflite"), tmp_path / "copy.tflite", **hints)
    found = tflite_metadata((tmp_path / "copy.tflite").read_bytes())
    assert (found.color, found.mean, found.std) == (None, (), ())


def test_an_onnx_copy_keeps_its_own_metadata(tmp_path: Path) -> None:
    import onnx

    copy = tmp_path / "copy.onnx"
    assert annotated(onnx_of(tmp_path / "m.onnx"), copy, input_range="0,1").labels == tuple("abcd")
    model = onnx.load(copy)
    assert model.producer_name == "others"
    assert {"names", "labels.txt", "edgepress.json"} == {p.key for p in model.metadata_props}


def test_a_logit_becomes_a_probability(tmp_path: Path) -> None:
    path = tflite_of(tmp_path / "m.tflite", outputs=1, end="")
    contract = described(path, input_range="0,1", softmax=True, labels=["no", "yes"])
    logits = bare(path, PIXELS.astype(F) / F(255))[:, 0]
    scores = load(path, contract=contract).scores(PIXELS)
    np.testing.assert_allclose(scores[:, 1], 1 / (1 + np.exp(-logits)), atol=1e-6)
    np.testing.assert_allclose(scores.sum(axis=1), 1, atol=1e-6)
    annotated(path, tmp_path / "copy.tflite", input_range="0,1", softmax=True)
    assert selftest(tmp_path / "copy.tflite").passed


def test_free_sizes_of_an_onnx_file_are_those_given(tmp_path: Path) -> None:
    path, fixed = onnx_of(tmp_path / "m.onnx", ("h", "w")), onnx_of(tmp_path / "fixed.onnx")
    with pytest.raises(ModelFileError, match="--size"):
        described(path, input_range="0,1")
    contract = annotated(path, tmp_path / "copy.onnx", input_range="0,1", size="6x6")
    expected = load(fixed, contract=described(fixed, input_range="0,1")).scores(PIXELS)
    for model in (load(path, contract=contract), load(tmp_path / "copy.onnx")):
        assert np.array_equal(model.scores(PIXELS), expected)


@pytest.mark.parametrize(
    ("end", "hints", "named"),
    [
        ("SOFTMAX", {}, "--input-range"),
        ("SOFTMAX", {"task": "logits", "input_range": "0,1"}, "--task softmax"),
        ("SOFTMAX", {"softmax": True, "input_range": "0,1"}, "--softmax"),
        ("", {"task": "softmax", "input_range": "0,1"}, "--task logits"),
    ],
)
def test_what_is_unknown_or_contradicts_the_file_is_refused(
    end: str, hints: dict[str, Any], named: str, tmp_path: Path
) -> None:
    with pytest.raises((InputError, ModelFileError)) as caught:
        described(tflite_of(tmp_path / "m.tflite", end=end), **hints)
    assert named in caught.value.hint


def test_tensors_need_no_scaling(tmp_path: Path) -> None:
    path = tflite_of(tmp_path / "m.tflite", (20,))
    contract = described(path)
    assert contract.adapter is None
    items = np.random.default_rng(2).normal(size=(5, 20)).astype(F)
    assert np.array_equal(load(path, contract=contract).scores(items), bare(path, items))


def test_only_a_contract_with_an_adapter_has_a_version_that_older_readers_refuse(tmp_path: Path) -> None:
    path = tflite_of(tmp_path / "m.tflite")
    versions = {r: described(path, input_range=r).schema_version for r in ("0,255", "0,1")}
    assert versions == {"0,255": 1, "0,1": 2}


@pytest.mark.parametrize(
    "change",
    [
        {"shape": [6, 6, 4]},
        {"shape": [-6, -6, 3]},
        {"std": [0.0]},
        {"mean": [float("inf")]},
        {"mean": [1.0, 2.0]},
        {"mean": "no"},
        {"shape": None},
    ],
)
def test_a_damaged_adapter_is_refused(change: dict[str, Any], tmp_path: Path) -> None:
    raw = json.loads(described(tflite_of(tmp_path / "m.tflite"), input_range="0,1").to_json())
    raw["adapter"] |= change
    with pytest.raises(ModelFileError):
        Contract.from_json(json.dumps(raw))


def test_a_contract_of_another_shape_is_refused(tmp_path: Path) -> None:
    path = tflite_of(tmp_path / "m.tflite")
    contract = described(path, input_range="0,1")
    with pytest.raises(ModelFileError, match="contradicts"):
        load(path, contract=contract.replace(adapter=Adapter(shape=(3, 6, 6))))


def test_the_runtime_takes_the_contract_as_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from edgepress.runtime.__main__ import main

    path, about, item = tflite_of(tmp_path / "m.tflite"), tmp_path / "m.json", tmp_path / "item.npy"
    contract = annotated(path, about, input_range="-1,1", labels=list("wxyz"))
    np.save(item, PIXELS[0])
    assert main(["classify", str(path), str(item), "--contract", str(about), "--top", "1", "--json"]) == 0
    expected = load(path, contract=contract).scores(PIXELS[:1])[0]
    (best,) = json.loads(capsys.readouterr().out)["classes"]
    assert best == {"label": "wxyz"[expected.argmax()], "score": pytest.approx(float(expected.max()))}
    assert main(["selftest", str(path), "--contract", str(about)]) == 0
    assert main(["info", str(path), "--contract", str(tmp_path / "none.json")]) == 1
    assert "none.json" in capsys.readouterr().err
